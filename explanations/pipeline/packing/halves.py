"""Activations in half precision.

A value v is kept as a half-precision number times 2^e, with one exponent e for each excerpt, chosen so that the
excerpt's largest magnitude lies in [2^14, 2^15). Halves keep 10 bits from 2^-14 on, so the error is at most 2^-11 of v
for every v down to 2^-28 of that largest magnitude. The few values beyond that (far smaller ones, or excerpts
above 2^142) are kept as they are, in double precision, beside the halves. So for every finite value: the error is at
most 2^-11 of it, its sign survives, and only zero becomes zero. A value that is a half already is kept exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from explanations.pipeline.packing.errors import PackingError
from explanations.pipeline.records import Floats

VERSION = 1
"""Of packed records."""
MAX_TOKENS = 65535
"""Tokens in one excerpt."""

_EXPONENT_OF_MAXIMUM = 14
_HIGHEST_EXPONENT = 127
_SMALLEST_NORMAL_HALF = 2.0**-14
_LARGEST_HALF = 65504.0
_EXACT = np.dtype([("at", "<u4"), ("value", "<f8")])

Doubles: TypeAlias = npt.NDArray[np.float64]
Exponents: TypeAlias = npt.NDArray[np.int8]
Lengths: TypeAlias = npt.NDArray[np.int64]
"""[excerpt], in tokens"""


@dataclass(frozen=True, slots=True)
class Halves:
    """Excerpts' concatenated values in half precision."""

    halves: npt.NDArray[np.float16]
    """[sum of lengths], in units of 2^exponent"""
    exponents: Exponents
    """[excerpt]"""
    exact: npt.NDArray[np.void]
    """[exception] of `_EXACT`: what halves cannot hold"""


def encode_halves(given: Floats, lengths: Lengths) -> Halves:
    """Return excerpts' concatenated values in half precision. PackingError where one is not finite."""
    values: Doubles = np.asarray(given, dtype=np.float64)
    largest = excerpt_maxima(np.abs(values), lengths, empty=0.0)
    # A NaN is the largest of all.
    if not np.isfinite(largest).all():
        raise PackingError("an activation is NaN or infinite")
    if len(lengths) and int(lengths.max()) > MAX_TOKENS:
        raise PackingError(f"an excerpt of {lengths.max()} tokens; at most {MAX_TOKENS} can be kept")
    exponents = _exponents(largest)
    # Times a power of two and not ldexp: as exact, and several times faster.
    scaled = values * np.repeat(np.ldexp(1.0, -exponents.astype(np.int32)), lengths)
    magnitudes = np.abs(scaled)
    doubtful = magnitudes < _SMALLEST_NORMAL_HALF
    if exponents.max(initial=0) == _HIGHEST_EXPONENT:
        doubtful |= magnitudes > _LARGEST_HALF
        np.clip(scaled, -_LARGEST_HALF, _LARGEST_HALF, out=scaled)
    halves = scaled.astype("<f2")
    return Halves(halves, exponents, _exceptions(values, halves, np.flatnonzero(doubtful), exponents, lengths))


def excerpt_maxima(values: Doubles, lengths: Lengths, empty: float) -> Doubles:
    """Return the highest of each excerpt's concatenated values [excerpt]: `empty` of none, NaN where one is."""
    maxima = np.full(len(lengths), empty)
    filled = lengths > 0
    if len(values):
        starts = np.cumsum(lengths) - lengths
        maxima[filled] = np.maximum.reduceat(values, starts[filled])
    return maxima


def _exponents(largest: Doubles) -> Exponents:
    """Return the exponents [excerpt] of excerpts with these largest magnitudes; 0 for 0."""
    exponents = np.where(largest > 0, np.frexp(largest)[1] - 1 - _EXPONENT_OF_MAXIMUM, 0)
    return np.clip(exponents, -_HIGHEST_EXPONENT, _HIGHEST_EXPONENT).astype(np.int8)


def _exceptions(
    values: Doubles,
    halves: npt.NDArray[np.float16],
    doubtful: npt.NDArray[np.intp],
    exponents: Exponents,
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


def decode_halves(kept: Halves, lengths: Lengths) -> Doubles:
    """Return the values [sum of lengths], exactly as they were kept."""
    values: Doubles = kept.halves * np.repeat(np.ldexp(1.0, kept.exponents.astype(np.int32)), lengths)
    values[kept.exact["at"]] = kept.exact["value"]
    return values


def round_trip(values: Floats, lengths: Lengths) -> Doubles:
    """Return excerpts' concatenated values as packing keeps them."""
    return decode_halves(encode_halves(values, lengths), lengths)


def concatenate(parts: Sequence[Floats]) -> Floats:
    return np.concatenate(parts) if len(parts) else np.zeros(0)


def read_halves(data: bytes, offset: int, exponents: Exponents, lengths: Lengths) -> Halves:
    """Return the halves that start at `offset` and the exceptions that fill the rest of `data`."""
    halves = np.frombuffer(data, "<f2", int(lengths.sum()), offset)
    exact = np.frombuffer(data[offset + halves.nbytes :], _EXACT)
    return Halves(halves, exponents, exact)


def split(values: Doubles, lengths: Lengths) -> list[Doubles]:
    """Return each excerpt's part of the concatenated values."""
    ends = np.cumsum(lengths).tolist()
    return [values[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


@dataclass(frozen=True, slots=True)
class GroupedHalves:
    """Halves of groups of excerpts, such as neurons; `read_halves` reads a group's halves, then its exceptions."""

    exponents: Exponents
    """[excerpt] of all groups"""
    halves: list[bytes]
    """[group]"""
    exact: list[npt.NDArray[np.void]]
    """[group]; places count from the group's start"""


def encode_groups(values: Floats, lengths: Lengths, counts: Sequence[int]) -> GroupedHalves:
    """Return the halves of groups of consecutive excerpts, `counts` of them each.

    The same as one by one, in a tenth of the time: numpy's cost a call is more than that of a neuron's numbers.
    PackingError where any value is not finite.
    """
    kept = encode_halves(values, lengths)
    tokens = np.concatenate([[0], np.cumsum(lengths)])  # [excerpt + 1], before each
    ends = tokens[np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])].tolist()  # [group + 1]
    data = kept.halves.tobytes()
    halves = [data[2 * start : 2 * end] for start, end in pairwise(ends)]
    return GroupedHalves(kept.exponents, halves, _exact_by_group(kept.exact, ends))


def _exact_by_group(exact: npt.NDArray[np.void], ends: Sequence[int]) -> list[npt.NDArray[np.void]]:
    """Return each group's exceptions with their places counted from its start."""
    if not len(exact):
        return [exact] * (len(ends) - 1)
    places = np.searchsorted(exact["at"], ends).tolist()
    return [moved(exact[first:last], -start) for (first, last), start in zip(pairwise(places), ends, strict=False)]


def moved(exact: npt.NDArray[np.void], by: int) -> npt.NDArray[np.void]:
    """Return exceptions with their places moved."""
    if not len(exact):
        return exact
    result = exact.copy()
    result["at"] += np.array(by).astype(np.uint32)  # Wraps around where it is negative.
    return result
