"""What is done with every activation, compiled: one pass over a layer's activations of a chunk of excerpts.

The activations of a chunk are read once, a block of neurons at a time, so that all the rest happens in the processor's
cache. Numba compiles it at the first call and keeps the result. Threads divide the neurons between them, never a
neuron's sums, so the result does not depend on their number.
"""
# ruff: noqa: ANN001, ANN201
# Numba infers types; arrays come as what they are.

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 32
"""neurons that are looked at together"""
EMPTY = np.int32(2**31 - 1)
"""the excerpt's number in a place of a list that is not taken yet"""


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
def load(raw, first, lowest, width, block):
    """Fill `block` [row, BLOCK] with neurons from `lowest` on; a row is a token, excerpt after excerpt."""
    excerpts, positions = raw.shape[0], raw.shape[1] - first
    if raw.itemsize == 2:
        # bfloat16 is the upper half of single precision.
        bits = block.view(np.uint32)
        for e in range(excerpts):
            for p in range(positions):
                for c in range(width):
                    bits[e * positions + p, c] = np.uint32(raw[e, first + p, lowest + c]) << np.uint32(16)
    else:
        for e in range(excerpts):
            for p in range(positions):
                for c in range(width):
                    block[e * positions + p, c] = raw[e, first + p, lowest + c]


@njit(inline="always")
def central_sums(block, rows, out):
    """Write the mean and the sums of the 2nd to 4th powers of what differs from it to `out` [4, BLOCK]."""
    out[:] = 0.0
    for r in range(rows):
        for c in range(BLOCK):
            out[0, c] += np.float64(block[r, c])
    for c in range(BLOCK):
        out[0, c] /= rows
    for r in range(rows):
        for c in range(BLOCK):
            off = np.float64(block[r, c]) - out[0, c]
            square = off * off
            out[1, c] += square
            out[2, c] += square * off
            out[3, c] += square * square


@njit(inline="always")
def extremes(block, excerpts, positions, high, low):
    """Write each excerpt's maximum and minimum to `high` and `low` [excerpt, BLOCK]."""
    for e in range(excerpts):
        for c in range(BLOCK):
            high[e, c] = block[e * positions, c]
            low[e, c] = block[e * positions, c]
        for p in range(1, positions):
            for c in range(BLOCK):
                value = block[e * positions + p, c]
                high[e, c] = max(high[e, c], value)
                low[e, c] = min(low[e, c], value)


@njit(inline="always")
def add_by_token(block, order, starts, slots, weights, grid, sums, lowest, width):
    """Add the rows of each token to `sums` [token, neuron], in whole steps of that token's and neuron's grid.

    Whole numbers, so that the sums do not depend on the order of chunks. Return how many did not fit.
    """
    total = np.empty(BLOCK, np.float32)
    missed = 0
    for t in range(len(slots)):
        total[:] = np.float32(0.0)
        for r in range(starts[t], starts[t + 1]):
            row = order[r]
            for c in range(BLOCK):
                total[c] += block[row, c]
        target = sums[slots[t]]
        for c in range(width):
            steps = np.float64(target[lowest + c]) + np.rint(np.float64(total[c]) * weights[t] * grid[lowest + c])
            if abs(steps) > 2147483647.0:
                missed += 1
                steps = min(max(steps, -2147483647.0), 2147483647.0)
            target[lowest + c] = np.int32(steps)
    return missed


@njit(inline="always")
def offer_all(raw, first, lowest, width, extreme, sign, numbers, kept):
    """Offer each excerpt's `extreme` [excerpt, BLOCK], times `sign`, to the neurons' lists `kept`."""
    values, held, slots, activations = kept
    for c in range(width):
        n = lowest + c
        for e in range(len(numbers)):
            slot = offer(values[n], held[n], slots[n], sign * extreme[e, c], numbers[e])
            if slot >= 0:
                for p in range(activations.shape[2]):
                    activations[n, slot, p] = raw[e, first + p, n]


@njit(nogil=True, cache=True)
def observe(
    raw,
    first,
    neurons,
    numbers,
    by_token,
    grid,
    sums,
    moments,
    maxima,
    high,
    low,
):
    """Take in a chunk's activations of the neurons from `neurons[0]` up to `neurons[1]` of a layer.

    `raw` [excerpt, first + pos, neuron]: bfloat16 as uint16, or single precision; what is before `first` is left out.
    `numbers` [excerpt]: the excerpts' numbers.
    `by_token`: rows in the order of tokens, where each token's begin, its row in `sums`, its grid's weight.
    `grid` [neuron], `sums` [token, neuron]: as `add_by_token` has them.
    `moments` [4, neuron]: overwritten with the chunk's, as `central_sums` has them.
    `maxima` [excerpt, neuron]: overwritten with each excerpt's maximum.
    `high` and `low`: the lists of the highest and lowest excerpts, (values, numbers, slots, activations [neuron, slot,
    pos]) each; a list of no places is left alone.
    Return how many token sums did not fit.
    """
    excerpts, positions = raw.shape[0], raw.shape[1] - first
    rows = excerpts * positions
    order, starts, token_rows, weights = by_token
    block = np.zeros((rows, BLOCK), np.float32)
    powers = np.empty((4, BLOCK), np.float64)
    highest, deepest = np.empty((excerpts, BLOCK), np.float32), np.empty((excerpts, BLOCK), np.float32)
    missed = 0
    for lowest in range(neurons[0], neurons[1], BLOCK):
        width = min(BLOCK, neurons[1] - lowest)
        load(raw, first, lowest, width, block)
        central_sums(block, rows, powers)
        moments[:, lowest : lowest + width] = powers[:, :width]
        extremes(block, excerpts, positions, highest, deepest)
        maxima[:, lowest : lowest + width] = highest[:, :width]
        missed += add_by_token(block, order, starts, token_rows, weights, grid, sums, lowest, width)
        if high[0].shape[1]:
            offer_all(raw, first, lowest, width, highest, np.float32(1.0), numbers, high)
        if low[0].shape[1]:
            offer_all(raw, first, lowest, width, deepest, np.float32(-1.0), numbers, low)
    return missed
