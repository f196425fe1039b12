"""Packed records and sequences taken apart, so that a file of them compresses well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explanations.pipeline.packing.records import record_index
from explanations.pipeline.packing.sequences import sequence_index, short_form, whole_form


@dataclass(frozen=True, slots=True)
class Planes:
    """Packed records or sequences, taken apart so that they compress well: the two bytes of a half lie apart."""

    index: bytes
    low: bytes
    high: bytes
    exact: bytes


def split_records(data: bytes) -> Planes:
    """Return what `pack_records` packed, taken apart."""
    index, lengths = record_index(data)
    return _split_planes(data, index, int(lengths.sum()))


def split_sequences(data: bytes) -> Planes:
    """Return what `pack_sequences` packed, taken apart."""
    data = whole_form(data)
    index, lengths = sequence_index(data)
    return _split_planes(data, index, int(lengths.sum()))


def _split_planes(data: bytes, index: int, count: int) -> Planes:
    halves = np.frombuffer(data, "u1", 2 * count, index).reshape(count, 2)
    return Planes(data[:index], halves[:, 0].tobytes(), halves[:, 1].tobytes(), data[index + 2 * count :])


def join_sequences(planes: Planes) -> bytes:
    """Return packed sequences as they were before they were taken apart."""
    return short_form(join_records(planes))


def join_records(planes: Planes) -> bytes:
    """Return packed records as they were before they were taken apart."""
    halves = np.empty((len(planes.low), 2), "u1")
    halves[:, 0] = np.frombuffer(planes.low, "u1")
    halves[:, 1] = np.frombuffer(planes.high, "u1")
    return b"".join((planes.index, halves.tobytes(), planes.exact))
