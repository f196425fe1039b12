"""`python -m tests.benchmarks.bare_decoding FOLDER`: read and decode a folder's files, one process a core; print JSON.

The least that any importer has to do: every text and number of the files that the database keeps becomes an object.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct


class ActivationRecord(Struct):
    tokens: list[str]
    activations: list[float]


class NeuronRecord(Struct):
    random_sample: list[ActivationRecord]
    most_positive_activation_records: list[ActivationRecord]
    random_sample_by_quantile: list[list[ActivationRecord]] | None = None
    quantile_boundaries: list[float] | None = None
    mean: float | None = None
    variance: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None


class Simulation(Struct):
    tokens: list[str]
    expected_activations: list[float]
    activation_scale: str


class ScoredSequence(Struct):
    simulation: Simulation
    true_activations: list[float]
    ev_correlation_score: float | None
    rsquared_score: float | None
    absolute_dev_explained_score: float | None


class ScoredSimulation(Struct):
    scored_sequence_simulations: list[ScoredSequence]
    ev_correlation_score: float | None
    rsquared_score: float | None
    absolute_dev_explained_score: float | None


class ScoredExplanation(Struct):
    explanation: str
    scored_simulation: ScoredSimulation | None


class SimulationResults(Struct):
    scored_explanations: list[ScoredExplanation]


class TokenAverages(Struct):
    tokens: list[str | None]
    average_activations: list[float | None]


class Strengths(Struct):
    tokens: list[str | None]
    strengths: list[float | None]


class TokenWeights(Struct):
    input_positive: Strengths
    input_negative: Strengths
    output_positive: Strengths
    output_negative: Strengths


class NeuronSide(Struct):
    top_positive_neurons: list[str]
    top_positive_weights: list[float]
    top_negative_neurons: list[str]
    top_negative_weights: list[float]


class RelatedNeurons(Struct):
    c_fc: NeuronSide | None = None
    c_proj: NeuronSide | None = None


DECODERS: dict[str, msgspec.json.Decoder[object]] = {
    "collated-activations": msgspec.json.Decoder(NeuronRecord),
    "explanations": msgspec.json.Decoder(SimulationResults),
    "related-tokens/activation-based": msgspec.json.Decoder(TokenAverages),
    "related-tokens/weight-based": msgspec.json.Decoder(TokenWeights),
    "related-neurons/weight-based": msgspec.json.Decoder(RelatedNeurons),
}


def decode(task: tuple[str, list[str]]) -> int:
    """Read and decode one kind's files; return how many."""
    kind, paths = task
    decoder = DECODERS[kind]
    for path in paths:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  a Path takes longer
            data = file.read()
        # Not a number stands bare in the files; the text "NaN" is in no token of the sample.
        decoder.decode(data.replace(b"NaN", b"null") if b"NaN" in data else data)
    return len(paths)


def main(folder: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    tasks = []
    for kind in DECODERS:
        paths = sorted(str(path) for path in (folder / kind).glob("*/*.json*"))
        tasks += [(kind, paths[start : start + 200]) for start in range(0, len(paths), 200)]
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        start = time.perf_counter()
        files = sum(pool.imap_unordered(decode, tasks))
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "files": files}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
