from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from explanations.pipeline.records import Kind, Scores
from explanations.pipeline.scorer import (
    ScoredPair,
    absolute_dev_explained,
    correlation,
    correlation_by_group,
    rsquared,
    score_sequences,
    scores,
)

WORKED = [
    # real, simulated, r, 1 - mean((a-s)^2)/mean(a^2), 1 - mean|a-s|/mean|a|
    ([1, 2, 3], [1, 2, 3], 1.0, 1.0, 1.0),
    ([1, 2, 3], [3, 2, 1], -1.0, 3 / 7, 1 / 3),  # errors -2 0 2: 1 - 8/14, 1 - 4/6
    ([1, 2, 3, 4], [2, 4, 6, 8], 1.0, 0.0, 0.0),  # twice the values errs as much as they measure
    ([0, 0, 0, 4], [1, 0, 0, 3], 0.9428090415820634, 0.875, 0.5),  # r = 8 / sqrt(12 * 6)
    ([1, 0, -1, 2], [0, 0, 0, 5], 0.7745966692414834, -5 / 6, -0.25),  # r = 7.5 / sqrt(5 * 18.75)
    ([0, 1, 0, 1], [0, 0, 1, 1], 0.0, 0.0, 0.0),
    ([-1, -2], [-3, -5], 1.0, -1.6, -2 / 3),
    ([5, 6, 7], [1, 1, 1], None, 1 - 77 / 110, 1 - 15 / 18),
    ([2, 2, 2], [1, 2, 3], None, 1 - 2 / 12, 1 - 2 / 6),
    ([0, 0, 0], [1, 2, 3], None, None, None),
    ([0, 0, 0], [0, 0, 0], None, None, None),
    ([3], [4], None, 1 - 1 / 9, 1 - 1 / 3),
    ([], [], None, None, None),
]


@pytest.mark.parametrize(("real", "simulated", "r", "explained", "deviation"), WORKED)
def test_the_worked_numbers(
    real: list[float], simulated: list[float], r: float | None, explained: float | None, deviation: float | None
) -> None:
    found = scores(np.array(real, dtype=float), np.array(simulated, dtype=float))
    assert found.ev_correlation == (None if r is None else pytest.approx(r, abs=1e-15))
    assert found.rsquared == (None if explained is None else pytest.approx(explained, abs=1e-15))
    assert found.absolute_dev_explained == (None if deviation is None else pytest.approx(deviation, abs=1e-15))


@pytest.mark.parametrize("value", [0.1, 1 / 3, -7.3, 1e-20, 1e20])
def test_a_constant_side_has_no_correlation_however_its_mean_rounds(value: float) -> None:
    constant = np.full(641, value)
    varied = np.arange(641.0)
    assert correlation(constant, varied) is None
    assert correlation(varied, constant) is None


def test_a_side_constant_but_for_rounding_has_no_correlation() -> None:
    assert correlation(np.array([0.1 + 0.2, 0.3, 0.3]), np.array([1.0, 2.0, 3.0])) is None
    assert correlation(np.array([0.3 + 1e-9, 0.3, 0.3]), np.array([3.0, 1.0, 1.0])) == pytest.approx(1)


def test_tiny_and_huge_variations_neither_vanish_nor_overflow() -> None:
    ramp = np.array([1.0, 2.0, 4.0])
    for scale in (1e-200, 1e-30, 1e30, 1e150):
        assert correlation(ramp * scale, ramp) == pytest.approx(1, abs=1e-12)


def test_half_precision_values_are_scored_in_double_precision() -> None:
    real = np.linspace(-3, 3, 640).astype(np.float16)
    simulated = (real.astype(float) * 1000 + 30000).astype(np.float16)
    assert correlation(real, simulated) == pytest.approx(correlation(real.astype(float), simulated.astype(float)))


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_makes_every_score_undefined(odd: float) -> None:
    assert scores(np.array([1.0, 2.0, odd]), np.array([1.0, 2.0, 4.0])) == Scores(None, None, None)
    assert scores(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, odd])) == Scores(None, None, None)


def test_unequal_lengths_are_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) real activations but \(3,\) simulated"):
        scores(np.zeros(2), np.zeros(3))


def pair(kind: int, real: list[float], simulated: list[float]) -> ScoredPair:
    return ScoredPair(kind, np.array(real), np.array(simulated))


def test_excerpts_are_scored_together_alone_and_by_kind() -> None:
    found = score_sequences(
        [pair(Kind.TOP, [1, 2, 3], [3, 2, 1]), pair(Kind.RANDOM, [0, 0], [1, 2]), pair(Kind.RANDOM, [0, 1], [0, 9])]
    )
    together = scores(np.array([1, 2, 3, 0, 0, 0, 1.0]), np.array([3, 2, 1, 1, 2, 0, 9.0]))
    assert found.whole == together
    assert [s.ev_correlation for s in found.each] == [-1.0, None, 1.0]
    assert found.top_only == -1.0
    assert found.random_only == correlation(np.array([0, 0, 0, 1.0]), np.array([1, 2, 0, 9.0]))


def test_a_kind_that_is_not_there_and_no_excerpts_at_all_have_no_score() -> None:
    assert score_sequences([pair(Kind.TOP, [1, 2], [1, 2])]).random_only is None
    assert score_sequences([]).whole == Scores(None, None, None)


values = st.lists(st.tuples(st.integers(-2000, 2000), st.integers(-2000, 2000)), min_size=1, max_size=40)


@given(values)
def test_correlation_equals_exact_arithmetic(pairs: list[tuple[int, int]]) -> None:
    a, s = [Fraction(x) for x, _ in pairs], [Fraction(y) for _, y in pairs]
    mean_a, mean_s = sum(a) / len(a), sum(s) / len(s)
    covariance = sum((x - mean_a) * (y - mean_s) for x, y in zip(a, s, strict=True))
    variances = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_s) ** 2 for y in s)
    expected = None if variances == 0 else float(covariance) / math.sqrt(variances)
    found = correlation(np.array([float(x) for x in a]), np.array([float(y) for y in s]))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


@given(values)
def test_the_explained_parts_equal_exact_arithmetic(pairs: list[tuple[int, int]]) -> None:
    real, simulated = np.array([float(x) for x, _ in pairs]), np.array([float(y) for _, y in pairs])
    squares, total = sum((x - y) ** 2 for x, y in pairs), sum(x * x for x, _ in pairs)
    expected = None if total == 0 else float(1 - Fraction(squares, total))
    assert rsquared(real, simulated) == (None if expected is None else pytest.approx(expected))
    deviation, size = sum(abs(x - y) for x, y in pairs), sum(abs(x) for x, _ in pairs)
    expected = None if size == 0 else float(1 - Fraction(deviation, size))
    assert absolute_dev_explained(real, simulated) == (None if expected is None else pytest.approx(expected))


floats = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


@given(st.lists(st.tuples(floats, floats), min_size=2, max_size=40), st.floats(0.01, 100), st.floats(-100, 100))
def test_correlation_is_symmetric_bounded_and_blind_to_scale_and_shift(
    pairs: list[tuple[float, float]], scale: float, shift: float
) -> None:
    a, s = np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])
    r = correlation(a, s)
    assume(r is not None)
    assert r is not None
    assert -1 <= r <= 1
    assert correlation(s, a) == pytest.approx(r, abs=1e-12)
    assert correlation(a, s * scale + shift) == pytest.approx(r, abs=1e-6)
    assert correlation(-a, s) == pytest.approx(-r, abs=1e-12)


@given(st.lists(floats, min_size=1, max_size=40))
def test_a_perfect_simulation_scores_one_or_nothing(real: list[float]) -> None:
    found = scores(np.array(real), np.array(real))
    assert found.ev_correlation in (None, pytest.approx(1))
    assert found.rsquared in (None, 1.0)
    assert found.absolute_dev_explained in (None, 1.0)


def test_correlations_by_group_are_those_of_each_group() -> None:
    rng = np.random.default_rng(2)
    real, simulated = rng.normal(size=60), rng.uniform(0, 10, 60)
    group = rng.integers(0, 5, 60)
    group[group == 3] = 4  # Nothing is left in group 3.
    real[group == 1] = 0.1  # Constant: undefined.
    found = correlation_by_group(real, simulated, group, 6)
    assert found[1] is found[3] is found[5] is None
    for number in (0, 2, 4):
        alone = correlation(real[group == number], simulated[group == number])
        assert found[number] == pytest.approx(alone, rel=1e-12)
    assert correlation_by_group(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64), 2) == [None, None]
