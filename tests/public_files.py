"""A tiny dataset in the public layout that tests import, break and import again.

Neurons 0:0, 0:1 and 1:0, each with all five files: 60 records of 12 tokens, and two explanations simulated on *valid*.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from explanations.pipeline import dataset_encoding
from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import (
    NeuronId,
    NeuronWeights,
    RelatedNeurons,
    ScoredExplanation,
    TokenValues,
    WeightTokens,
)
from tests.world import WORDS, make_record, make_simulation

NEURONS = (NeuronId(0, 0), NeuronId(0, 1), NeuronId(1, 0))
STRENGTHS = TokenValues((" Tuesday", None, "\n"), (0.5, 0.25, None))


def make_files(neuron_id: NeuronId, vocabulary: list[str] = WORDS) -> dict[str, bytes]:
    """Return the five files of a neuron by path."""
    record = make_record(neuron_id, vocabulary)
    explanations = [
        ScoredExplanation(f"days of the week {neuron_id}", make_simulation(record, 0.4, "")),
        ScoredExplanation("tokens such as ' Tuesday'", make_simulation(record, 0.7, "")),
    ]
    side = NeuronWeights((NeuronId(0, 1), NeuronId(0, 3)), (0.5, 0.25))
    return {
        DataKind.ACTIVATIONS.path(neuron_id): dataset_encoding.encode_record(record),
        DataKind.EXPLANATIONS.path(neuron_id): dataset_encoding.encode_explanations(neuron_id, explanations),
        DataKind.RELATED_NEURONS.path(neuron_id): dataset_encoding.encode_related_neurons(
            RelatedNeurons(side, side, None, None)
        ),
        DataKind.TOKENS_BY_ACTIVATION.path(neuron_id): dataset_encoding.encode_tokens_by_activation(STRENGTHS),
        DataKind.TOKENS_BY_WEIGHT.path(neuron_id): dataset_encoding.encode_tokens_by_weight(
            WeightTokens(STRENGTHS, STRENGTHS, STRENGTHS, STRENGTHS)
        ),
    }


def write_dataset(root: Path, vocabulary: list[str] = WORDS) -> Path:
    """Write the whole dataset below `root` and return it."""
    for neuron_id in NEURONS:
        for path, data in make_files(neuron_id, vocabulary).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    return root


def edit_json(path: Path, change: Any) -> None:
    """Let `change` alter a JSON file's object in place."""
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
