"""Records to the public file formats: what `dataset` reads back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from explanations.pipeline.records import (
    ActivationRecord,
    NeuronId,
    NeuronRecord,
    NeuronWeights,
    RelatedNeurons,
    ScoredExplanation,
    Scores,
    SequenceSimulation,
    Simulation,
    TokenValues,
    WeightTokens,
)

Json = dict[str, Any]


def _encode(item: Json) -> bytes:
    try:
        return msgspec.json.encode(item)
    except UnicodeEncodeError:
        # A lone surrogate: only Python's own module writes it, as an escape.
        return json.dumps(item, separators=(",", ":"), allow_nan=False).encode()


def _neuron_id(neuron_id: NeuronId) -> Json:
    return {"layer_index": neuron_id.layer, "neuron_index": neuron_id.index, "dataclass_name": "NeuronId"}


def _records(records: Iterable[ActivationRecord]) -> list[Json]:
    return [
        {"tokens": r.tokens, "activations": r.activations.tolist(), "dataclass_name": "ActivationRecord"}
        for r in records
    ]


def encode_record(record: NeuronRecord) -> bytes:
    """Return a file of activation records. The lowest ones are written only where there are some."""
    bottom = {"most_negative_activation_records": _records(record.bottom)} if record.bottom else {}
    return _encode(
        {
            "neuron_id": _neuron_id(record.neuron_id),
            "random_sample": _records(record.random),
            "random_sample_by_quantile": [_records(part) for part in record.by_quantile] or None,
            "quantile_boundaries": record.quantile_boundaries,
            "mean": record.mean,
            "variance": record.variance,
            "skewness": record.skewness,
            "kurtosis": record.kurtosis,
            "most_positive_activation_records": _records(record.top),
            **bottom,
            "dataclass_name": "NeuronRecord",
        }
    )


def _scores(scores: Scores) -> Json:
    return {
        "ev_correlation_score": scores.ev_correlation,
        "rsquared_score": scores.rsquared,
        "absolute_dev_explained_score": scores.absolute_dev_explained,
    }


def _sequence(sequence: SequenceSimulation, scale: str) -> Json:
    simulation = {
        "tokens": sequence.tokens,
        "expected_activations": sequence.simulated.tolist(),
        "activation_scale": scale,
        "distribution_values": [],
        "distribution_probabilities": [],
        "uncalibrated_simulation": None,
        "dataclass_name": "SequenceSimulation",
    }
    real = {"true_activations": sequence.real.tolist()}
    return {
        "simulation": simulation,
        **real,
        **_scores(sequence.scores),
        "dataclass_name": "ScoredSequenceSimulation",
    }


def _simulation(simulation: Simulation | None) -> Json | None:
    if simulation is None:
        return None
    return {
        "scored_sequence_simulations": [_sequence(s, simulation.scale) for s in simulation.sequences],
        **_scores(simulation.scores),
        "dataclass_name": "ScoredSimulation",
    }


def encode_explanations(neuron_id: NeuronId, explanations: Iterable[ScoredExplanation]) -> bytes:
    """Return a file of explanations with their simulations: one line."""
    scored = [
        {
            "explanation": explanation.text,
            "scored_simulation": _simulation(explanation.simulation),
            "dataclass_name": "ScoredExplanation",
        }
        for explanation in explanations
    ]
    results = {
        "neuron_id": _neuron_id(neuron_id),
        "scored_explanations": scored,
        "dataclass_name": "NeuronSimulationResults",
    }
    return _encode(results) + b"\n"


def encode_tokens_by_activation(pair: TokenValues) -> bytes:
    """Return a file of related tokens by activation."""
    name = "TokenLookupTableSummaryOfNeuron"
    return _encode({"tokens": pair.tokens, "average_activations": pair.values, "dataclass_name": name})


def encode_tokens_by_weight(weights: WeightTokens) -> bytes:
    """Return a file of related tokens by weight."""

    def side(pair: TokenValues) -> Json:
        return {"tokens": pair.tokens, "strengths": pair.values}

    return _encode(
        {
            "input_positive": side(weights.input_positive),
            "input_negative": side(weights.input_negative),
            "output_positive": side(weights.output_positive),
            "output_negative": side(weights.output_negative),
            "dataclass_name": "WeightBasedSummaryOfNeuron",
        }
    )


def _neuron_side(positive: NeuronWeights | None, negative: NeuronWeights | None) -> Json | None:
    if positive is None or negative is None:
        return None
    return {
        "top_positive_neurons": [f"{n.layer}_{n.index}" for n in positive.neurons],
        "top_positive_weights": positive.weights,
        "top_negative_neurons": [f"{n.layer}_{n.index}" for n in negative.neurons],
        "top_negative_weights": negative.weights,
    }


def encode_related_neurons(related: RelatedNeurons) -> bytes:
    """Return a file of related neurons."""
    return _encode(
        {
            "c_fc": _neuron_side(related.upstream_positive, related.upstream_negative),
            "c_proj": _neuron_side(related.downstream_positive, related.downstream_negative),
        }
    )
