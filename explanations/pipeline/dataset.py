"""The public file formats: read and check a neuron's files. `dataset_encoding` writes them.

What has many numbers comes as columns: one array over all excerpts, with their lengths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain
from typing import cast

from msgspec import UNSET, Raw

from explanations.pipeline import dataset_objects as objects
from explanations.pipeline.array_cutting import Arrays, Doubles
from explanations.pipeline.excerpts import Excerpt, Excerpts
from explanations.pipeline.json_reading import BrokenFileError, decode, decode_text, text_list
from explanations.pipeline.packing import MAX_TOKENS
from explanations.pipeline.records import (
    NORMALISED_SCALE,
    ActivationRecord,
    Kind,
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

MAX_QUANTILES = 200
MAX_EXPLANATIONS = 1000
CORRELATION_SLACK = 1e-6
"""Published correlations were computed in floating point and may lie this far outside -1 to 1."""
_MAX_STRENGTH = 3e38
"""of a related token or neuron: strengths are kept in single precision"""
TOP_SEQUENCES = 5
"""The first sequences of a simulation are of top excerpts, where nothing better tells."""


def _check_neuron_id(given: objects.NeuronId, expected: NeuronId) -> None:
    layer = given.layer if given.layer_index is UNSET else given.layer_index
    index = given.idx if given.neuron_index is UNSET else given.neuron_index
    if layer is UNSET or index is UNSET:
        raise BrokenFileError("its neuron_id names no layer and neuron")
    if (str(layer), index) != (str(expected.layer), expected.index):
        raise BrokenFileError(f"it is of neuron {layer}:{index}, not of {expected}")


def _check_correlation(score: float | None) -> float | None:
    if score is not None and not -1 - CORRELATION_SLACK <= score <= 1 + CORRELATION_SLACK:
        raise BrokenFileError(f"an ev_correlation_score is {score}; it must lie between -1 and 1")
    return score


def _check_lengths(lengths: Sequence[int], excerpts: Sequence[Excerpt], what: str) -> None:
    """BrokenFileError where an excerpt has not as many numbers as tokens."""
    counts = [excerpt.length for excerpt in excerpts]
    if lengths != counts:
        at = next(i for i, (length, count) in enumerate(zip(lengths, counts, strict=True)) if length != count)
        raise BrokenFileError(f"wrong lengths: excerpt {at} has {counts[at]} tokens but {lengths[at]} {what}")


def split_columns(values: Doubles, lengths: Sequence[int]) -> list[Doubles]:
    """Return each excerpt's part of a column."""
    return [values[end - length : end] for end, length in zip(accumulate(lengths), lengths, strict=True)]


# Activations


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """A neuron's activation records as columns, in the order of `NeuronRecord.labelled`."""

    neuron_id: NeuronId
    excerpts: Sequence[Excerpt]
    """[excerpt]"""
    keys: Sequence[int]
    """[excerpt]"""
    kinds: Sequence[int]
    """[excerpt]"""
    lengths: Sequence[int]
    """[excerpt], in tokens"""
    activations: Doubles
    """[sum of lengths]"""
    quantile_boundaries: tuple[float, ...] | None
    moments: tuple[float | None, float | None, float | None, float | None]
    """mean, variance, skewness, kurtosis"""

    def to_record(self) -> NeuronRecord:
        """Return the same as records."""
        by_kind: dict[int, list[ActivationRecord]] = {}
        parts = split_columns(self.activations, self.lengths)
        for kind, excerpt, part in zip(self.kinds, self.excerpts, parts, strict=True):
            by_kind.setdefault(kind, []).append(ActivationRecord(excerpt.tokens, part))
        ranges = range(Kind.QUANTILE, max([*self.kinds, Kind.QUANTILE - 1]) + 1)
        bottom = tuple(by_kind.get(Kind.BOTTOM, ()))
        return NeuronRecord(
            self.neuron_id,
            tuple(by_kind.get(Kind.TOP, ())),
            tuple(by_kind.get(Kind.RANDOM, ())),
            tuple(tuple(by_kind.get(kind, ())) for kind in ranges),
            self.quantile_boundaries,
            *self.moments,
            bottom,
        )


def decode_record(data: bytes, neuron_id: NeuronId, excerpts: Excerpts) -> RecordColumns:
    """Return the activation records in a file of `neuron_id`."""
    return objects.RECORD_FILE.read(data, lambda file, arrays: _record(file, arrays, neuron_id, excerpts))


def _record(
    file: objects.NeuronRecord[int, int], arrays: Arrays, neuron_id: NeuronId, excerpts: Excerpts
) -> RecordColumns:
    _check_neuron_id(file.neuron_id, neuron_id)
    quantiles = file.random_sample_by_quantile or []
    if len(quantiles) > MAX_QUANTILES or len(file.quantile_boundaries or []) > MAX_QUANTILES:
        raise BrokenFileError(f"more than {MAX_QUANTILES} quantile ranges")
    records = [*file.most_positive_activation_records, *file.random_sample, *chain.from_iterable(quantiles)]
    kinds = [int(Kind.TOP)] * len(file.most_positive_activation_records) + [int(Kind.RANDOM)] * len(file.random_sample)
    for q, part in enumerate(quantiles):
        kinds += [Kind.QUANTILE + q] * len(part)
    bottom = file.most_negative_activation_records or []
    records += bottom
    kinds += [int(Kind.BOTTOM)] * len(bottom)
    found = [excerpts[tokens] for tokens in arrays.take_tokens([record.tokens for record in records])]
    activations, lengths = arrays.take_beside([record.activations for record in records])
    _check_lengths(lengths, found, "activations")
    return RecordColumns(
        neuron_id,
        found,
        [excerpt.key for excerpt in found],
        kinds,
        lengths,
        activations,
        None if file.quantile_boundaries is None else tuple(file.quantile_boundaries),
        (file.mean, file.variance, file.skewness, file.kurtosis),
    )


# Explanations


@dataclass(frozen=True, slots=True)
class SimulationColumns:
    """A simulation's excerpts as columns. Which are top excerpts the file does not say."""

    excerpts: Sequence[Excerpt]
    """[excerpt]"""
    keys: Sequence[int]
    """[excerpt]"""
    lengths: Sequence[int]
    """[excerpt], in tokens"""
    simulated: Doubles
    """[sum of lengths]"""
    real: Doubles
    """[sum of lengths]"""
    scores: Scores
    sequence_scores: Sequence[tuple[float | None, float | None, float | None]]
    """[excerpt, 3], in the order of `Scores`"""
    scale: str


@dataclass(frozen=True, slots=True)
class ExplanationColumns:
    """One explanation of a file, with its simulation; None where the file has none."""

    text: str
    simulation: SimulationColumns | None

    def to_scored(self, kinds: Iterable[int]) -> ScoredExplanation:
        """Return the same as records, its excerpts of these kinds."""
        columns = self.simulation
        if columns is None:
            return ScoredExplanation(self.text, None)
        simulated = split_columns(columns.simulated, columns.lengths)
        real = split_columns(columns.real, columns.lengths)
        scores = [Scores(*row) for row in columns.sequence_scores]
        tokens = [excerpt.tokens for excerpt in columns.excerpts]
        parts = zip(tokens, simulated, real, kinds, scores, strict=True)
        sequences = tuple(SequenceSimulation(*part) for part in parts)
        return ScoredExplanation(self.text, Simulation(sequences, columns.scores, scale=columns.scale))


def decode_explanations(data: bytes, neuron_id: NeuronId, excerpts: Excerpts) -> list[ExplanationColumns]:
    """Return the explanations in a file of `neuron_id`, in its order."""
    return objects.RESULTS_FILE.read(data, lambda file, arrays: _explanations(file, arrays, neuron_id, excerpts))


def _explanations(
    file: objects.SimulationResults[int, int], arrays: Arrays, neuron_id: NeuronId, excerpts: Excerpts
) -> list[ExplanationColumns]:
    _check_neuron_id(file.neuron_id, neuron_id)
    given = file.scored_explanations
    if given is UNSET:
        given = file.scored_explanation_or_baseline_list
    if given is UNSET:
        raise BrokenFileError("not of the expected form: it has no scored_explanations")
    if len(given) > MAX_EXPLANATIONS:
        raise BrokenFileError(f"{len(given)} explanations of one neuron; at most {MAX_EXPLANATIONS} can be kept")
    return [_explanation(item, arrays, excerpts) for item in given]


def _explanation(item: objects.ScoredExplanation[int, int], arrays: Arrays, excerpts: Excerpts) -> ExplanationColumns:
    raw = item.explanation_or_baseline if item.explanation is UNSET else item.explanation
    text = None if raw is UNSET else decode_text(raw)
    if not isinstance(text, str) or not text:
        raise BrokenFileError("an explanation has no text")
    simulation = item.scored_simulation
    return ExplanationColumns(text, None if simulation is None else _simulation(simulation, arrays, excerpts))


def _simulation(given: objects.ScoredSimulation[int, int], arrays: Arrays, excerpts: Excerpts) -> SimulationColumns:
    scored = given.scored_sequence_simulations
    sequences = [item.simulation or item.sequence_simulation for item in scored]
    simulations = [sequence for sequence in sequences if sequence is not UNSET]
    if len(simulations) != len(scored):
        raise BrokenFileError("not of the expected form: a scored sequence has no simulation")
    if len(scored) > MAX_TOKENS // 2:
        raise BrokenFileError(f"{len(scored)} simulated excerpts; at most {MAX_TOKENS // 2} can be kept")
    found = [excerpts[tokens] for tokens in arrays.take_tokens([sequence.tokens for sequence in simulations])]
    simulated, lengths = arrays.take_beside([sequence.expected_activations for sequence in simulations])
    real, real_lengths = arrays.take_alone([item.true_activations for item in scored])
    _check_lengths(lengths, found, "simulated activations")
    _check_lengths(real_lengths, found, "true activations")
    rows = [
        (_check_correlation(s.ev_correlation_score), s.rsquared_score, s.absolute_dev_explained_score) for s in scored
    ]
    return SimulationColumns(
        found,
        [excerpt.key for excerpt in found],
        lengths,
        simulated,
        real,
        Scores(
            _check_correlation(given.ev_correlation_score), given.rsquared_score, given.absolute_dev_explained_score
        ),
        rows,
        _scale(simulations),
    )


def _scale(simulations: Iterable[objects.SequenceSimulation[int, int]]) -> str:
    scales = {s.unit if s.activation_scale is UNSET else s.activation_scale for s in simulations}
    named = {scale for scale in scales if scale is not UNSET}
    if len(named) > 1:
        raise BrokenFileError("its simulated excerpts are on different activation scales")
    return named.pop() if named else NORMALISED_SCALE


# Related tokens and neurons


def _token_values(raw: Raw, values: list[float | None]) -> TokenValues:
    tokens = text_list(raw)
    if len(tokens) != len(values):
        raise BrokenFileError(f"wrong lengths: {len(tokens)} tokens but {len(values)} values")
    _check_single_precision(values)
    return TokenValues(tuple(tokens), tuple(values))


def _check_single_precision(values: Sequence[float | None]) -> None:
    try:
        # Hardly any file leaves a number empty, and looking for one takes as long as the rest.
        is_within = _is_within_range(cast(Sequence[float], values))
    except TypeError:
        is_within = _is_within_range([value for value in values if value is not None])
    if not is_within:
        raise BrokenFileError("a strength is out of range: beyond 3e38")


def _is_within_range(strengths: Sequence[float]) -> bool:
    return not strengths or -_MAX_STRENGTH <= min(strengths) <= max(strengths) <= _MAX_STRENGTH


def decode_tokens_by_activation(data: bytes) -> TokenValues:
    """Return the tokens in a file of related tokens by activation."""
    file = decode(objects.averages_decoder, data)
    return _token_values(file.tokens, file.average_activations)


def decode_tokens_by_weight(data: bytes) -> WeightTokens:
    """Return the tokens in a file of related tokens by weight."""
    file = decode(objects.weights_decoder, data)
    sides = (file.input_positive, file.input_negative, file.output_positive, file.output_negative)
    return WeightTokens(*(_token_values(side.tokens, side.strengths) for side in sides))


_NEURON_NAME = re.compile(r"(0|[1-9][0-9]{0,4})_(0|[1-9][0-9]{0,8})", re.ASCII)


@lru_cache(maxsize=1 << 19)
def _related_neuron(name: str) -> NeuronId:
    match = _NEURON_NAME.fullmatch(name)
    if match is None:
        raise BrokenFileError(f"not a related neuron: {name[:40]!r}; expected layer_neuron")
    return NeuronId(int(match[1]), int(match[2]))


def _neuron_weights(names: list[str], weights: list[float]) -> NeuronWeights:
    if len(names) != len(weights):
        raise BrokenFileError(f"wrong lengths: {len(names)} related neurons but {len(weights)} weights")
    _check_single_precision(weights)
    return NeuronWeights(tuple(map(_related_neuron, names)), tuple(weights))


def _both_signs(side: objects.NeuronSide | None) -> tuple[NeuronWeights | None, NeuronWeights | None]:
    if side is None:
        return None, None
    positive = _neuron_weights(side.top_positive_neurons, side.top_positive_weights)
    return positive, _neuron_weights(side.top_negative_neurons, side.top_negative_weights)


def decode_related_neurons(data: bytes) -> RelatedNeurons:
    """Return the neurons in a file of related neurons."""
    file = decode(objects.neurons_decoder, data)
    return RelatedNeurons(*_both_signs(file.c_fc), *_both_signs(file.c_proj))
