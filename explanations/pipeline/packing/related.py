"""A neuron's related tokens and neurons as bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np

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
    values = np.array(pair.values, dtype="<f4")  # None becomes NaN
    return [pack_tokens(pair.tokens), values.tobytes()]


def _unpack_token_values(packed: list[bytes]) -> TokenValues:
    values = np.frombuffer(packed[1], "<f4")
    numbers = values.tolist()
    if np.isnan(values).any():
        numbers = [None if math.isnan(v) else v for v in numbers]
    return TokenValues(unpack_tokens(packed[0]), tuple(numbers))


def _pack_neurons(side: NeuronWeights | None) -> list[bytes] | None:
    if side is None:
        return None
    ids = np.array([(n.layer, n.index) for n in side.neurons], dtype="<u4")
    return [ids.tobytes(), np.asarray(side.weights, dtype="<f4").tobytes()]


def _unpack_neurons(packed: list[bytes] | None) -> NeuronWeights | None:
    if packed is None:
        return None
    ids = np.frombuffer(packed[0], "<u4").reshape(-1, 2).tolist()
    return NeuronWeights(tuple(NeuronId(*pair) for pair in ids), tuple(np.frombuffer(packed[1], "<f4").tolist()))


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


def unpack_related(data: bytes | memoryview) -> Related:
    """Return what `pack_related` packed."""
    version, by_activation, by_weight, neurons = msgspec.msgpack.decode(data)
    if version != VERSION:
        raise PackingError(f"related tokens and neurons of version {version}, this program reads {VERSION}")
    return Related(
        None if by_activation is None else _unpack_token_values(by_activation),
        None if by_weight is None else WeightTokens(*map(_unpack_token_values, by_weight)),
        None if neurons is None else RelatedNeurons(*map(_unpack_neurons, neurons)),
    )


def merge_related(old: bytes | memoryview, new: bytes) -> bytes:
    """Return `new` with the parts of `old` that it lacks."""
    parts = zip(msgspec.msgpack.decode(old), msgspec.msgpack.decode(new), strict=True)
    return msgspec.msgpack.encode([before if after is None else after for before, after in parts])
