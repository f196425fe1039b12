"""A neuron's related tokens and neurons as bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from explanations.pipeline.packing.errors import PackingError
from explanations.pipeline.packing.tokens import pack_tokens, unpack_tokens
from explanations.pipeline.records import (
    NeuronId,
    NeuronWeights,
    Related,
    RelatedNeurons,
    TokenValues,
    WeightTokens,
)

VERSION = 1


def _pack_token_values(pair: TokenValues) -> list[bytes]:
    return [pack_tokens(pair.tokens), _pack_floats(pair.values)]


def _pack_floats(values: Sequence[float | None]) -> bytes:
    """Return numbers in single precision; None becomes NaN."""
    form = f"<{len(values)}f"
    try:
        # Not numpy, which takes twice as long for a few tens.
        return struct.pack(form, *values)
    except struct.error:
        return struct.pack(form, *(math.nan if value is None else value for value in values))


def _pack_neurons(side: NeuronWeights | None) -> list[bytes] | None:
    if side is None:
        return None
    places = [neuron.index << 32 | neuron.layer for neuron in side.neurons]  # `place_of` reads them.
    return [struct.pack(f"<{len(places)}Q", *places), _pack_floats(side.weights)]


_WEIGHT_SIDES = ("input_positive", "input_negative", "output_positive", "output_negative")
_NEURON_SIDES = ("upstream_positive", "upstream_negative", "downstream_positive", "downstream_negative")


def pack_related(related: Related) -> bytes:
    """Return a neuron's related tokens and neurons as bytes; their strengths in single precision."""

    def sides(holder: object, names: Iterable[str], pack: object) -> list[object]:
        return [pack(getattr(holder, name)) for name in names]  # type: ignore[operator]

    by_activation, by_weight, neurons = related.tokens_by_activation, related.tokens_by_weight, related.neurons
    return msgspec.msgpack.encode(
        [
            VERSION,
            None if by_activation is None else _pack_token_values(by_activation),
            None if by_weight is None else sides(by_weight, _WEIGHT_SIDES, _pack_token_values),
            None if neurons is None else sides(neurons, _NEURON_SIDES, _pack_neurons),
        ]
    )


class TokenColumns(msgspec.Struct, frozen=True):
    """Tokens with their strengths."""

    tokens: Sequence[str | None]
    values: npt.NDArray[np.float32]
    """[token]; NaN is unknown"""


class NeuronColumns(msgspec.Struct, frozen=True):
    """Neurons with their weights."""

    places: list[int]
    """each neuron's index << 32 | layer"""
    weights: list[float]


class RelatedColumns(msgspec.Struct, frozen=True):
    """A neuron's related tokens and neurons as columns, which take a third of the time that records take."""

    tokens_by_activation: TokenColumns | None
    tokens_by_weight: Sequence[TokenColumns] | None
    """in the order of `WeightTokens`"""
    neurons: Sequence[NeuronColumns | None] | None
    """in the order of `RelatedNeurons`"""


def read_related(data: bytes | memoryview) -> RelatedColumns:
    """Return what `pack_related` packed."""
    version, by_activation, by_weight, neurons = msgspec.msgpack.decode(data)
    if version != VERSION:
        raise PackingError(f"related tokens and neurons of version {version}, this program reads {VERSION}")
    return RelatedColumns(
        None if by_activation is None else _read_tokens(by_activation),
        None if by_weight is None else list(map(_read_tokens, by_weight)),
        None if neurons is None else list(map(_read_neurons, neurons)),
    )


def _read_tokens(packed: Sequence[bytes]) -> TokenColumns:
    return TokenColumns(unpack_tokens(packed[0]), np.frombuffer(packed[1], "<f4"))


def _read_neurons(packed: Sequence[bytes] | None) -> NeuronColumns | None:
    if packed is None:
        return None
    places, weights = packed
    return NeuronColumns(np.frombuffer(places, "<u8").tolist(), np.frombuffer(weights, "<f4").tolist())


def place_of(number: int) -> NeuronId:
    """Return the neuron of one of `NeuronColumns.places`."""
    return NeuronId(number & 0xFFFFFFFF, number >> 32)


def unpack_related(data: bytes | memoryview) -> Related:
    """Return what `pack_related` packed, as records."""
    columns = read_related(data)
    by_activation, by_weight, neurons = columns.tokens_by_activation, columns.tokens_by_weight, columns.neurons
    return Related(
        None if by_activation is None else _token_values(by_activation),
        None if by_weight is None else WeightTokens(*map(_token_values, by_weight)),
        None if neurons is None else RelatedNeurons(*map(_neuron_weights, neurons)),
    )


def _token_values(columns: TokenColumns) -> TokenValues:
    values = (None if math.isnan(value) else value for value in columns.values.tolist())
    return TokenValues(tuple(columns.tokens), tuple(values))


def _neuron_weights(columns: NeuronColumns | None) -> NeuronWeights | None:
    if columns is None:
        return None
    return NeuronWeights(tuple(map(place_of, columns.places)), tuple(columns.weights))


def merge_related(old: bytes | memoryview, new: bytes) -> bytes:
    """Return `new` with the parts of `old` that it lacks."""
    parts = zip(msgspec.msgpack.decode(old), msgspec.msgpack.decode(new), strict=True)
    return msgspec.msgpack.encode([before if after is None else after for before, after in parts])
