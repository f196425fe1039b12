"""What is done with every activation, compiled: a chunk's activations of one layer, looked at while they are in cache.

Loops go along neurons, which lie side by side in memory, so that the compiler computes several at once: it does where
arrays are slices that begin at 0, few different ones in a loop, and comparisons are no more than `<`. Numba compiles at
the first call and keeps the result. Threads divide neurons between them, `add_by_token` tokens; each sum is made by one
thread in one order, so the result does not depend on their number.
"""
# ruff: noqa: ANN001, ANN201
# Numba infers types; arrays come as what they are.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

VERSION = 1
"""counted up with every change of what is kept, be it the last bit of a sum or the order of a list: what was collected
by different versions is neither gone on with nor merged"""
BLOCK = 128
"""neurons that are looked at together: a chunk of 32 excerpts has them in 512 KB, which the second cache holds"""
EMPTY = np.int32(2**31 - 1)
"""the excerpt's number in a place of a list that is not taken yet"""
MOST = np.int32(2**31 - 1)
"""the largest sum by token; minus this is the lowest"""
MOST_ADDED = np.float32(2**31 - 128)
"""the largest number in single precision that is not above it"""


def single(value: Any) -> Any:
    """Return an activation in single precision: bfloat16, here uint16, is the upper half of it. Compiled only."""
    raise NotImplementedError


@overload(single, inline="always")
def compile_single(value):
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@njit(inline="always")
def higher(a, b):
    return a if b < a else b


@njit(inline="always")
def lower(a, b):
    return a if a < b else b


@njit(inline="always")
def is_worse(value: float, number: int, than_value: float, than_number: int) -> bool:
    """Return whether an excerpt comes after another in a list: the lower value, of equals the higher number."""
    return value < than_value or (value == than_value and number > than_number)


@njit(inline="always")
def offer(values, numbers, slots, value, number):
    """Take an excerpt into one neuron's list [place], a heap with the worst in front; return its slot, or -1.

    The slot says where the excerpt's activations are kept; the excerpt that had it is dropped.
    """
    if not is_worse(values[0], numbers[0], value, number):
        return -1
    slot = slots[0]
    size = len(values)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and is_worse(values[child + 1], numbers[child + 1], values[child], numbers[child]):
            child += 1
        if not is_worse(values[child], numbers[child], value, number):
            break
        values[at], numbers[at], slots[at] = values[child], numbers[child], slots[child]
        at = child
    values[at], numbers[at], slots[at] = value, number, slot
    return slot


@njit(inline="always")
def add_row(row, powers, ends):
    """Take a token's activations [neuron] into `powers` and `ends`, as `look` has them."""
    for c in range(len(row)):
        x = single(row[c])
        ends[c] = higher(ends[c], x)
        ends[BLOCK + c] = lower(ends[BLOCK + c], x)
        off = np.float64(x) - powers[c]
        square = off * off
        powers[BLOCK + c] += off
        powers[2 * BLOCK + c] += square
        powers[3 * BLOCK + c] += square * off
        powers[4 * BLOCK + c] += square * square


@njit(inline="always")
def add_four_rows(row_0, row_1, row_2, row_3, powers, ends):
    """Do what `add_row` does with four rows: the sums are read and written once."""
    for c in range(len(row_0)):
        x_0, x_1, x_2, x_3 = single(row_0[c]), single(row_1[c]), single(row_2[c]), single(row_3[c])
        ends[c] = higher(ends[c], higher(higher(x_0, x_1), higher(x_2, x_3)))
        ends[BLOCK + c] = lower(ends[BLOCK + c], lower(lower(x_0, x_1), lower(x_2, x_3)))
        centre = powers[c]
        off_0, off_1 = np.float64(x_0) - centre, np.float64(x_1) - centre
        off_2, off_3 = np.float64(x_2) - centre, np.float64(x_3) - centre
        square_0, square_1, square_2, square_3 = off_0 * off_0, off_1 * off_1, off_2 * off_2, off_3 * off_3
        powers[BLOCK + c] += (off_0 + off_1) + (off_2 + off_3)
        powers[2 * BLOCK + c] += (square_0 + square_1) + (square_2 + square_3)
        powers[3 * BLOCK + c] += (square_0 * off_0 + square_1 * off_1) + (square_2 * off_2 + square_3 * off_3)
        powers[4 * BLOCK + c] += (square_0 * square_0 + square_1 * square_1) + (
            square_2 * square_2 + square_3 * square_3
        )


@njit(inline="always")
def find_centre(rows, lowest, highest, powers):
    """Write the mean of `rows` [pos, neuron] from the neuron `lowest` up to `highest` to `powers`; clear all else."""
    powers[:] = 0.0
    for p in range(len(rows)):
        row = rows[p, lowest:highest]
        for c in range(len(row)):
            powers[c] += np.float64(single(row[c]))
    for c in range(BLOCK):
        powers[c] /= len(rows)


@njit(inline="always")
def look(raw, first, lowest, highest, powers, high, low):
    """Find the powers and extremes of the neurons from `lowest` up to `highest`, at most BLOCK.

    `powers` [5 * BLOCK]: the first excerpt's mean, and the sums of the 1st to 4th powers of what differs from it. That
    mean is off by at most the square root of the excerpts' number in standard deviations, so nothing is lost.
    `high` and `low` [excerpt, BLOCK]: each excerpt's maximum and minimum.
    """
    positions = raw.shape[1] - first
    ends = np.empty(2 * BLOCK, np.float32)
    find_centre(raw[0, first:], lowest, highest, powers)
    for e in range(len(raw)):
        ends[:BLOCK], ends[BLOCK:] = -np.inf, np.inf
        rows = raw[e, first:]
        fours = positions - positions % 4
        for p in range(0, fours, 4):
            add_four_rows(
                rows[p, lowest:highest],
                rows[p + 1, lowest:highest],
                rows[p + 2, lowest:highest],
                rows[p + 3, lowest:highest],
                powers,
                ends,
            )
        for p in range(fours, positions):
            add_row(rows[p, lowest:highest], powers, ends)
        high[e], low[e] = ends[:BLOCK], ends[BLOCK:]


@njit(inline="always")
def write_moments(powers, count, lowest, highest, moments):
    """Write to `moments` [4, neuron] the mean and the sums of the 2nd to 4th powers of what differs from it."""
    for c in range(highest - lowest):
        off = powers[BLOCK + c] / count
        second, third, fourth = powers[2 * BLOCK + c], powers[3 * BLOCK + c], powers[4 * BLOCK + c]
        square = off * off
        n = lowest + c
        moments[0, n] = powers[c] + off
        moments[1, n] = second - count * square
        moments[2, n] = third - 3 * off * second + 2 * count * square * off
        moments[3, n] = fourth - 4 * off * third + 6 * square * second - 3 * count * square * square


@njit(inline="always")
def offer_all(raw, first, lowest, highest, extreme, sign, numbers, kept):
    """Offer each excerpt's `extreme` [excerpt, BLOCK], times `sign`, to the neurons' lists `kept`."""
    values, held, slots, activations = kept
    best = np.empty(BLOCK, np.float32)
    best[:] = -np.inf
    for e in range(len(numbers)):
        row = extreme[e]
        for c in range(BLOCK):
            best[c] = higher(best[c], sign * row[c])
    for c in range(highest - lowest):
        n = lowest + c
        if best[c] < values[n, 0]:
            continue
        for e in range(len(numbers)):
            value = sign * extreme[e, c]
            if value < values[n, 0]:
                continue
            slot = offer(values[n], held[n], slots[n], value, numbers[e])
            if slot >= 0:
                for p in range(activations.shape[2]):
                    activations[n, slot, p] = raw[e, first + p, n]


@njit(inline="always")
def copy_drawn(raw, first, lowest, highest, draws, random):
    """Copy to `random` [neuron, draw, pos] what was drawn: `draws` (excerpt, neuron, draw), of all neurons."""
    excerpts, neurons, places = draws
    for d in range(len(excerpts)):
        n = neurons[d]
        if lowest <= n < highest:
            for p in range(random.shape[2]):
                random[n, places[d], p] = raw[excerpts[d], first + p, n]


@njit(nogil=True, cache=True, fastmath={"contract"})
def observe(raw, first, neurons, numbers, draws, moments, maxima, high, low, random):
    """Take in a chunk's activations of the neurons from `neurons[0]` up to `neurons[1]` of a layer.

    `raw` [excerpt, first + pos, neuron]: bfloat16 as uint16, or single precision; what is before `first` is left out.
    `numbers` [excerpt]: the excerpts' numbers.
    `moments` [4, neuron]: overwritten with the chunk's, as `write_moments` has them.
    `maxima` [excerpt, neuron]: overwritten with each excerpt's maximum.
    `high` and `low`: the lists of the highest and lowest excerpts, (values, numbers, slots, activations [neuron, slot,
    pos]) each; a list of no places is left alone.
    `draws` and `random`: as `copy_drawn` has them.
    """
    excerpts = len(raw)
    count = excerpts * (raw.shape[1] - first)
    powers = np.empty(5 * BLOCK, np.float64)
    tops, bottoms = np.empty((excerpts, BLOCK), np.float32), np.empty((excerpts, BLOCK), np.float32)
    for lowest in range(neurons[0], neurons[1], BLOCK):
        highest = min(lowest + BLOCK, neurons[1])
        look(raw, first, lowest, highest, powers, tops, bottoms)
        write_moments(powers, count, lowest, highest, moments)
        maxima[:, lowest:highest] = tops[:, : highest - lowest]
        if high[0].shape[1]:
            offer_all(raw, first, lowest, highest, tops, np.float32(1.0), numbers, high)
        if low[0].shape[1]:
            offer_all(raw, first, lowest, highest, bottoms, np.float32(-1.0), numbers, low)
        copy_drawn(raw, first, lowest, highest, draws, random)


@njit(inline="always")
def add_steps(totals, weight, grid, sums):
    """Add `totals` [neuron] to a token's `sums` [neuron] in whole steps of their grid; return how many did not fit."""
    missed = np.int32(0)
    for c in range(len(sums)):
        exact = np.rint(totals[c] * weight * grid[c])
        steps = higher(lower(exact, MOST_ADDED), -MOST_ADDED)
        added, old = np.int32(steps), sums[c]
        new = np.int32(old + added)
        # Two of one sign that sum up to the other, or a total that was too large: all bits are ones then.
        has_wrapped = np.int32(np.int32((old ^ new) & (added ^ new)) >> np.int32(31))
        wrong = np.int32(has_wrapped | -np.int32(steps != exact))
        end = np.int32(np.int32(added >> np.int32(31)) ^ MOST)
        sums[c] = np.int32((new & ~wrong) | (np.int32(higher(end, -MOST)) & wrong))
        missed = np.int32(missed - wrong)
    return missed


@njit(nogil=True, cache=True)
def add_by_token(raw, first, tokens, by_token, grid, sums):
    """Add the activations of the tokens from `tokens[0]` up to `tokens[1]` to `sums` [token, neuron].

    `raw`: as `observe` has it.
    `by_token`: rows in the order of tokens, where each token's begin, its row in `sums`, its grid's weight.
    `grid` [neuron]: steps in one unit. Whole numbers, so that the sums do not depend on the order of chunks.
    Return how many sums did not fit.
    """
    order, starts, slots, weights = by_token
    positions = raw.shape[1] - first
    totals = np.empty(raw.shape[2], np.float32)
    missed = 0
    for t in range(tokens[0], tokens[1]):
        totals[:] = np.float32(0.0)
        for r in range(starts[t], starts[t + 1]):
            row = raw[order[r] // positions, first + order[r] % positions]
            for c in range(len(totals)):
                totals[c] += single(row[c])
        missed += add_steps(totals, weights[t], grid, sums[slots[t]])
    return missed
