"""Calibration, intervals, detection and fuzzing. The three formulas are in test_scorer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from explanations.pipeline.language_models import LanguageModelError, Usage
from explanations.pipeline.prompts import detection_prompt
from explanations.pipeline.records import ActivationRecord, Failure, Kind
from explanations.pipeline.scorer import (
    DETECTION,
    FUZZING,
    Calibration,
    ScoredPair,
    TellingApart,
    bootstrap_interval,
    correlation,
    detection_items,
    fit_calibration,
    fuzzing_items,
    judge_detection,
    judge_fuzzing,
    rate_by_simulation,
    rsquared,
    scores,
    tell_apart,
)
from tests.pipeline.fake_model import FakeModel


def pair(real: list[float], simulated: list[float], kind: int = Kind.TOP) -> ScoredPair:
    return ScoredPair(kind, np.array(real, dtype=float), np.array(simulated, dtype=float))


# Calibration

CALIBRATIONS = [
    # pairs, slope, intercept
    ([pair([1, 3], [0, 1]), pair([5], [2])], 2.0, 1.0),  # on a line: a = 2 s + 1
    ([pair([0, 0, 3], [0, 1, 2])], 1.5, -0.5),  # means 1 and 1; 3 / 2; 1 - 1.5
    ([pair([2, 1, 0], [0, 5, 10])], -0.2, 2.0),  # the wrong way round: the slope is negative
    ([pair([1, 2, 6], [4, 4, 4])], 0.0, 3.0),  # a simulation that does not vary is the mean
    ([pair([1, 1], [0, 9])], 0.0, 1.0),
]


@pytest.mark.parametrize(("pairs", "slope", "intercept"), CALIBRATIONS)
def test_the_worked_calibrations(pairs: list[ScoredPair], slope: float, intercept: float) -> None:
    found = fit_calibration(pairs)
    assert found is not None
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=1e-12)


def test_a_calibration_needs_finite_values() -> None:
    assert fit_calibration([]) is None
    assert fit_calibration([pair([1, math.nan], [1, 2])]) is None


values = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=3, max_size=12)


@given(values, values, st.floats(-3, 3), st.floats(-3, 3))
def test_no_other_line_errs_less(real: list[float], simulated: list[float], slope: float, intercept: float) -> None:
    n = min(len(real), len(simulated))
    a, s = np.array(real[:n]), np.array(simulated[:n])
    found = fit_calibration([ScoredPair(Kind.TOP, a, s)])
    assert found is not None
    error = ((a - found.apply(s)) ** 2).sum()
    assert error <= ((a - Calibration(slope, intercept).apply(s)) ** 2).sum() * (1 + 1e-9) + 1e-9


@given(values, values, st.floats(0.1, 5), st.floats(-5, 5))
def test_r_keeps_its_value_and_takes_the_sign_of_the_slope(
    real: list[float], simulated: list[float], slope: float, intercept: float
) -> None:
    n = min(len(real), len(simulated))
    a, s = np.array(real[:n]), np.array(simulated[:n])
    r = correlation(a, s)
    assume(r is not None and np.ptp(s) > 0.1 and np.ptp(a) > 0.1)
    assert correlation(a, Calibration(slope, intercept).apply(s)) == pytest.approx(r, abs=1e-6)
    assert r is not None
    assert correlation(a, Calibration(-slope, intercept).apply(s)) == pytest.approx(-r, abs=1e-6)


def test_on_the_fitted_values_r_squared_is_the_explained_part() -> None:
    fitted = [pair([0, 0, 3], [0, 1, 2])]
    line = fit_calibration(fitted)
    assert line is not None
    # Calibrated -0.5, 1, 2.5: errors 0.5, 1, 0.5; 1 - 1.5 / 9 and 1 - 2 / 3.
    found = scores(fitted[0].real, line.apply(fitted[0].simulated))
    assert found.rsquared == pytest.approx(1 - 1.5 / 9)
    assert found.absolute_dev_explained == pytest.approx(1 / 3)
    assert rsquared(fitted[0].real, fitted[0].simulated) == pytest.approx(1 - 2 / 9)


# Intervals


def excerpts(seed: int = 0, count: int = 5, noise: float = 1.0) -> list[ScoredPair]:
    rng = np.random.default_rng(seed)
    kinds = [Kind.TOP] * count + [Kind.RANDOM] * count
    real = [rng.exponential(2 if kind is Kind.TOP else 1, 20) for kind in kinds]
    return [ScoredPair(kind, a, a + rng.normal(0, noise, 20)) for kind, a in zip(kinds, real, strict=True)]


def test_the_interval_is_that_of_drawing_excerpts_again_by_kind() -> None:
    pairs = excerpts()
    found = bootstrap_interval(pairs, seed=3, resamples=400)
    assert found is not None
    rng = np.random.default_rng(3)
    drawn = np.zeros((400, 10), dtype=int)
    drawn[:, :5] = rng.multinomial(5, [0.2] * 5, size=400)
    drawn[:, 5:] = rng.multinomial(5, [0.2] * 5, size=400)
    again = []
    for counts in drawn:
        chosen = [p for p, count in zip(pairs, counts, strict=True) for _ in range(count)]
        again.append(
            np.corrcoef(np.concatenate([p.real for p in chosen]), np.concatenate([p.simulated for p in chosen]))
        )
    low, high = np.quantile([r[0, 1] for r in again], [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert (found.resamples, found.undefined, found.confidence) == (400, 0, 0.95)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    assert bootstrap_interval(excerpts(), seed=1) == bootstrap_interval(excerpts(), seed=1)
    assert bootstrap_interval(excerpts(), seed=1) != bootstrap_interval(excerpts(), seed=2)


@given(st.integers(0, 50), st.floats(0.1, 20))
def test_an_interval_lies_between_minus_one_and_one_and_is_in_order(seed: int, noise: float) -> None:
    found = bootstrap_interval(excerpts(seed, 3, noise), seed=seed, resamples=50)
    assert found is not None
    assert -1 <= found.low <= found.high <= 1


def test_an_interval_covers_the_score_of_many_alike_excerpts() -> None:
    pairs = excerpts(count=40)
    found = bootstrap_interval(pairs, seed=0)
    r = correlation(np.concatenate([p.real for p in pairs]), np.concatenate([p.simulated for p in pairs]))
    assert found is not None
    assert r is not None
    assert found.low < r < found.high
    assert found.high - found.low < 0.15


def test_resamples_without_a_score_are_left_out_and_counted() -> None:
    # Only one of three top excerpts varies, so (2/3)^3 = 30 % of resamples are flat.
    pairs = [pair([0, 1, 5], [0, 1, 4]), pair([0, 0, 0], [0, 0, 0]), pair([0, 0, 0], [0, 0, 0])]
    found = bootstrap_interval(pairs, seed=0)
    assert found is not None
    assert 230 < found.undefined < 360


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [pair([0, 1], [0, 1])],  # one excerpt: nothing to draw from
        [pair([0, 1], [0, 1]), pair([1, 2], [0, 3], Kind.RANDOM)],
        [pair([1, 2], [3, 3]), pair([2, 5], [3, 3])],  # no score, so no interval
    ],
)
def test_where_there_is_no_score_or_nothing_to_draw_there_is_no_interval(pairs: list[ScoredPair]) -> None:
    assert bootstrap_interval(pairs, seed=0) is None


# Telling apart

TOLD = [
    # truths, ratings, balanced accuracy, AUC
    ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 1.0, 1.0),
    ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 0.0, 0.0),
    ([1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], 0.5, 0.5),  # no yes above one half: no true one found, no false one claimed
    ([1, 1, 1, 0], [0.9, 0.6, 0.4, 0.6], 1 / 3, (1 + 0.5 + 0) / 3),  # 2 of 3 and 0 of 1; 0.9 wins, 0.6 ties, 0.4 loses
    ([1, 0, 0, 0, 0], [0.7, 0.6, 0.1, 0.1, 0.1], 0.875, 1.0),  # 1 of 1 and 3 of 4
]


@pytest.mark.parametrize(("truths", "ratings", "accuracy", "auc"), TOLD)
def test_the_worked_ratings(truths: list[int], ratings: list[float], accuracy: float, auc: float) -> None:
    found = tell_apart([bool(t) for t in truths], ratings)
    assert (found.balanced_accuracy, found.auc) == pytest.approx((accuracy, auc))
    assert (found.true_items, found.false_items) == (sum(truths), len(truths) - sum(truths))


def test_where_all_items_are_alike_nothing_is_told_apart() -> None:
    assert tell_apart([True, True], [0.9, 0.1]) == TellingApart(None, None, 2, 0)
    assert tell_apart([], []) == TellingApart(None, None, 0, 0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1))
def test_turning_ratings_round_turns_the_auc_round(items: list[tuple[bool, float]]) -> None:
    truths, ratings = [t for t, _ in items], [round(r, 6) for _, r in items]
    found, turned = tell_apart(truths, ratings), tell_apart(truths, [1 - r for r in ratings])
    if found.auc is None:
        assert turned.auc is None
    else:
        assert turned.auc == pytest.approx(1 - found.auc)
        assert tell_apart([not t for t in truths], ratings).auc == pytest.approx(1 - found.auc)


RECORDS = [
    ActivationRecord(("a", " cat", " sat"), np.array([0.0, 10.0, 0.0])),
    ActivationRecord(("b", " kitten"), np.array([-1.0, 5.0])),  # level 5: half of the highest
    ActivationRecord(("c", " tree"), np.array([0.0, 4.9])),  # level 4
    ActivationRecord((), np.array([])),
    ActivationRecord((" cats", " dogs"), np.array([9.0, 8.0])),  # no inactive token to mark wrongly
]


def test_an_excerpt_is_active_from_half_of_the_highest_activation_on() -> None:
    items = detection_items(RECORDS)
    assert [(item.excerpt, item.is_true, item.marked) for item in items] == [
        (0, True, ()),
        (1, True, ()),
        (2, False, ()),
        (4, True, ()),
    ]


def test_fuzzing_marks_the_strong_tokens_and_as_many_inactive_ones() -> None:
    items = fuzzing_items(RECORDS, seed=0)
    assert [(i.excerpt, i.is_true) for i in items] == [(0, True), (0, False), (1, True), (1, False)]
    assert items[0].marked == (1,)
    assert items[1].marked in {(0,), (2,)}
    assert (items[2].marked, items[3].marked) == ((1,), (0,))
    assert fuzzing_items(RECORDS, seed=0) == items
    assert {fuzzing_items(RECORDS, seed=seed)[1].marked for seed in range(20)} == {(0,), (2,)}


def test_a_simulation_rates_by_its_highest_or_its_marked_values() -> None:
    simulated = [np.array([0.0, 6, 3]), None, np.array([2.0, 1]), None, np.array([1.0, 4])]
    assert rate_by_simulation(detection_items(RECORDS), simulated) == [6, None, 2, 4]
    right, wrong, *missing = rate_by_simulation(fuzzing_items(RECORDS, seed=0), simulated)
    assert (right, wrong in {0, 3}, missing) == (6, True, [None, None])


# Judges


def by_words(before: str) -> Mapping[str, float]:
    """Say yes where the document names a cat, surer where it is marked."""
    document = before.rpartition("Document: ")[2]
    yes = 0.9 if "<<cat" in document or "<<kitten" in document else 0.2
    if "<<" not in document:
        yes = 0.8 if " cat" in document or " kitten" in document else 0.1
    return {" yes": yes / 2, " Yes": yes / 2, " no": 1 - yes, " perhaps": 0.5}


def test_detection_by_log_probabilities_asks_one_question_an_excerpt() -> None:
    model = FakeModel(expect=by_words)
    found = judge_detection(model, "cats", RECORDS)
    # " cats dogs" is read as naming a cat too; only the tree excerpt is false.
    assert found.told == TellingApart(1.0, 1.0, 3, 1)
    assert (found.task, found.judge, found.prompt_version) == (DETECTION, "fake", "detection-1")
    assert (found.excerpts_rated, found.excerpts_asked) == (4, 5)
    assert found.failures == (Failure(3, "it has no tokens"),)
    assert len(model.asked) == 4
    assert found.usage.tokens_in == sum(map(model.count_tokens, model.asked))


def test_fuzzing_by_log_probabilities_uses_the_same_excerpts() -> None:
    found = judge_fuzzing(FakeModel(expect=by_words), "cats", RECORDS)
    assert found.told == TellingApart(1.0, 1.0, 2, 2)
    assert (found.task, found.prompt_version, found.excerpts_rated) == (FUZZING, "fuzzing-1", 2)
    assert [failure.excerpt for failure in found.failures] == [2, 3, 4]


def test_a_judge_that_says_neither_yes_nor_no_fails_the_excerpt() -> None:
    model = FakeModel(
        expect=lambda before: {" maybe": 1.0} if "tree" in before.rpartition("\n\n")[2] else by_words(before)
    )
    found = judge_detection(model, "cats", RECORDS)
    assert found.failures[0] == Failure(2, "the model expected neither yes nor no")
    assert found.told == TellingApart(None, None, 3, 0), "no false item is left"


def test_a_judge_that_writes_is_asked_for_several_at_once_in_an_order_that_tells_nothing() -> None:
    many = [
        ActivationRecord((f"t{i}", " cat" if i < 4 else " tree"), np.array([0.0, 9.0 if i < 4 else 0.0]))
        for i in range(8)
    ]
    model = FakeModel(["[10, 9, 1, 0, 5]", "```json\n[10, 0, 6]\n```"], has_prompt_log_probabilities=False)
    found = judge_detection(model, "cats", many, seed=1)
    assert (found.excerpts_rated, found.failures, found.usage.tokens_out) == (8, (), 14)
    documents = [m[-1].content for m in model.asked if not isinstance(m, str)]
    assert [len(text.splitlines()) for text in documents] == [1 + 5 + 1, 1 + 3 + 1]
    order = [line[3:].split(" ")[0] for text in documents for line in text.splitlines()[1:-1]]
    assert sorted(order) == [f"t{i}" for i in range(8)] != order
    first = [f"{name} {'cat' if int(name[1:]) < 4 else 'tree'}" for name in order[:5]]
    assert model.asked[0] == detection_prompt("cats", first).as_messages()
    truths, ratings = [int(name[1:]) < 4 for name in order], [1, 0.9, 0.1, 0, 0.5, 1, 0, 0.6]
    assert found.told == tell_apart(truths, ratings)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("yes", "the answer is not a JSON list of numbers"),
        ('["10", 0, 0, 0]', "the answer is not a JSON list of numbers"),
        ("[1, 2]", "the answer has 2 numbers for 4 documents"),
        (LanguageModelError("HTTP 429"), "HTTP 429"),
    ],
)
def test_what_is_no_list_of_ratings_is_a_failure(answer: str | Exception, reason: str) -> None:
    found = judge_detection(FakeModel([answer], has_prompt_log_probabilities=False), "cats", RECORDS)
    assert found.told == TellingApart(None, None, 0, 0)
    assert found.failures == tuple(Failure(i, "it has no tokens" if i == 3 else reason) for i in range(5))
    assert found.excerpts_rated == 0


def test_a_rating_out_of_range_fails_its_excerpt_alone() -> None:
    model = FakeModel(["[11, 3, 3, -1]"], has_prompt_log_probabilities=False)
    found = judge_detection(model, "cats", RECORDS)
    assert sorted(failure.reason for failure in found.failures if failure.excerpt != 3) == [
        "-1 is not from 0 to 10",
        "11 is not from 0 to 10",
    ]
    assert found.excerpts_rated == 2


def test_a_question_too_long_is_not_asked() -> None:
    model = FakeModel(context_window=50, has_prompt_log_probabilities=False)
    found = judge_fuzzing(model, "cats", RECORDS)
    assert model.asked == []
    assert found.failures[0] == Failure(0, "the prompt is longer than fake reads")
    assert found.usage == Usage()
