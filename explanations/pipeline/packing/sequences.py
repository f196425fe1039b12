"""A simulation's excerpts as bytes.

Most simulated values are zero. Where it is shorter, a bit tells of each whether it is, and only the others' halves are
kept: the short form. In the other form, the whole one, each has its half.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from explanations.pipeline.packing.errors import PackingError
from explanations.pipeline.packing.halves import (
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


class PackedSequence(msgspec.Struct, frozen=True):
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
_WHOLE, _SHORT = 1, 2
"""Versions, by the form."""
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
    """Return a simulation's excerpts as bytes: 38 bytes an excerpt and 2 a token (4 where it keeps real values).

    A simulated value that is zero takes one bit, where that makes it shorter.
    """
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
    forms = map(_shorter, simulated.halves)
    return [
        b"".join(
            (
                _HEADER.pack(version, last - first),
                index[first * _SEQUENCE.itemsize : last * _SEQUENCE.itemsize],
                halves,
                real.halves[number],
                simulated.exact[number].tobytes(),
                moved(real.exact[number], len(simulated.halves[number]) // 2).tobytes(),
            )
        )
        for number, ((version, halves), (first, last)) in enumerate(zip(forms, pairwise(ends.tolist()), strict=True))
    ]


def _shorter(halves: bytes) -> tuple[int, bytes]:
    """Return the shorter form of simulated values' halves, and its version."""
    values = np.frombuffer(halves, "<u2")
    is_kept = values != 0  # by its bits: a negative zero is kept
    short = np.packbits(is_kept).tobytes() + values[is_kept].tobytes()
    return (_SHORT, short) if len(short) < len(halves) else (_WHOLE, halves)


def whole_form(data: bytes) -> bytes:
    """Return the whole form of packed sequences of either."""
    if not data or data[0] != _SHORT:
        return data
    start, lengths = _simulated(data)
    count = int(lengths.sum())
    bits = np.frombuffer(data, "u1", -(-count // 8), start)
    is_kept = np.unpackbits(bits, count=count).view(bool)
    halves = start + len(bits)
    rest = halves + 2 * int(np.count_nonzero(is_kept))
    values = np.zeros(count, "<u2")
    values[is_kept] = np.frombuffer(data[halves:rest], "<u2")
    return b"".join((bytes([_WHOLE]), data[1:start], values.tobytes(), data[rest:]))


def short_form(data: bytes) -> bytes:
    """Return packed sequences of either form in the one that `pack_sequences` gives them."""
    data = whole_form(data)
    start, lengths = _simulated(data)
    end = start + 2 * int(lengths.sum())
    version, halves = _shorter(data[start:end])
    return b"".join((bytes([version]), data[1:start], halves, data[end:]))


def _simulated(data: bytes) -> tuple[int, Lengths]:
    """Return where the simulated values begin, and the excerpts' lengths."""
    index = np.frombuffer(data, _SEQUENCE, int.from_bytes(data[4:8], "little"), 8)
    return 8 + index.nbytes, index["length"].astype(np.int64)


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
    if len(data) < 8 or data[0] not in (_WHOLE, _SHORT):
        raise PackingError("not a packed simulation of a version that this program reads")
    data = whole_form(data)
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
    """Return where the index of packed sequences in their whole form ends, and the lengths of their halves.

    Real ones come last.
    """
    index = np.frombuffer(data, _SEQUENCE, int.from_bytes(data[4:8], "little"), 8)
    lengths = index["length"].astype(np.int64)
    return 8 + index.nbytes, np.concatenate([lengths, lengths[index["has_real"].astype(bool)]])
