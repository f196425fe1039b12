from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from explanations.pipeline.explainer import EXPLAINERS, Explained, ExplanationError
from explanations.pipeline.language_models import LanguageModelError, Usage
from explanations.pipeline.records import (
    ActivationRecord,
    Failure,
    Kind,
    NeuronId,
    NeuronRecord,
    Split,
    split_records,
    split_top,
)
from explanations.pipeline.run import PipelineError, reexplain
from explanations.pipeline.simulator import SIMULATORS, Simulate, Simulated, SimulationError
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.pipeline.real_baseline import PUBLISHED, Published


def make_record(top: int = 20, random: int = 20) -> NeuronRecord:
    """Return a record in which every excerpt holds a token of its own, so that one can tell who saw which."""

    def excerpts(kind: str, count: int) -> tuple[ActivationRecord, ...]:
        return tuple(ActivationRecord((f"{kind}{i}", "x"), np.array([count - i, 0.0])) for i in range(count))

    return NeuronRecord(NeuronId(3, 7), excerpts("top", top), excerpts("random", random))


@dataclass
class FakeExplainer:
    """An explainer that remembers what it saw."""

    name: str = "fake explainer"
    description: str = ""
    cost: str = ""
    prompt_version: str = "v1"
    is_baseline: bool = False
    seen: Sequence[ActivationRecord] = ()
    error: Exception | None = None

    def explain(self, records: Sequence[ActivationRecord]) -> Explained:
        self.seen = records
        if self.error:
            raise self.error
        return Explained("the first token", Usage(100, 10, 0.5))


def first_token(explanation: str, tokens: Sequence[str]) -> Simulated:
    assert explanation == "the first token"
    return Simulated(np.array([10.0] + [0.0] * (len(tokens) - 1)), Usage(20, 2, 0.25))


@dataclass
class FakeSimulator:
    """A simulator that remembers what it was fitted on and asked for."""

    simulate: Simulate = first_token
    name: str = "fake simulator"
    description: str = ""
    cost: str = ""
    method: str = "by rote"
    scale: str = "simulated_normalized_activations"
    fitted_on: Sequence[ActivationRecord] = ()
    asked: Sequence[Sequence[str]] = ()

    def fit(self, train: Sequence[ActivationRecord]) -> Simulate:
        self.fitted_on = train

        def simulate(explanation: str, tokens: Sequence[str]) -> Simulated:
            self.asked = [*self.asked, tokens]
            return self.simulate(explanation, tokens)

        return simulate


def failing_at(*places: int, how: Callable[[], Simulated]) -> Simulate:
    calls = iter(range(100))

    def simulate(explanation: str, tokens: Sequence[str]) -> Simulated:
        return how() if next(calls) in places else first_token(explanation, tokens)

    return simulate


def refuse() -> Simulated:
    raise SimulationError("the answer was not JSON")


def test_it_explains_and_fits_on_train_and_simulates_valid_only() -> None:
    record, explainer, simulator = make_record(), FakeExplainer(), FakeSimulator()
    reexplain(record, explainer, simulator)
    assert explainer.seen == simulator.fitted_on == split_top(record, Split.TRAIN)
    assert simulator.asked == [excerpt.tokens for _, excerpt in split_records(record, Split.VALID)]
    assert [tokens[0] for tokens in simulator.asked] == (
        ["top2", "top6", "top10", "top14", "top18", "random1", "random4", "random7", "random10", "random13"]
    )


def test_the_result_says_who_made_it_what_it_took_and_how_good_it_is() -> None:
    scored = reexplain(make_record(), FakeExplainer(), FakeSimulator())
    assert (scored.text, scored.explainer, scored.prompt_version) == ("the first token", "fake explainer", "v1")
    found = scored.simulation
    assert found is not None
    assert (found.simulator, found.method, found.scale) == (
        "fake simulator",
        "by rote",
        "simulated_normalized_activations",
    )
    assert [s.kind for s in found.sequences] == [Kind.TOP] * 5 + [Kind.RANDOM] * 5
    assert [s.scores.ev_correlation for s in found.sequences] == [pytest.approx(1)] * 10
    # Real: 18, 14, 10, 6, 2 and 19, 16, 13, 10, 7 each with a 0; simulated: 10 and 0.
    real = np.array([v for a in (18, 14, 10, 6, 2, 19, 16, 13, 10, 7) for v in (a, 0)])
    expected = np.corrcoef(real, [10, 0] * 10)[0, 1]
    assert found.scores.ev_correlation == pytest.approx(expected)
    assert found.top_only == pytest.approx(np.corrcoef(real[:10], [10, 0] * 5)[0, 1])
    assert found.random_only == pytest.approx(np.corrcoef(real[10:], [10, 0] * 5)[0, 1])
    assert (found.tokens_in, found.tokens_out, found.cost_usd) == (300, 30, 3.0)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case.record.neuron_id))
def test_the_baseline_scores_what_the_published_one_scores(case: Published) -> None:
    found = reexplain(case.record, EXPLAINERS[TOKEN_LOOKUP], SIMULATORS[TOKEN_LOOKUP]).simulation
    assert found is not None
    scores = found.scores
    assert (scores.ev_correlation, scores.rsquared, scores.absolute_dev_explained) == pytest.approx(
        case.whole, abs=1e-12
    )
    each = [np.nan if s.scores.ev_correlation is None else s.scores.ev_correlation for s in found.sequences]
    assert each == pytest.approx(case.each, abs=1e-12, nan_ok=True)


def test_progress_is_told_before_every_step() -> None:
    told: list[tuple[str, int, int]] = []
    reexplain(make_record(), FakeExplainer(), FakeSimulator(), lambda *step: told.append(step))
    assert told[:2] == [("explaining from 5 train excerpts", 0, 10), ("simulating excerpt 1 of 10", 0, 10)]
    assert told[-2:] == [("simulating excerpt 10 of 10", 9, 10), ("scoring", 10, 10)]
    assert len(told) == 12


def test_what_the_callback_raises_stops_the_run_there() -> None:
    simulator = FakeSimulator()

    def stop_at_the_third(_stage: str, done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reexplain(make_record(), FakeExplainer(), simulator, stop_at_the_third)
    assert len(simulator.asked) == 3


@pytest.mark.parametrize(
    ("top", "random", "message"),
    [
        (
            18,
            20,
            "Neuron 3:7 has 18 top and 20 random excerpts. Explaining and scoring it takes at least 19 top and 14",
        ),
        (20, 13, "Neuron 3:7 has 20 top and 13 random excerpts."),
        (0, 0, "Neuron 3:7 has no activation records, so there is nothing to explain."),
    ],
)
def test_too_few_excerpts_are_refused_with_how_many_there_are_and_should_be(
    top: int, random: int, message: str
) -> None:
    with pytest.raises(PipelineError) as refused:
        reexplain(make_record(top, random), FakeExplainer(), FakeSimulator())
    assert str(refused.value).startswith(message)


def test_the_smallest_number_of_excerpts_that_suffices_makes_complete_splits() -> None:
    found = reexplain(make_record(19, 14), FakeExplainer(), FakeSimulator()).simulation
    assert found is not None
    assert len(found.sequences) == 10


@pytest.mark.parametrize("error", [ExplanationError("nothing to say"), LanguageModelError("no answer in 60 s")])
def test_an_explainer_that_fails_says_why(error: Exception) -> None:
    with pytest.raises(PipelineError, match=str(error)):
        reexplain(make_record(), FakeExplainer(error=error), FakeSimulator())


def test_a_failed_excerpt_is_kept_with_its_reason_and_left_out_of_the_score() -> None:
    whole = reexplain(make_record(), FakeExplainer(), FakeSimulator()).simulation
    found = reexplain(make_record(), FakeExplainer(), FakeSimulator(failing_at(0, 7, how=refuse))).simulation
    assert found is not None
    assert whole is not None
    assert found.failures == (Failure(0, "the answer was not JSON"), Failure(7, "the answer was not JSON"))
    assert [s.tokens for s in found.sequences] == [s.tokens for i, s in enumerate(whole.sequences) if i not in (0, 7)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(3), "2 tokens, but simulated values of shape (3,)"),
        (np.zeros((2, 1)), "2 tokens, but simulated values of shape (2, 1)"),
        (np.array([1.0, np.nan]), "some simulated values are not finite numbers"),
        (np.array([1.0, np.inf]), "some simulated values are not finite numbers"),
    ],
)
def test_values_that_do_not_fit_their_excerpt_are_a_failure(values: np.ndarray, reason: str) -> None:
    simulator = FakeSimulator(failing_at(4, how=lambda: Simulated(values, Usage(1, 1, 0.0))))
    found = reexplain(make_record(), FakeExplainer(), simulator).simulation
    assert found is not None
    assert found.failures == (Failure(4, reason),)
    assert found.tokens_in == 100 + 9 * 20 + 1, "what a failed excerpt took is counted too"


def test_where_every_excerpt_fails_there_is_no_simulation() -> None:
    simulator = FakeSimulator(failing_at(*range(10), how=refuse))
    with pytest.raises(PipelineError, match=r"No excerpt could be simulated. The first one: the answer was not JSON"):
        reexplain(make_record(), FakeExplainer(), simulator)


def test_a_constant_simulation_has_an_undefined_score_not_zero() -> None:
    simulator = FakeSimulator(lambda _explanation, tokens: Simulated(np.full(len(tokens), 3.0)))
    found = reexplain(make_record(), FakeExplainer(), simulator).simulation
    assert found is not None
    assert (found.scores.ev_correlation, found.top_only, found.random_only) == (None, None, None)


def test_the_record_is_left_as_it_was() -> None:
    record = make_record()
    before = [excerpt.activations.copy() for excerpt in record.top]
    reexplain(replace(record), EXPLAINERS[TOKEN_LOOKUP], SIMULATORS[TOKEN_LOOKUP])
    assert all((a == b.activations).all() for a, b in zip(before, record.top, strict=True))
