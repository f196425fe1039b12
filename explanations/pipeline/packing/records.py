"""A neuron's activation records as bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import msgspec
import numpy as np

from explanations.pipeline.packing.errors import PackingError
from explanations.pipeline.packing.halves import (
    VERSION,
    Doubles,
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


class PackedRecord(msgspec.Struct, frozen=True):
    """One activation record by its excerpt's key.

    A struct, which is made in a tenth of a frozen dataclass's time: a neuron has hundreds.
    """

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


@dataclass(frozen=True, slots=True)
class RecordTable:
    """Many neurons' activation records as columns."""

    counts: Sequence[int]
    """[neuron], in records"""
    keys: Sequence[int]
    """[excerpt] of all neurons, one after the other"""
    kinds: Sequence[int]
    """[excerpt]"""
    lengths: Lengths
    """[excerpt], in tokens"""
    activations: Doubles
    """[sum of lengths]"""
    quantile_boundaries: Sequence[Sequence[float] | None]
    """[neuron]"""


def pack_record_batch(neurons: Sequence[RecordBatch]) -> list[bytes]:
    """Return what `pack_records` does, for many neurons at once. PackingError where any of them cannot be kept."""
    if not neurons:
        return []
    return pack_record_table(
        RecordTable(
            counts=[len(n.keys) for n in neurons],
            keys=list(chain.from_iterable(n.keys for n in neurons)),
            kinds=list(chain.from_iterable(n.kinds for n in neurons)),
            lengths=np.concatenate([n.lengths for n in neurons]),
            activations=np.concatenate([n.activations for n in neurons]),
            quantile_boundaries=[n.quantile_boundaries for n in neurons],
        )
    )


def pack_record_table(table: RecordTable) -> list[bytes]:
    """Return what `pack_records` does, for many neurons at once. PackingError where any of them cannot be kept."""
    groups = encode_groups(table.activations, table.lengths, table.counts)
    index = np.zeros(len(table.keys), _RECORD)
    index["key"] = table.keys
    index["kind"] = table.kinds
    index["length"] = table.lengths
    index["exponent"] = groups.exponents
    packed = index.tobytes()
    ends = accumulate([count * _RECORD.itemsize for count in table.counts], initial=0)
    headers = map(_header, table.counts, table.quantile_boundaries)
    return [
        b"".join((header, packed[start:end], halves, exact.tobytes()))
        for header, (start, end), halves, exact in zip(
            headers, pairwise(ends), groups.halves, groups.exact, strict=True
        )
    ]


def _header(count: int, boundaries: Sequence[float] | None) -> bytes:
    given = boundaries or ()
    if len(given) > MAX_BOUNDARIES:
        raise PackingError(f"{len(given)} quantile boundaries; at most {MAX_BOUNDARIES} can be kept")
    return struct.pack(f"<4BI{len(given)}d", VERSION, boundaries is not None, len(given), 0, count, *given)


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
    records = list(map(PackedRecord, index["key"].tolist(), index["kind"].tolist(), parts))
    return records, tuple(boundaries.tolist()) if data[1] else None


def record_index(data: bytes) -> tuple[int, Lengths]:
    """Return where the index of packed records ends, and the lengths of their halves."""
    start = 8 + 8 * data[2]
    index = np.frombuffer(data, _RECORD, int.from_bytes(data[4:8], "little"), start)
    return start + index.nbytes, index["length"].astype(np.int64)
