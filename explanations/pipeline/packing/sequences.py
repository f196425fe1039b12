"""A simulation's excerpts as bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from explanations.pipeline.packing.errors import PackingError
from explanations.pipeline.packing.halves import (
    VERSION,
    Doubles,
    Exponents,
    Lengths,
    concatenate,
    decode_halves,
    encode_groups,
    moved,
    read_halves,
    split,
)
from explanations.pipeline.records import Floats, Scores


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
_HEADER = struct.Struct("<B3xI")
SCORES = ("ev_correlation", "rsquared", "absolute_dev_explained")


@dataclass(frozen=True, slots=True)
class SequenceTable:
    """Many simulations' excerpts as columns."""

    counts: Sequence[int]
    """[simulation], in excerpts"""
    keys: Sequence[int]
    """[excerpt] of all simulations, one after the other"""
    kinds: Sequence[int]
    """[excerpt]"""
    lengths: Lengths
    """[excerpt], in tokens"""
    simulated: Floats
    """[sum of lengths]"""
    has_real: npt.NDArray[np.bool_]
    """[excerpt]"""
    real: Floats
    """[tokens of the excerpts that `has_real`]"""
    scores: Doubles
    """[excerpt, 3], in the order of `SCORES`; NaN is undefined"""


def pack_sequences(sequences: Sequence[PackedSequence]) -> bytes:
    """Return a simulation's excerpts as bytes: 38 bytes an excerpt and 2 a token (4 where it keeps real values)."""
    scores = [[getattr(s.scores, name) for name in SCORES] for s in sequences]
    table = SequenceTable(
        counts=[len(sequences)],
        keys=[s.key for s in sequences],
        kinds=[s.kind for s in sequences],
        lengths=np.array([len(s.simulated) for s in sequences], dtype=np.int64),
        simulated=concatenate([s.simulated for s in sequences]),
        has_real=np.array([s.real is not None for s in sequences], dtype=bool),
        real=concatenate([s.real for s in sequences if s.real is not None]),
        scores=np.array(scores, dtype=np.float64).reshape(len(sequences), len(SCORES)),
    )
    return pack_sequence_table(table)[0]


def pack_sequence_table(table: SequenceTable) -> list[bytes]:
    """Return what `pack_sequences` does, for many simulations at once. PackingError where any cannot be kept."""
    simulated = encode_groups(table.simulated, table.lengths, table.counts)
    own = np.concatenate([[0], np.cumsum(table.has_real)])  # [excerpt + 1], before each
    ends = np.cumsum([0, *table.counts])  # [simulation + 1]
    real = encode_groups(table.real, table.lengths[table.has_real], np.diff(own[ends]).tolist())
    index = _index(table, simulated.exponents, real.exponents).tobytes()
    return [
        b"".join(
            (
                _HEADER.pack(VERSION, last - first),
                index[first * _SEQUENCE.itemsize : last * _SEQUENCE.itemsize],
                simulated.halves[number],
                real.halves[number],
                simulated.exact[number].tobytes(),
                moved(real.exact[number], len(simulated.halves[number]) // 2).tobytes(),
            )
        )
        for number, (first, last) in enumerate(pairwise(ends.tolist()))
    ]


def _index(table: SequenceTable, exponents: Exponents, real_exponents: Exponents) -> npt.NDArray[np.void]:
    """Return the index rows of all simulations' excerpts."""
    index = np.zeros(len(table.keys), _SEQUENCE)
    index["key"] = table.keys
    index["kind"] = table.kinds
    index["length"] = table.lengths
    index["has_real"] = table.has_real
    index["exponent"] = exponents
    index["real_exponent"][table.has_real] = real_exponents
    for column, name in enumerate(SCORES):
        index[name] = table.scores[:, column]
    return index


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
    parts = split(decode_halves(read_halves(data, 8 + index.nbytes, exponents, both), both), both)
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


def sequence_index(data: bytes) -> tuple[int, Lengths]:
    """Return where the index of packed sequences ends, and the lengths of their halves, real ones last."""
    index = np.frombuffer(data, _SEQUENCE, int.from_bytes(data[4:8], "little"), 8)
    lengths = index["length"].astype(np.int64)
    return 8 + index.nbytes, np.concatenate([lengths, lengths[index["has_real"].astype(bool)]])
