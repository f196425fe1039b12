"""What is done with every activation, compiled: a chunk's activations of one layer, looked at while they are in cache.

Loops go along neurons, which lie side by side in memory, so that the compiler computes several at once: it does where
arrays are slices that begin at 0, few different ones in a loop, and comparisons are no more than `<`. Numba compiles at
the first call and keeps the result. Threads divide neurons between them, `add_by_token` tokens; each sum is made by one
thread in one order, so the result does not depend on their number.
"""
# ruff: noqa: ANN001, ANN201, ANN202
# Numba infers types; arrays come as what they are.

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

VERSION = 2
"""counted up with every change of what is kept, be it the last bit of a sum or the order of a list: what was collected
by different versions is neither gone on with nor merged"""
BLOCK = 128
"""neurons that are looked at together: a chunk of 32 excerpts has them in 512 KB, which the second cache holds"""
CACHE_LINE = 64
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


@intrinsic
def prefetch(_context, array, index):  # noqa: ARG001
    """Ask for the memory at a place of an array [place], without waiting for it."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.PointerType(ir.IntType(8)))
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        to_be_read, in_all_caches, data_not_code = number(0), number(3), number(1)
        builder.call(function, [address, to_be_read, in_all_caches, data_not_code])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@njit(inline="always")
def ask_for(array):
    """Ask for all of an array [place] that is needed soon: what is kept lies in memory where no cache foresees it."""
    for i in range(0, len(array), CACHE_LINE // array.itemsize):
        prefetch(array, i)


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
    """Take an excerpt into one neuron's list [place], sorted, the worst in front; return its slot, or -1.

    The slot says where the excerpt's activations are kept; the excerpt that had it is dropped.
    """
    worse = np.int32(0)
    for i in range(len(values)):
        worse += np.int32((values[i] < value) | ((values[i] == value) & (numbers[i] > number)))
    if not worse:
        return np.int16(-1)
    slot = slots[0]
    at = worse - 1
    for i in range(at):
        values[i] = values[i + 1]
    for i in range(at):
        numbers[i] = numbers[i + 1]
    for i in range(at):
        slots[i] = slots[i + 1]
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
    """Write the mean of `rows` [pos, neuron] from the neuron `lowest` up to `highest` to `powers`; clear all else.

    They are the first excerpt's. Their mean is off that of all by at most the square root of the excerpts' number in
    standard deviations, so nothing is lost.
    """
    powers[:] = 0.0
    for p in range(len(rows)):
        row = rows[p, lowest:highest]
        for c in range(len(row)):
            powers[c] += np.float64(single(row[c]))
    for c in range(BLOCK):
        powers[c] /= len(rows)


@njit(inline="always")
def look(rows, lowest, highest, powers, ends):
    """Look at an excerpt's activations `rows` [pos, neuron] of the neurons from `lowest` up to `highest`.

    `powers` [5 * BLOCK]: `find_centre`'s mean, and the sums of the 1st to 4th powers of what differs from it, added to.
    `ends` [2 * BLOCK]: overwritten with the maxima, then the minima.
    """
    ends[:BLOCK], ends[BLOCK:] = -np.inf, np.inf
    fours = len(rows) - len(rows) % 4
    for p in range(0, fours, 4):
        add_four_rows(
            rows[p, lowest:highest],
            rows[p + 1, lowest:highest],
            rows[p + 2, lowest:highest],
            rows[p + 3, lowest:highest],
            powers,
            ends,
        )
    for p in range(fours, len(rows)):
        add_row(rows[p, lowest:highest], powers, ends)


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
def read_worst(kept, lowest, highest, worst):
    """Write to `worst` [BLOCK] what a neuron's extreme must reach to come into its list; infinite where none can."""
    worst[:] = np.inf
    if kept[0].shape[1]:
        worst[: highest - lowest] = kept[0][lowest:highest, 0]


@njit(inline="always")
def offer_excerpt(rows, lowest, extreme, worst, hits, number, kept):
    """Offer an excerpt's `extreme` [BLOCK] to the lists `kept` of the neurons from `lowest` on.

    `rows` [pos, neuron]: its activations. `worst`: as `read_worst` has it, kept up. `hits` [BLOCK + 1]: room.
    Lists are many megabytes: memory is asked for all that is needed before any of it is touched.
    """
    values, numbers, slots, activations = kept
    count = 0
    for c in range(BLOCK):
        hits[count] = c
        count += not extreme[c] < worst[c]
    for h in range(count):
        n = lowest + hits[h]
        ask_for(values[n])
        ask_for(numbers[n])
        ask_for(slots[n])
    for h in range(count):
        n = lowest + hits[h]
        ask_for(activations[n, slots[n, 0]])
    for h in range(count):
        c = hits[h]
        n = lowest + c
        slot = offer(values[n], numbers[n], slots[n], extreme[c], number)
        if slot >= 0:
            worst[c] = values[n, 0]
            for p in range(len(rows)):
                activations[n, slot, p] = rows[p, n]


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
    count = len(raw) * (raw.shape[1] - first)
    powers, ends = np.empty(5 * BLOCK, np.float64), np.empty(2 * BLOCK, np.float32)
    worst_high, worst_low = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    hits = np.empty(BLOCK + 1, np.int64)
    for lowest in range(neurons[0], neurons[1], BLOCK):
        highest = min(lowest + BLOCK, neurons[1])
        find_centre(raw[0, first:], lowest, highest, powers)
        read_worst(high, lowest, highest, worst_high)
        read_worst(low, lowest, highest, worst_low)
        for e in range(len(raw)):
            rows = raw[e, first:]
            look(rows, lowest, highest, powers, ends)
            maxima[e, lowest:highest] = ends[: highest - lowest]
            offer_excerpt(rows, lowest, ends[:BLOCK], worst_high, hits, numbers[e], high)
            for c in range(BLOCK):
                ends[c] = -ends[BLOCK + c]
            offer_excerpt(rows, lowest, ends[:BLOCK], worst_low, hits, numbers[e], low)
        write_moments(powers, count, lowest, highest, moments)
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
        if t + 1 < tokens[1]:
            ask_for(sums[slots[t + 1]])
        totals[:] = np.float32(0.0)
        for r in range(starts[t], starts[t + 1]):
            row = raw[order[r] // positions, first + order[r] % positions]
            for c in range(len(totals)):
                totals[c] += single(row[c])
        missed += add_steps(totals, weights[t], grid, sums[slots[t]])
    return missed
