"""A neuron's activation records as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np

from explanations.pipeline.packing.errors import PackingError
from explanations.pipeline.packing.halves import (
    VERSION,
    Lengths,
    concatenate,
    decode_halves,
    encode_groups,
    read_halves,
    split,
)
from explanations.pipeline.records import Floats

MAX_BOUNDARIES = 255
"""Quantile boundaries of one neuron."""


@dataclass(frozen=True, slots=True)
class PackedRecord:
    """One activation record by its excerpt's key."""

    key: int
    kind: int
    activations: Floats
    """[pos]"""


_RECORD = np.dtype([("key", "<i8"), ("length", "<u2"), ("kind", "u1"), ("exponent", "i1")])


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """One neuron's activation records as columns."""

    keys: Sequence[int]
    """[excerpt]"""
    kinds: Sequence[int]
    """[excerpt]"""
    lengths: Lengths
    """[excerpt], in tokens"""
    activations: Floats
    """[sum of lengths]"""
    quantile_boundaries: Sequence[float] | None


def pack_records(records: Sequence[PackedRecord], quantile_boundaries: Sequence[float] | None = None) -> bytes:
    """Return a neuron's records as bytes: 12 bytes a record and 2 a token."""
    columns = RecordBatch(
        keys=[r.key for r in records],
        kinds=[r.kind for r in records],
        lengths=np.array([len(r.activations) for r in records], dtype=np.int64),
        activations=concatenate([r.activations for r in records]),
        quantile_boundaries=quantile_boundaries,
    )
    return pack_record_batch([columns])[0]


def pack_record_batch(neurons: Sequence[RecordBatch]) -> list[bytes]:
    """Return what `pack_records` does, for many neurons at once. PackingError where any of them cannot be kept."""
    if not neurons:
        return []
    groups = encode_groups([n.activations for n in neurons], [n.lengths for n in neurons])
    index = np.zeros(sum(len(n.keys) for n in neurons), _RECORD)
    index["key"] = np.fromiter(chain.from_iterable(n.keys for n in neurons), np.int64, len(index))
    index["kind"] = np.fromiter(chain.from_iterable(n.kinds for n in neurons), np.uint8, len(index))
    index["length"] = np.concatenate([n.lengths for n in neurons])
    index["exponent"] = np.concatenate([exponents for exponents, _ in groups])
    packed = index.tobytes()
    ends = accumulate([len(n.keys) * _RECORD.itemsize for n in neurons], initial=0)
    return [
        b"".join((_header(neuron), packed[start:end], halves))
        for neuron, (start, end), (_, halves) in zip(neurons, pairwise(ends), groups, strict=True)
    ]


def _header(neuron: RecordBatch) -> bytes:
    boundaries = np.asarray([] if neuron.quantile_boundaries is None else neuron.quantile_boundaries, dtype="<f8")
    if len(boundaries) > MAX_BOUNDARIES:
        raise PackingError(f"{len(boundaries)} quantile boundaries; at most {MAX_BOUNDARIES} can be kept")
    flags = bytes([VERSION, neuron.quantile_boundaries is not None, len(boundaries), 0])
    return b"".join((flags, len(neuron.keys).to_bytes(4, "little"), boundaries.tobytes()))


def unpack_records(data: bytes | memoryview) -> tuple[list[PackedRecord], tuple[float, ...] | None]:
    """Return what `pack_records` packed: the records and the quantile boundaries."""
    data = bytes(data)
    if len(data) < 8 or data[0] != VERSION:
        raise PackingError("not packed activation records of a version that this program reads")
    boundaries = np.frombuffer(data, "<f8", data[2], 8)
    count = int.from_bytes(data[4:8], "little")
    index = np.frombuffer(data, _RECORD, count, 8 + boundaries.nbytes)
    lengths = index["length"].astype(np.int64)
    kept = read_halves(data, 8 + boundaries.nbytes + index.nbytes, index["exponent"], lengths)
    parts = split(decode_halves(kept, lengths), lengths)
    records = [
        PackedRecord(key, kind, part)
        for key, kind, part in zip(index["key"].tolist(), index["kind"].tolist(), parts, strict=True)
    ]
    return records, tuple(boundaries.tolist()) if data[1] else None


def record_index(data: bytes) -> tuple[int, Lengths]:
    """Return where the index of packed records ends, and the lengths of their halves."""
    start = 8 + 8 * data[2]
    index = np.frombuffer(data, _RECORD, int.from_bytes(data[4:8], "little"), start)
    return start + index.nbytes, index["length"].astype(np.int64)
