"""The objects of the public files as they stand in JSON, and how such JSON is read.

Strict and fast at first; what Python's own json module writes beyond the standard (bare NaN, lone surrogates) is read
too. Tokens stay JSON text: see `excerpts`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

MAX_TOKENS = 65535
Scale: TypeAlias = Literal["neuron_activations", "simulated_normalized_activations"]
T = TypeVar("T")


class BrokenFileError(ValueError):
    """A file that cannot be taken, with the reason in words."""


# The files' objects. Both names of a field that was renamed; unknown fields are left aside.


class NeuronId(Struct):
    layer_index: int | str | UnsetType = UNSET
    neuron_index: int | UnsetType = UNSET
    layer: int | str | UnsetType = UNSET
    idx: int | UnsetType = UNSET


class ActivationRecord(Struct):
    tokens: Raw
    activations: list[float]


class NeuronRecord(Struct):
    neuron_id: NeuronId
    random_sample: list[ActivationRecord]
    most_positive_activation_records: list[ActivationRecord]
    random_sample_by_quantile: list[list[ActivationRecord]] | None = None
    quantile_boundaries: list[float] | None = None
    mean: float | None = None
    variance: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    most_negative_activation_records: list[ActivationRecord] | None = None
    """of signed neurons; the public files do not have it"""


class SequenceSimulation(Struct):
    tokens: Raw
    expected_activations: list[float]
    activation_scale: Scale | UnsetType = UNSET
    unit: Scale | UnsetType = UNSET


class ScoredSequence(Struct):
    true_activations: list[float]
    simulation: SequenceSimulation | UnsetType = UNSET
    sequence_simulation: SequenceSimulation | UnsetType = UNSET
    ev_correlation_score: float | None = None
    rsquared_score: float | None = None
    absolute_dev_explained_score: float | None = None


class ScoredSimulation(Struct):
    scored_sequence_simulations: list[ScoredSequence]
    ev_correlation_score: float | None = None
    rsquared_score: float | None = None
    absolute_dev_explained_score: float | None = None


class ScoredExplanation(Struct):
    scored_simulation: ScoredSimulation | None
    explanation: Raw | UnsetType = UNSET
    explanation_or_baseline: Raw | UnsetType = UNSET


class SimulationResults(Struct):
    neuron_id: NeuronId
    scored_explanations: list[ScoredExplanation] | UnsetType = UNSET
    scored_explanation_or_baseline_list: list[ScoredExplanation] | UnsetType = UNSET


class TokenAverages(Struct):
    tokens: Raw
    average_activations: list[float | None]


class TokenStrengths(Struct):
    tokens: Raw
    strengths: list[float | None]


class WeightTokens(Struct):
    input_positive: TokenStrengths
    input_negative: TokenStrengths
    output_positive: TokenStrengths
    output_negative: TokenStrengths


class NeuronSide(Struct):
    top_positive_neurons: list[str]
    top_positive_weights: list[float]
    top_negative_neurons: list[str]
    top_negative_weights: list[float]


class RelatedNeurons(Struct):
    c_fc: NeuronSide | None = None
    c_proj: NeuronSide | None = None


record_decoder = msgspec.json.Decoder(NeuronRecord)
results_decoder = msgspec.json.Decoder(SimulationResults)
averages_decoder = msgspec.json.Decoder(TokenAverages)
weights_decoder = msgspec.json.Decoder(WeightTokens)
neurons_decoder = msgspec.json.Decoder(RelatedNeurons)
tokens_decoder = msgspec.json.Decoder(list[str | None])

# JSON to objects

_NON_FINITE_VALUE = re.compile(rb'(?<=[a-z]")(\s*:\s*)(?:NaN|-?Infinity)')
"""A value that is not finite. A quote after a letter ends a string, so this matches nothing inside of one."""
_INFINITE_CORRELATION = re.compile(rb'ev_correlation_score"\s*:\s*-?Infinity')
_TEXT_FIELDS = ("tokens", "explanation", "explanation_or_baseline")


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Return the file's typed object, None for each value that is not finite. BrokenFileError where it does not fit."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:
        strict = error
    # Only now: looking for it takes a third of the time of decoding, and nearly no file has it.
    not_finite = b"NaN" in data or b"Infinity" in data
    if not_finite:
        if _INFINITE_CORRELATION.search(data):
            raise BrokenFileError("an ev_correlation_score is infinite; it must lie between -1 and 1")
        data = _NON_FINITE_VALUE.sub(rb"\1null", data)
        try:
            return decoder.decode(data)
        except (ValueError, RecursionError) as error:
            strict = error
    try:
        plain = _plain_json(data)
    except (ValueError, RecursionError):
        raise BrokenFileError(_in_words(strict, not_finite)) from None
    try:
        return decoder.decode(plain)
    except (ValueError, RecursionError) as error:
        raise BrokenFileError(_in_words(error, not_finite)) from None


def _plain_json(data: bytes) -> bytes:
    """Return JSON that only Python's own module reads (lone surrogates, bare NaN) as JSON that strict parsers take."""
    plain = json.loads(data, parse_constant=lambda _: None, object_hook=_wrap_texts)
    return json.dumps(plain, allow_nan=False).encode()


def _wrap_texts(item: dict[str, Any]) -> dict[str, Any]:
    """Hide texts, which may hold lone surrogates, as {"json": their JSON}. `decode_text` opens it again."""
    return item | {name: {"json": json.dumps(item[name])} for name in _TEXT_FIELDS if name in item}


def decode_text(raw: bytes | Raw) -> Any:
    """Return a raw field's value: one that strict parsers take, or one that `_wrap_texts` hid."""
    try:
        value = msgspec.json.decode(raw)
        return json.loads(value["json"]) if isinstance(value, dict) else value
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BrokenFileError("not of the expected form: a text that cannot be decoded") from None


def _in_words(error: Exception, not_finite: bool) -> str:
    """Return why a strict parser refused a file."""
    reason = str(error)
    if isinstance(error, msgspec.ValidationError):
        if not_finite and "`null`" in reason:
            # The parser was given null in its place; only where it stood helps.
            _, at, place = reason.rpartition(" - at ")
            return f"NaN or Infinity where a number must be{at}{place if at else ''}"
        return f"not of the expected form: {reason}"
    if isinstance(error, RecursionError):
        return "not of the expected form: nested too deeply"
    if "truncated" in reason:
        return "truncated: the file ends in the middle of its JSON"
    return f"bad JSON: {reason.removeprefix('JSON is malformed: ')}"


def text_list(raw: bytes | Raw) -> list[str | None]:
    """Return a list of texts; None for an entry that the file left empty."""
    try:
        return tokens_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        tokens = decode_text(raw)
    if not isinstance(tokens, list) or not all(token is None or isinstance(token, str) for token in tokens):
        raise BrokenFileError("tokens are not a list of texts")
    return tokens
