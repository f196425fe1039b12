"""How records become bytes: token strings, and activations in half precision.

A value v is kept as a half-precision number times 2^e, with one exponent e for each excerpt, chosen so that the
excerpt's largest magnitude lies in [2^14, 2^15). Halves keep 10 bits from 2^-14 on, so the error is at most 2^-11 of v
for every v down to 2^-28 of that largest magnitude. The few values beyond that (far smaller ones, or excerpts
above 2^142) are kept as they are, in double precision, beside the halves. So for every finite value: the error is at
most 2^-11 of it, its sign survives, and only zero becomes zero. A value that is a half already is kept exactly.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from explanations.pipeline.records import (
    Floats,
    NeuronId,
    NeuronWeights,
    Related,
    RelatedNeurons,
    Scores,
    TokenValues,
    WeightTokens,
    normalise,
)

VERSION = 1
MAX_TOKENS = 65535
"""Tokens in one excerpt."""
MAX_BOUNDARIES = 255
"""Quantile boundaries of one neuron."""

_EXPONENT_OF_MAXIMUM = 14
_HIGHEST_EXPONENT = 127
_SMALLEST_NORMAL_HALF = 2.0**-14
_LARGEST_HALF = 65504.0
_EXACT = np.dtype([("at", "<u4"), ("value", "<f8")])

Doubles: TypeAlias = npt.NDArray[np.float64]
Lengths: TypeAlias = npt.NDArray[np.int64]
"""[excerpt], in tokens"""

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


@dataclass(frozen=True, slots=True)
class _Halves:
    """Excerpts' concatenated values in half precision."""

    halves: npt.NDArray[np.float16]
    """[sum of lengths], in units of 2^exponent"""
    exponents: npt.NDArray[np.int8]
    """[excerpt]"""
    exact: npt.NDArray[np.void]
    """[exception] of `_EXACT`: what halves cannot hold"""


def _encode_halves(given: Floats, lengths: Lengths) -> _Halves:
    """Return excerpts' concatenated values in half precision. PackingError where one is not finite."""
    values: Doubles = np.asarray(given, dtype=np.float64)
    if not np.isfinite(values).all():
        raise PackingError("an activation is NaN or infinite")
    if len(lengths) and int(lengths.max()) > MAX_TOKENS:
        raise PackingError(f"an excerpt of {lengths.max()} tokens; at most {MAX_TOKENS} can be kept")
    exponents = _exponents(values, lengths)
    # Times a power of two and not ldexp: as exact, and several times faster.
    scaled = values * np.repeat(np.ldexp(1.0, -exponents.astype(np.int32)), lengths)
    magnitudes = np.abs(scaled)
    doubtful = magnitudes < _SMALLEST_NORMAL_HALF
    if exponents.max(initial=0) == _HIGHEST_EXPONENT:
        doubtful |= magnitudes > _LARGEST_HALF
        np.clip(scaled, -_LARGEST_HALF, _LARGEST_HALF, out=scaled)
    halves = scaled.astype("<f2")
    return _Halves(halves, exponents, _exceptions(values, halves, np.flatnonzero(doubtful), exponents, lengths))


def _exponents(values: Doubles, lengths: Lengths) -> npt.NDArray[np.int8]:
    """Return each excerpt's exponent [excerpt]; 0 where it is empty or all zero."""
    maximum = np.zeros(len(lengths))
    filled = lengths > 0
    if len(values):
        starts = np.cumsum(lengths) - lengths
        maximum[filled] = np.maximum.reduceat(np.abs(values), starts[filled])
    exponents = np.where(maximum > 0, np.frexp(maximum)[1] - 1 - _EXPONENT_OF_MAXIMUM, 0)
    return np.clip(exponents, -_HIGHEST_EXPONENT, _HIGHEST_EXPONENT).astype(np.int8)


def _exceptions(
    values: Doubles,
    halves: npt.NDArray[np.float16],
    doubtful: npt.NDArray[np.intp],
    exponents: npt.NDArray[np.int8],
    lengths: Lengths,
) -> npt.NDArray[np.void]:
    """Return those of the `doubtful` places whose halves are not the value itself, with the value."""
    doubtful = doubtful[values[doubtful] != 0]
    excerpts = np.searchsorted(np.cumsum(lengths), doubtful, side="right")
    kept = np.ldexp(halves[doubtful].astype(np.float64), exponents[excerpts].astype(np.int32))
    wrong = doubtful[kept != values[doubtful]]
    exact = np.zeros(len(wrong), _EXACT)
    exact["at"], exact["value"] = wrong, values[wrong]
    return exact


def _decode_halves(kept: _Halves, lengths: Lengths) -> Doubles:
    """Return the values [sum of lengths], exactly as they were kept."""
    values: Doubles = kept.halves * np.repeat(np.ldexp(1.0, kept.exponents.astype(np.int32)), lengths)
    values[kept.exact["at"]] = kept.exact["value"]
    return values


def round_trip(values: Floats, lengths: Lengths) -> Doubles:
    """Return excerpts' concatenated values as packing keeps them."""
    return _decode_halves(_encode_halves(values, lengths), lengths)


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
    return pack_record_columns(
        keys=[r.key for r in records],
        kinds=[r.kind for r in records],
        lengths=np.array([len(r.activations) for r in records], dtype=np.int64),
        activations=_concatenate([r.activations for r in records]),
        quantile_boundaries=quantile_boundaries,
    )


def pack_record_columns(
    *,
    keys: Sequence[int],
    kinds: Sequence[int],
    lengths: Lengths,
    activations: Floats,
    quantile_boundaries: Sequence[float] | None,
) -> bytes:
    """Return what `pack_records` does, from the records' columns and their concatenated activations."""
    kept = _encode_halves(activations, lengths)
    index = np.zeros(len(keys), _RECORD)
    index["key"], index["kind"] = keys, kinds
    index["length"], index["exponent"] = lengths, kept.exponents
    boundaries = np.asarray([] if quantile_boundaries is None else quantile_boundaries, dtype="<f8")
    if len(boundaries) > MAX_BOUNDARIES:
        raise PackingError(f"{len(boundaries)} quantile boundaries; at most {MAX_BOUNDARIES} can be kept")
    header = bytes([VERSION, quantile_boundaries is not None, len(boundaries), 0]) + len(keys).to_bytes(4, "little")
    return b"".join((header, boundaries.tobytes(), index.tobytes(), kept.halves.tobytes(), kept.exact.tobytes()))


def unpack_records(data: bytes | memoryview) -> tuple[list[PackedRecord], tuple[float, ...] | None]:
    """Return what `pack_records` packed: the records and the quantile boundaries."""
    data = bytes(data)
    if len(data) < 8 or data[0] != VERSION:
        raise PackingError("not packed activation records of a version that this program reads")
    boundaries = np.frombuffer(data, "<f8", data[2], 8)
    count = int.from_bytes(data[4:8], "little")
    index = np.frombuffer(data, _RECORD, count, 8 + boundaries.nbytes)
    lengths = index["length"].astype(np.int64)
    kept = _read_halves(data, 8 + boundaries.nbytes + index.nbytes, index["exponent"], lengths)
    parts = _split(_decode_halves(kept, lengths), lengths)
    records = [
        PackedRecord(key, kind, part)
        for key, kind, part in zip(index["key"].tolist(), index["kind"].tolist(), parts, strict=True)
    ]
    return records, tuple(boundaries.tolist()) if data[1] else None


def _read_halves(data: bytes, offset: int, exponents: npt.NDArray[np.int8], lengths: Lengths) -> _Halves:
    """Return the halves that start at `offset` and the exceptions that fill the rest of `data`."""
    halves = np.frombuffer(data, "<f2", int(lengths.sum()), offset)
    exact = np.frombuffer(data[offset + halves.nbytes :], _EXACT)
    return _Halves(halves, exponents, exact)


def _split(values: Doubles, lengths: Lengths) -> list[Doubles]:
    """Return each excerpt's part of the concatenated values."""
    ends = np.cumsum(lengths).tolist()
    return [values[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


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
SCORES = ("ev_correlation", "rsquared", "absolute_dev_explained")


def pack_sequences(sequences: Sequence[PackedSequence]) -> bytes:
    """Return a simulation's excerpts as bytes: 38 bytes an excerpt and 2 a token (4 where it keeps real values)."""
    scores = [[getattr(s.scores, name) for name in SCORES] for s in sequences]
    return pack_sequence_columns(
        keys=[s.key for s in sequences],
        kinds=[s.kind for s in sequences],
        lengths=np.array([len(s.simulated) for s in sequences], dtype=np.int64),
        simulated=_concatenate([s.simulated for s in sequences]),
        has_real=np.array([s.real is not None for s in sequences], dtype=bool),
        real=_concatenate([s.real for s in sequences if s.real is not None]),
        scores=np.array(scores, dtype=np.float64).reshape(len(sequences), len(SCORES)),
    )


def pack_sequence_columns(
    *,
    keys: Sequence[int],
    kinds: Sequence[int],
    lengths: Lengths,
    simulated: Floats,
    has_real: npt.NDArray[np.bool_],
    real: Floats,
    scores: Doubles,
) -> bytes:
    """Return what `pack_sequences` does, from columns: `real` [tokens of those that `has_real`], `scores` [excerpt, 3].

    An undefined score is NaN.
    """
    both = np.concatenate([lengths, lengths[has_real]])
    kept = _encode_halves(np.concatenate([simulated, real]), both)
    index = np.zeros(len(keys), _SEQUENCE)
    index["key"], index["kind"], index["length"], index["has_real"] = keys, kinds, lengths, has_real
    index["exponent"] = kept.exponents[: len(keys)]
    index["real_exponent"][has_real] = kept.exponents[len(keys) :]
    for column, name in enumerate(SCORES):
        index[name] = scores[:, column]
    header = bytes([VERSION, 0, 0, 0]) + len(keys).to_bytes(4, "little")
    return b"".join((header, index.tobytes(), kept.halves.tobytes(), kept.exact.tobytes()))


def unpack_sequences(data: bytes | memoryview) -> list[PackedSequence]:
    """Return what `pack_sequences` packed."""
    data = bytes(data)
    if len(data) < 8 or data[0] != VERSION:
        raise PackingError("not a packed simulation of a version that this program reads")
    count = int.from_bytes(data[4:8], "little")
    index = np.frombuffer(data, _SEQUENCE, count, 8)
    has_real = index["has_real"].astype(bool)
    lengths = index["length"].astype(np.int64)
    both = np.concatenate([lengths, lengths[has_real]])
    exponents = np.concatenate([index["exponent"], index["real_exponent"][has_real]])
    parts = _split(_decode_halves(_read_halves(data, 8 + index.nbytes, exponents, both), both), both)
    real = iter(parts[count:])
    return [
        PackedSequence(
            key=key,
            kind=kind,
            simulated=simulated,
            real=next(real) if kept else None,
            scores=Scores(*(None if math.isnan(score) else score for score in scores)),
        )
        for (key, _, kind, kept, _, _, *scores), simulated in zip(index.tolist(), parts[:count], strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Planes:
    """Packed records or sequences, taken apart so that they compress well: the two bytes of a half lie apart."""

    index: bytes
    low: bytes
    high: bytes
    exact: bytes


def split_records(data: bytes) -> Planes:
    """Return what `pack_records` packed, taken apart."""
    index, lengths = _record_index(data)
    return _split_planes(data, index, int(lengths.sum()))


def split_sequences(data: bytes) -> Planes:
    """Return what `pack_sequences` packed, taken apart."""
    index, lengths = _sequence_index(data)
    return _split_planes(data, index, int(lengths.sum()))


def _record_index(data: bytes) -> tuple[int, Lengths]:
    """Return where the index of packed records ends, and the lengths of their halves."""
    start = 8 + 8 * data[2]
    index = np.frombuffer(data, _RECORD, int.from_bytes(data[4:8], "little"), start)
    return start + index.nbytes, index["length"].astype(np.int64)


def _sequence_index(data: bytes) -> tuple[int, Lengths]:
    """Return where the index of packed sequences ends, and the lengths of their halves, real ones last."""
    index = np.frombuffer(data, _SEQUENCE, int.from_bytes(data[4:8], "little"), 8)
    lengths = index["length"].astype(np.int64)
    return 8 + index.nbytes, np.concatenate([lengths, lengths[index["has_real"].astype(bool)]])


def _split_planes(data: bytes, index: int, count: int) -> Planes:
    halves = np.frombuffer(data, "u1", 2 * count, index).reshape(count, 2)
    return Planes(data[:index], halves[:, 0].tobytes(), halves[:, 1].tobytes(), data[index + 2 * count :])


def join_planes(planes: Planes) -> bytes:
    """Return packed records or sequences as they were before they were taken apart."""
    halves = np.empty((len(planes.low), 2), "u1")
    halves[:, 0] = np.frombuffer(planes.low, "u1")
    halves[:, 1] = np.frombuffer(planes.high, "u1")
    return b"".join((planes.index, halves.tobytes(), planes.exact))


PEAK_BEFORE, PEAK_AFTER = 11, 5
"""Tokens around the maximum in a neuron's peak."""


def pack_peak(tokens: Sequence[str], activations: Floats) -> bytes:
    """Return the tokens around an excerpt's maximum with their levels, packed; empty where it has no tokens."""
    if not tokens:
        return b""
    at = int(np.argmax(activations))
    window = slice(max(0, at - PEAK_BEFORE), at + PEAK_AFTER + 1)
    levels = normalise(activations[window], float(activations[at]))
    return msgspec.msgpack.encode([pack_tokens(tokens[window]), levels.astype("u1").tobytes()])


def unpack_peak(data: bytes | memoryview) -> list[tuple[str, int]]:
    """Return (token, level 0 to 10) pairs of what `pack_peak` packed."""
    if not data:
        return []
    tokens, levels = msgspec.msgpack.decode(bytes(data))
    return list(zip((token or "" for token in unpack_tokens(tokens)), levels, strict=True))


def _pack_token_values(pair: TokenValues) -> list[bytes]:
    values = np.array(pair.values, dtype="<f4")  # None becomes NaN
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


def merge_related(old: bytes | memoryview, new: bytes) -> bytes:
    """Return `new` with the parts of `old` that it lacks."""
    parts = zip(msgspec.msgpack.decode(old), msgspec.msgpack.decode(new), strict=True)
    return msgspec.msgpack.encode([before if after is None else after for before, after in parts])
