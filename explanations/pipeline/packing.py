"""How records become bytes: token strings, and activations in half precision.

A value v is kept as a half-precision number times 2^e, with one exponent e for each excerpt, chosen so that the
excerpt's largest magnitude lies in [2^14, 2^15). The error is then at most 2^-11 of v for every v down to 2^-28 of that
largest magnitude (halves keep 10 bits from 2^-14 on); smaller ones err at most 2^-39 of it. The sign survives always, and
nothing but zero becomes zero: a page tells negative, zero and positive apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from explanations.pipeline.records import (
    Floats,
    NeuronId,
    NeuronWeights,
    Related,
    RelatedNeurons,
    Scores,
    TokenValues,
    WeightTokens,
)

VERSION = 1
_EXPONENT_OF_MAXIMUM = 14
_SMALLEST_HALF = np.float16(2**-24)

_tokens_decoder = msgspec.msgpack.Decoder(list[Any])


class PackingError(ValueError):
    """Bytes that this module did not write, or wrote in a form that it no longer reads."""


def pack_tokens(tokens: Sequence[str | None]) -> bytes:
    """Return tokens as bytes, equal exactly where the tokens are. Lone surrogates, NUL and None survive."""
    try:
        return msgspec.msgpack.encode(tokens)
    except UnicodeEncodeError:
        return msgspec.msgpack.encode([_without_surrogates(token) for token in tokens])


def _without_surrogates(token: str | None) -> str | bytes | None:
    if token is None:
        return None
    try:
        token.encode()
    except UnicodeEncodeError:
        return token.encode("utf-8", "surrogatepass")
    return token


def unpack_tokens(data: bytes | memoryview) -> tuple[str | None, ...]:
    """Return what `pack_tokens` packed."""
    try:
        packed = _tokens_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise PackingError(f"not packed tokens: {error}") from error
    return tuple(t.decode("utf-8", "surrogatepass") if isinstance(t, bytes) else t for t in packed)


def excerpt_key(packed_tokens: bytes) -> int:
    """Return the signed 64-bit number that names an excerpt in its model: a hash of its packed tokens."""
    return int.from_bytes(hashlib.blake2b(packed_tokens, digest_size=8).digest(), "little", signed=True)


def _encode_halves(values: Floats, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (halves [sum of lengths], exponents [excerpt]) of excerpts' concatenated finite values."""
    if not len(values):
        return np.zeros(0, "<f2"), np.zeros(len(lengths), "i1")
    values = np.asarray(values, dtype=np.float64)
    filled = lengths > 0
    starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
    maximum = np.zeros(len(lengths))
    maximum[filled] = np.maximum.reduceat(np.abs(values), starts)
    exponents = np.where(maximum > 0, np.frexp(maximum)[1] - 1 - _EXPONENT_OF_MAXIMUM, 0)
    exponents = np.clip(exponents, -128, 127).astype("i1")
    halves = np.ldexp(values, -np.repeat(exponents, lengths).astype(np.int32)).astype("<f2")
    vanished = (halves == 0) & (values != 0)
    halves[vanished] = np.copysign(_SMALLEST_HALF, values[vanished])
    return halves, exponents


def _decode_halves(halves: np.ndarray, exponents: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the values [sum of lengths], exactly as they were kept, in double precision."""
    return np.ldexp(halves.astype(np.float64), np.repeat(exponents, lengths).astype(np.int32))


def _concatenate(parts: Sequence[Floats]) -> Floats:
    return np.concatenate(parts) if len(parts) else np.zeros(0)


@dataclass(frozen=True, slots=True)
class PackedRecord:
    """One activation record by its excerpt's key."""

    key: int
    kind: int
    activations: Floats
    """[pos]"""


_RECORD = np.dtype([("key", "<i8"), ("length", "<u2"), ("kind", "u1"), ("exponent", "i1")])


def pack_records(records: Sequence[PackedRecord], quantile_boundaries: Sequence[float] | None = None) -> bytes:
    """Return a neuron's records as bytes: 12 bytes a record and 2 a token."""
    index = np.zeros(len(records), _RECORD)
    lengths = np.array([len(r.activations) for r in records], dtype=np.int64)
    halves, exponents = _encode_halves(_concatenate([r.activations for r in records]), lengths)
    index["key"] = [r.key for r in records]
    index["length"], index["exponent"] = lengths, exponents
    index["kind"] = [r.kind for r in records]
    boundaries = np.asarray([] if quantile_boundaries is None else quantile_boundaries, dtype="<f8")
    has_boundaries = 0 if quantile_boundaries is None else 1
    header = bytes([VERSION, has_boundaries, len(boundaries), 0]) + len(records).to_bytes(4, "little")
    return header + boundaries.tobytes() + index.tobytes() + halves.tobytes()


def unpack_records(data: bytes | memoryview) -> tuple[list[PackedRecord], tuple[float, ...] | None]:
    """Return what `pack_records` packed: the records and the quantile boundaries."""
    data = bytes(data)
    if len(data) < 8 or data[0] != VERSION:
        raise PackingError("not packed activation records of a version that this program reads")
    boundaries = np.frombuffer(data, "<f8", data[2], 8)
    count = int.from_bytes(data[4:8], "little")
    index = np.frombuffer(data, _RECORD, count, 8 + boundaries.nbytes)
    lengths = index["length"].astype(np.int64)
    halves = np.frombuffer(data, "<f2", int(lengths.sum()), 8 + boundaries.nbytes + index.nbytes)
    values = _decode_halves(halves, index["exponent"], lengths)
    parts = np.split(values, np.cumsum(lengths)[:-1]) if count else []
    records = [
        PackedRecord(key, kind, part)
        for key, kind, part in zip(index["key"].tolist(), index["kind"].tolist(), parts, strict=True)
    ]
    return records, tuple(boundaries.tolist()) if data[1] else None


@dataclass(frozen=True, slots=True)
class PackedSequence:
    """One simulated excerpt by its key."""

    key: int
    kind: int
    simulated: Floats
    """[pos]"""
    real: Floats | None
    """[pos]; None where the neuron's activation records hold the same values under the same key"""
    scores: Scores


_SEQUENCE = np.dtype(
    [
        ("key", "<i8"),
        ("length", "<u2"),
        ("kind", "u1"),
        ("has_real", "u1"),
        ("exponent", "i1"),
        ("real_exponent", "i1"),
        ("ev_correlation", "<f8"),
        ("rsquared", "<f8"),
        ("absolute_dev_explained", "<f8"),
    ]
)
_SCORES = ("ev_correlation", "rsquared", "absolute_dev_explained")


def pack_sequences(sequences: Sequence[PackedSequence]) -> bytes:
    """Return a simulation's excerpts as bytes: 38 bytes an excerpt and 2 a token (4 where it keeps real values)."""
    index = np.zeros(len(sequences), _SEQUENCE)
    lengths = np.array([len(s.simulated) for s in sequences], dtype=np.int64)
    has_real = np.array([s.real is not None for s in sequences], dtype=bool)
    halves, exponents = _encode_halves(_concatenate([s.simulated for s in sequences]), lengths)
    real = _concatenate([s.real for s in sequences if s.real is not None])
    real_halves, real_exponents = _encode_halves(real, lengths[has_real])
    index["key"] = [s.key for s in sequences]
    index["kind"] = [s.kind for s in sequences]
    index["length"], index["exponent"], index["has_real"] = lengths, exponents, has_real
    index["real_exponent"][has_real] = real_exponents
    for name in _SCORES:
        values = (getattr(s.scores, name) for s in sequences)
        index[name] = [np.nan if value is None else value for value in values]
    header = bytes([VERSION, 0, 0, 0]) + len(sequences).to_bytes(4, "little")
    return header + index.tobytes() + halves.tobytes() + real_halves.tobytes()


def unpack_sequences(data: bytes | memoryview) -> list[PackedSequence]:
    """Return what `pack_sequences` packed."""
    data = bytes(data)
    if len(data) < 8 or data[0] != VERSION:
        raise PackingError("not a packed simulation of a version that this program reads")
    count = int.from_bytes(data[4:8], "little")
    index = np.frombuffer(data, _SEQUENCE, count, 8)
    lengths = index["length"].astype(np.int64)
    has_real = index["has_real"].astype(bool)
    halves = np.frombuffer(data, "<f2", int(lengths.sum()), 8 + index.nbytes)
    real_lengths = lengths[has_real]
    real_halves = np.frombuffer(data, "<f2", int(real_lengths.sum()), 8 + index.nbytes + halves.nbytes)
    simulated = np.split(_decode_halves(halves, index["exponent"], lengths), np.cumsum(lengths)[:-1])
    real_values = _decode_halves(real_halves, index["real_exponent"][has_real], real_lengths)
    real_parts = iter(np.split(real_values, np.cumsum(real_lengths)[:-1]))
    return [
        PackedSequence(
            key=int(row["key"]),
            kind=int(row["kind"]),
            simulated=simulated[i],
            real=next(real_parts) if row["has_real"] else None,
            scores=Scores(*(None if np.isnan(row[name]) else float(row[name]) for name in _SCORES)),
        )
        for i, row in enumerate(index)
    ]


def _pack_token_values(pair: TokenValues) -> list[bytes]:
    values = np.array([np.nan if v is None else v for v in pair.values], dtype="<f4")
    return [pack_tokens(pair.tokens), values.tobytes()]


def _unpack_token_values(packed: list[bytes]) -> TokenValues:
    values = np.frombuffer(packed[1], "<f4").tolist()
    return TokenValues(unpack_tokens(packed[0]), tuple(None if np.isnan(v) else v for v in values))


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
