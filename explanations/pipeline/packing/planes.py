"""Packed records and sequences taken apart, so that a file of them compresses well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explanations.pipeline.packing.records import record_index
from explanations.pipeline.packing.sequences import sequence_index


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
    index, lengths = sequence_index(data)
    return _split_planes(data, index, int(lengths.sum()))


def _split_planes(data: bytes, index: int, count: int) -> Planes:
    halves = np.frombuffer(data, "u1", 2 * count, index).reshape(count, 2)
    return Planes(data[:index], halves[:, 0].tobytes(), halves[:, 1].tobytes(), data[index + 2 * count :])


def join_planes(planes: Planes) -> bytes:
    """Return packed records or sequences as they were before they were taken apart."""
    halves = np.empty((len(planes.low), 2), "u1")
    halves[:, 0] = np.frombuffer(planes.low, "u1")
    halves[:, 1] = np.frombuffer(planes.high, "u1")
    return b"".join((planes.index, halves.tobytes(), planes.exact))
