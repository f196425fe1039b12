"""Mean and central moments of many chunks, joined in one fixed order whoever computed which chunk.

Chunks are the leaves of a binary tree over their numbers; two neighbours are joined as soon as both are there. So a
run, a run that was interrupted, and shards that are merged make the same sums in the same order: equal bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Of some tokens."""

    count: int
    sums: Doubles
    """[4, neuron]: the mean; the sums of the 2nd, 3rd and 4th powers of what differs from it"""


def join(a: Moments, b: Moments) -> Moments:
    """Return the moments of both (Pébay 2008), stable in double precision."""
    return Moments(a.count + b.count, join_sums(a.sums, b.sums, float(a.count), float(b.count)))


# Compiled: a layer's arrays are so small that numpy's calls would take the longer part. Numba infers types.
@njit(cache=True)  # type: ignore[untyped-decorator]
def join_sums(sums_a: Doubles, sums_b: Doubles, n_a: float, n_b: float) -> Doubles:
    """Return the sums of both; there are `n_a` and `n_b` tokens."""
    n = n_a + n_b
    sums = np.empty_like(sums_a)
    for i in range(sums.shape[1]):
        mean_a, m2_a, m3_a, m4_a = sums_a[0, i], sums_a[1, i], sums_a[2, i], sums_a[3, i]
        mean_b, m2_b, m3_b, m4_b = sums_b[0, i], sums_b[1, i], sums_b[2, i], sums_b[3, i]
        d = (mean_b - mean_a) / n
        square = d * d
        third = d * square * (n_a * n_b * (n_a - n_b) * n) + 3 * d * (n_a * m2_b - n_b * m2_a)
        fourth = square * square * (n_a * n_b * (n_a * n_a - n_a * n_b + n_b * n_b) * n)
        sums[0, i] = mean_a + d * n_b
        sums[1, i] = m2_a + m2_b + square * (n_a * n_b * n)
        sums[2, i] = m3_a + m3_b + third
        sums[3, i] = (
            m4_a + m4_b + fourth
            + 6 * square * (n_a * n_a * m2_b + n_b * n_b * m2_a)
            + 4 * d * (n_a * m3_b - n_b * m3_a)
        )  # fmt: skip
    return sums


class MomentTree:
    """The moments of some chunks, as few nodes as there can be."""

    def __init__(self, nodes: dict[tuple[int, int], Moments] | None = None) -> None:
        self.nodes = nodes or {}
        """by (level, place): a node of level l and place p has chunks p * 2^l and on, 2^l of them"""

    def add(self, chunk: int, moments: Moments) -> None:
        self._put(0, chunk, moments)

    def _put(self, level: int, place: int, moments: Moments) -> None:
        while (other := self.nodes.pop((level, place ^ 1), None)) is not None:
            moments = join(other, moments) if place & 1 else join(moments, other)
            level, place = level + 1, place >> 1
        self.nodes[level, place] = moments

    def merge(self, other: MomentTree) -> None:
        """Take in the chunks of another tree, which must be others."""
        for (level, place), moments in sorted(other.nodes.items(), key=lambda item: item[0]):
            self._put(level, place, moments)

    def total(self) -> Moments:
        """Return the moments of all chunks."""
        in_order = sorted(self.nodes.items(), key=lambda item: item[0][1] << item[0][0])
        found = in_order[-1][1]
        for _, moments in reversed(in_order[:-1]):
            found = join(moments, found)
        return found


def standardised(moments: Moments) -> Doubles:
    """Return mean, variance, skewness and kurtosis [4, neuron]; NaN where the variance is zero.

    Of the population, and the kurtosis of a normal distribution is 3.
    """
    mean, m2, m3, m4 = moments.sums
    variance = m2 / moments.count
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = m3 / moments.count / variance**1.5
        kurtosis = m4 / moments.count / variance**2
    undefined = variance <= 0
    return np.stack([mean, variance, np.where(undefined, np.nan, skewness), np.where(undefined, np.nan, kurtosis)])
