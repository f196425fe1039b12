"""What is compiled for collecting: equal to numpy, whatever the precision, the width and the number of threads."""

from __future__ import annotations

import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "numba")):
    pytest.skip("torch or numba not installed: pip install -e '.[models]'", allow_module_level=True)

from explanations.pipeline.collecting import kernels
from explanations.pipeline.collecting.collector import cut_tokens, share_out
from explanations.pipeline.collecting.lists import Lists, from_single, to_single

EXCERPTS, FIRST, POSITIONS, NEURONS = 5, 1, 10, 2 * kernels.BLOCK + 44
"""more than one block, the last one not full, and rows that are not fours"""
PARTS = [(0, kernels.BLOCK), (kernels.BLOCK, NEURONS)]
DTYPES = ("uint16", "float32")


def make_raw(dtype: str, seed: int = 0) -> Any:
    """Return activations [excerpt, FIRST + pos, neuron]; those in front are larger than all others."""
    values = np.random.default_rng(seed).standard_cauchy((EXCERPTS, FIRST + POSITIONS, NEURONS)).astype(np.float32) + 3
    values[:, :FIRST] = 1e9
    values[..., 7] = 2.5
    return from_single(values, dtype)


DRAWS = np.array([0, 4, 2]), np.array([NEURONS - 1, 0, kernels.BLOCK]), np.array([1, 0, 1])
"""excerpts, neurons, and which of each neuron's two they are"""


def observe(raw: Any, parts: Any = PARTS) -> tuple[Any, Any, Lists, Lists, Any]:
    moments, maxima = np.empty((4, NEURONS)), np.empty((EXCERPTS, NEURONS), np.float32)
    high, low = (Lists.empty(NEURONS, 3, POSITIONS, raw.dtype) for _ in range(2))
    random = np.zeros((NEURONS, 2, POSITIONS), raw.dtype)
    numbers = np.arange(100, 100 + EXCERPTS, dtype=np.int32)
    for part in parts:
        kernels.observe(raw, FIRST, part, numbers, DRAWS, moments, maxima, high.arrays, low.arrays, random)
    return moments, maxima, high, low, random


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_those_of_numpy(dtype: str) -> None:
    raw = make_raw(dtype)
    values = to_single(raw)[:, FIRST:].astype(np.longdouble).reshape(-1, NEURONS)
    off = values - values.mean(axis=0)
    moments = observe(raw)[0]
    expected = [values.mean(axis=0), *((off**power).sum(axis=0) for power in (2, 3, 4))]
    # The third power's sum may be zero by what cancels; it is exact to the magnitude of what was added.
    sizes = [np.abs(values).mean(axis=0), *((np.abs(off) ** power).sum(axis=0) for power in (2, 3, 4))]
    for found, right, size in zip(moments, expected, sizes, strict=True):
        assert (np.abs(found - right) <= 1e-13 * size).all()
    assert moments[:, 7].tolist() == [2.5, 0, 0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_and_lists_are_those_of_numpy(dtype: str) -> None:
    raw = make_raw(dtype)
    values = to_single(raw)[:, FIRST:]
    _, maxima, high, low, _ = observe(raw)
    assert np.array_equal(maxima, values.max(axis=1))
    for lists, extreme in ((high, values.max(axis=1)), (low, -values.min(axis=1))):
        best, numbers, slots = lists.best_first()
        order = np.lexsort((np.broadcast_to(np.arange(EXCERPTS)[:, None], extreme.shape), -extreme), axis=0)[:3]
        assert np.array_equal(numbers.T - 100, order)
        assert np.array_equal(best.T, np.take_along_axis(extreme, order, axis=0))
        kept = np.take_along_axis(lists.activations, slots[:, :, None].astype(np.int64), axis=1)
        assert np.array_equal(to_single(kept), values[order.T, :, np.arange(NEURONS)[:, None]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_drawn_is_copied(dtype: str) -> None:
    raw = make_raw(dtype)
    expected = np.zeros((NEURONS, 2, POSITIONS), dtype)
    for excerpt, neuron, draw in zip(*DRAWS, strict=True):
        expected[neuron, draw] = raw[excerpt, FIRST:, neuron]
    assert np.array_equal(observe(raw)[4], expected)


def test_the_result_does_not_depend_on_the_threads() -> None:
    raw = make_raw("uint16")
    one, two = observe(raw, parts=[(0, NEURONS)]), observe(raw)
    for a, b in zip(
        (*one[:2], *one[2].arrays, *one[3].arrays), (*two[:2], *two[2].arrays, *two[3].arrays), strict=True
    ):
        assert a.tobytes() == b.tobytes()


def by_token(ids: Any, weights: Any) -> tuple[Any, ...]:
    order = np.argsort(ids, kind="stable").astype(np.int32)
    tokens, starts = np.unique(ids[order], return_index=True)
    return order, np.append(starts, len(ids)).astype(np.int32), tokens.astype(np.int32), weights[tokens]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_sums_by_token_are_whole_steps(dtype: str, threads: int) -> None:
    raw = make_raw(dtype)
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 20, EXCERPTS * POSITIONS)
    weights = np.where(np.arange(20) % 3, 1.0, 0.25).astype(np.float32)
    grid = np.ldexp(1.0, rng.integers(2, 12, NEURONS)).astype(np.float32)
    sums = rng.integers(-50, 50, (20, NEURONS)).astype(np.int32)
    values = to_single(raw)[:, FIRST:].reshape(-1, NEURONS)
    expected = sums.astype(np.int64)
    for token in np.unique(ids):
        total = np.zeros(NEURONS, np.float32)
        for row in np.flatnonzero(ids == token):
            total += values[row]
        expected[token] += np.rint(total.astype(np.float64) * weights[token] * grid).astype(np.int64)
    grouped = by_token(ids, weights)
    parts = cut_tokens(grouped[1], threads)
    assert [part[0] for part in parts] == [0, *(part[1] for part in parts[:-1])]
    assert parts[-1][1] == len(grouped[2])
    missed = sum(kernels.add_by_token(raw, FIRST, part, grouped, grid, sums) for part in parts)
    assert np.array_equal(sums, expected)
    assert missed == 0


@pytest.mark.parametrize(
    ("before", "activation", "after", "missed"),
    [
        (2**31 - 10, 9.0, 2**31 - 1, 0),
        (2**31 - 10, 10.0, 2**31 - 1, 1),
        (-(2**31) + 10, -9.0, -(2**31) + 1, 0),
        (-(2**31) + 10, -30.0, -(2**31) + 1, 1),
        (0, 3e9, 2**31 - 1, 1),
        (5, -3e9, -(2**31) + 1, 1),
        (-(2**31) + 10, 20.0, -(2**31) + 30, 0),
    ],
)
def test_sums_that_do_not_fit_are_counted(before: int, activation: float, after: int, missed: int) -> None:
    raw = np.full((1, FIRST + 1, NEURONS), activation, np.float32)
    sums = np.full((1, NEURONS), before, np.int32)
    grouped = by_token(np.zeros(1, np.int64), np.ones(1, np.float32))
    found = kernels.add_by_token(raw, FIRST, (0, 1), grouped, np.ones(NEURONS, np.float32), sums)
    assert (sums == after).all()
    assert found == missed * NEURONS


def test_work_is_done_once_even_where_no_other_thread_has_time() -> None:
    done: list[int] = []

    def piece(number: int) -> int:
        done.append(number)
        return number

    hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        assert share_out(pool, 1, iter([partial(piece, number) for number in range(20)])) == 190
        pool.submit(hold.wait)
        assert share_out(pool, 1, iter([partial(piece, number) for number in range(20, 30)])) == 245
        hold.set()
    assert sorted(done) == list(range(30))
