"""Real neurons with the token lookup baseline that was published for them: tests/pipeline/published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from explanations.pipeline.records import ActivationRecord, NeuronId, NeuronRecord


@dataclass(frozen=True)
class Published:
    """A neuron, and what its published baseline says."""

    record: NeuronRecord
    """its train and valid excerpts are real; the places between them are filled with an empty one"""
    explanation: str
    simulated: list[list[float]]
    """[excerpt][pos]"""
    each: list[float]
    """the correlation of each excerpt alone; NaN is undefined"""
    whole: tuple[float, float, float]


def record_of(tokens: list[str], activations: list[float]) -> ActivationRecord:
    return ActivationRecord(tuple(tokens), np.array(activations))


def published(case: dict[str, Any]) -> Published:
    filler = record_of([""], [0.0])
    top, random = [filler] * 20, [filler] * 15
    top[0::4] = [record_of(*excerpt) for excerpt in case["train"]]
    valid = [record_of(tokens, real) for tokens, real, _, _ in case["valid"]]
    top[2::4], random[1::3] = valid[:5], valid[5:]
    return Published(
        NeuronRecord(NeuronId(case["layer"], case["neuron"]), tuple(top), tuple(random)),
        case["explanation"],
        [simulated for _, _, simulated, _ in case["valid"]],
        [score for _, _, _, score in case["valid"]],
        tuple(case["scores"]),
    )


PUBLISHED = [
    published(case) for case in json.loads((Path(__file__).parent / "published" / "token_lookup.json").read_text())
]
