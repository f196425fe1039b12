"""Choosing, revising, calibrating, estimating, and what is told of it. The plain run is in test_run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from explanations.pipeline.explainer import (
    EXPLAINERS,
    PAIRS,
    Candidates,
    Explained,
    ExplanationError,
    LanguageModelExplainer,
    Sampling,
)
from explanations.pipeline.language_models import LanguageModelError, Usage
from explanations.pipeline.prompts import Mistake
from explanations.pipeline.records import (
    NEURON_SCALE,
    NORMALISED_SCALE,
    ActivationRecord,
    Failure,
    NeuronId,
    NeuronRecord,
    Split,
    split_records,
)
from explanations.pipeline.run import (
    Candidate,
    PipelineError,
    Plan,
    Revision,
    check_excerpts,
    estimate,
    explain_simulate_score,
    judge_explanation,
    simulate_and_score,
)
from explanations.pipeline.run.plan import needed_excerpts
from explanations.pipeline.scorer import FUZZING
from explanations.pipeline.simulator import (
    SIMULATORS,
    LogProbabilitySimulator,
    Outcome,
    Simulated,
    SimulationError,
)
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.pipeline.fake_model import FakeModel, by_token

TOP_OF = {0: "train", 1: "calibration", 2: "valid", 3: "test"}
RANDOM_OF = {0: "calibration", 1: "valid", 2: "test"}


def make_record() -> NeuronRecord:
    """Return a neuron that is active at " cat" in top excerpts; every excerpt begins with the name of its split."""
    top = [
        ActivationRecord((f"{TOP_OF[i % 4]}-top{i}", " cat", " x"), np.array([0.0, 40.0 - i, 1.0])) for i in range(20)
    ]
    random = [
        ActivationRecord((f"{RANDOM_OF[i % 3]}-random{i}", " dog", " x"), np.array([0.0, 0.0, 1.0])) for i in range(15)
    ]
    return NeuronRecord(NeuronId(3, 7), tuple(top), tuple(random))


RECORD = make_record()


@dataclass
class FakeExplainer:
    """Says what it is told to, and remembers what it was asked."""

    texts: Sequence[str] = ("cats",)
    revisions: Sequence[str | Exception] = ()
    name: str = "fake explainer"
    description: str = ""
    cost: str = ""
    prompt_version: str = "v1"
    revision_version: str = "r1"
    is_baseline: bool = False
    shown: int = 5
    asked: list[tuple[str, tuple[Mistake, ...], Sampling]] = field(default_factory=list)
    sampling: Sampling | None = None

    def explain(self, records: Sequence[ActivationRecord]) -> Explained:
        raise AssertionError("it is asked for candidates")

    def candidates(self, records: Sequence[ActivationRecord], sampling: Sampling) -> Candidates:
        assert records == tuple(RECORD.top[0:20:4])
        self.sampling = sampling
        return Candidates(tuple(self.texts), Usage(100, 10, 0.5), self.shown, ("one was empty",))

    def revise(
        self, records: Sequence[ActivationRecord], text: str, mistakes: Sequence[Mistake], sampling: Sampling
    ) -> Explained:
        self.asked.append((text, tuple(mistakes), sampling))
        answer, *self.revisions = self.revisions
        if isinstance(answer, Exception):
            raise answer
        return Explained(answer, Usage(30, 3, 0.25))

    def estimate(self, records: Sequence[ActivationRecord], sampling: Sampling) -> Usage:
        return Usage(100, 10 * sampling.n, 0.5, is_estimate=True)

    def estimate_revision(
        self, records: Sequence[ActivationRecord], mistakes: Sequence[Mistake], sampling: Sampling
    ) -> Usage:
        assert len(mistakes) == 3
        return Usage(30, 3, 0.25, is_estimate=True)


def guess(explanation: str, tokens: Sequence[str]) -> Simulated:
    """Predict 10 at tokens that the explanation names, half at " x" if it is vague."""
    if explanation == "flat":
        return Simulated(np.full(len(tokens), 2.0), Usage(20, 2, 0.01))
    values = [10.0 if token.strip() in explanation.split() else 0.0 for token in tokens]
    return Simulated(np.array(values), Usage(20, 2, 0.01))


@dataclass
class FakeSimulator:
    """Simulates by `simulate`, and remembers for what."""

    simulate: Callable[[str, Sequence[str]], Simulated] = guess
    name: str = "fake simulator"
    description: str = ""
    cost: str = ""
    method: str = "by name"
    scale: str = NORMALISED_SCALE
    prompt_version: str = "s1"
    asked: list[tuple[str, str]] = field(default_factory=list)

    def fit(self, train: Sequence[ActivationRecord]) -> Callable[[str, Sequence[str]], Simulated]:
        def simulate(explanation: str, tokens: Sequence[str]) -> Simulated:
            self.asked.append((explanation, tokens[0].partition("-")[0]))
            return self.simulate(explanation, tokens)

        return simulate

    def estimate(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> Usage:
        return Usage(20 * len(excerpts), 2 * len(excerpts), 0.01 * len(excerpts), is_estimate=True)

    def splits_of(self, explanation: str) -> dict[str, int]:
        """Return how often each split's excerpts were simulated for this explanation."""
        found = [split for text, split in self.asked if text == explanation]
        return {split: found.count(split) for split in sorted(set(found))}


# Choosing


def test_the_best_of_several_is_chosen_on_calibration_and_only_it_is_scored_on_valid() -> None:
    explainer, simulator = FakeExplainer(texts=("dog", "cat", "flat")), FakeSimulator()
    sampling = Sampling(n=4, temperature=0.8, seed=5)
    found = explain_simulate_score(RECORD, explainer, simulator, plan=Plan(sampling))
    assert found.scored.text == "cat"
    assert explainer.sampling == sampling
    assert simulator.splits_of("cat") == {"calibration": 10, "valid": 10}
    assert simulator.splits_of("dog") == simulator.splits_of("flat") == {"calibration": 10}
    told = found.provenance
    assert [(c.text, c.chosen, c.excerpts_simulated) for c in told.candidates] == [
        ("dog", False, 10),
        ("cat", True, 10),
        ("flat", False, 10),
    ]
    real = np.concatenate([e.activations for _, e in split_records(RECORD, Split.CALIBRATION)])
    cats = np.array([0, 10, 0] * 5 + [0, 0, 0] * 5)
    assert told.candidates[1].calibration_score == pytest.approx(np.corrcoef(real, cats)[0, 1])
    assert told.candidates[2].calibration_score is None, "undefined, not zero"
    assert told.rejected == ("one was empty",)
    assert told.usage == Usage(100 + 40 * 20, 10 + 40 * 2, pytest.approx(0.5 + 0.4))
    assert found.scored.simulation is not None
    assert found.scored.simulation.tokens_in == told.usage.tokens_in, "what choosing took is part of the cost"


def test_an_undefined_score_never_wins_and_the_first_of_equals_does() -> None:
    found = explain_simulate_score(
        RECORD, FakeExplainer(texts=("flat", "dog")), FakeSimulator(), plan=Plan(Sampling(2))
    )
    assert found.scored.text == "dog", "even a negative score is one"
    found = explain_simulate_score(
        RECORD, FakeExplainer(texts=("a cat", "one cat")), FakeSimulator(), plan=Plan(Sampling(2))
    )
    assert found.scored.text == "a cat"


def test_one_explanation_is_neither_compared_nor_told_as_a_candidate() -> None:
    simulator = FakeSimulator()
    found = explain_simulate_score(RECORD, FakeExplainer(texts=("cat",)), simulator)
    assert simulator.splits_of("cat") == {"valid": 10}
    assert found.provenance.candidates == ()


@pytest.mark.parametrize("plan", [Plan(Sampling(n=2)), Plan(revisions=1)])
def test_an_explainer_that_always_says_the_same_has_no_candidates_and_no_revisions(plan: Plan) -> None:
    with pytest.raises(PipelineError, match="“token lookup” always says the same"):
        explain_simulate_score(RECORD, EXPLAINERS[TOKEN_LOOKUP], FakeSimulator(), plan=plan)


# Revising


def test_a_revision_is_shown_mistakes_of_test_and_kept_where_it_is_better_on_calibration() -> None:
    explainer, simulator = FakeExplainer(texts=("cat x",), revisions=["cat"]), FakeSimulator()
    plan = Plan(Sampling(seed=5), revisions=1)
    found = explain_simulate_score(RECORD, explainer, simulator, plan=plan)
    assert found.scored.text == "cat"
    [(text, mistakes, sampling)] = explainer.asked
    assert text == "cat x"
    assert sampling == Sampling(seed=6)
    # Predicting 10 at " x" errs by 10 where the neuron's level is 0, in every excerpt; the weakest top one errs at
    # " cat" too: 21 / 37 of 10 is level 5.
    assert [mistake.tokens[0] for mistake in mistakes] == ["test-top19", "test-top15", "test-top11"]
    assert mistakes[0].real.tolist() == [0, 5, 0]
    assert mistakes[0].predicted.tolist() == [0, 10, 10]
    assert simulator.splits_of("cat x") == {"calibration": 10, "test": 10}
    assert simulator.splits_of("cat") == {"calibration": 10, "valid": 10}
    [revision] = found.provenance.revisions
    assert (revision.text, revision.mistakes, revision.kept, revision.problem) == ("cat", (4, 3, 2), True, "")
    assert found.provenance.revision_prompt == "r1"
    assert found.provenance.usage.tokens_in == 100 + 30 + 40 * 20


def test_a_revision_that_is_no_better_on_calibration_is_dropped_and_told() -> None:
    explainer = FakeExplainer(texts=("cat",), revisions=["cat x", "flat"])
    simulator = FakeSimulator()
    found = explain_simulate_score(RECORD, explainer, simulator, plan=Plan(revisions=2))
    assert found.scored.text == "cat"
    assert [(r.text, r.kept) for r in found.provenance.revisions] == [("cat x", False), ("flat", False)]
    assert [text for text, _, _ in explainer.asked] == ["cat", "cat"]
    assert "valid" not in {**simulator.splits_of("cat x"), **simulator.splits_of("flat")}


def test_a_second_revision_goes_on_from_the_first() -> None:
    explainer = FakeExplainer(texts=("dog",), revisions=["cat x", "cat"])
    found = explain_simulate_score(RECORD, explainer, FakeSimulator(), plan=Plan(revisions=2))
    assert [text for text, _, _ in explainer.asked] == ["dog", "cat x"]
    assert found.scored.text == "cat"


@pytest.mark.parametrize("error", [ExplanationError("it said nothing"), LanguageModelError("HTTP 500")])
def test_a_revision_that_cannot_be_had_leaves_the_explanation_and_says_why(error: Exception) -> None:
    found = explain_simulate_score(
        RECORD, FakeExplainer(texts=("cat x",), revisions=[error]), FakeSimulator(), plan=Plan(revisions=1)
    )
    assert found.scored.text == "cat x"
    assert found.provenance.revisions == (Revision("", (4, 3, 2), None, False, str(error)),)


def test_where_there_is_no_mistake_nothing_is_asked() -> None:
    def perfect(_explanation: str, tokens: Sequence[str]) -> Simulated:
        every = [*RECORD.top, *RECORD.random]
        return Simulated(next(r.activations for r in every if r.tokens == tuple(tokens)))

    explainer = FakeExplainer()
    found = explain_simulate_score(RECORD, explainer, FakeSimulator(perfect), plan=Plan(revisions=1))
    assert explainer.asked == []
    assert found.provenance.revisions[0].problem == "there is no mistake to show"


# Calibrating


def test_a_calibrated_simulation_is_in_the_neurons_units_by_a_line_fitted_on_calibration() -> None:
    simulator = FakeSimulator()
    plain = simulate_and_score(RECORD, "cat", simulator).scored.simulation
    found = simulate_and_score(RECORD, "cat", simulator, plan=Plan(calibrate=True))
    # At the five " cat" of calibration the neuron does 39, 35, 31, 27 and 23, elsewhere 0 (15 times) or 1 (10 times).
    intercept = 10 / 25
    line = found.provenance.calibration
    assert line is not None
    assert (line.slope, line.intercept) == pytest.approx(((31 - intercept) / 10, intercept))
    assert simulator.splits_of("cat") == {"calibration": 10, "valid": 20}
    simulation = found.scored.simulation
    assert simulation is not None
    assert plain is not None
    assert (plain.scale, simulation.scale) == (NORMALISED_SCALE, NEURON_SCALE)
    assert simulation.sequences[0].simulated.tolist() == pytest.approx([intercept, 31, intercept])
    assert simulation.scores.ev_correlation == pytest.approx(plain.scores.ev_correlation)
    real = np.concatenate([s.real for s in simulation.sequences])
    values = np.where(real > 1, 31, intercept)
    assert simulation.scores.rsquared == pytest.approx(1 - ((real - values) ** 2).sum() / (real**2).sum())


def test_with_a_negative_slope_the_score_changes_its_sign() -> None:
    def reversed_guess(explanation: str, tokens: Sequence[str]) -> Simulated:
        return Simulated(10 - guess(explanation, tokens).values)

    plain = simulate_and_score(RECORD, "cat", FakeSimulator(reversed_guess)).scored.simulation
    found = simulate_and_score(RECORD, "cat", FakeSimulator(reversed_guess), plan=Plan(calibrate=True))
    assert found.provenance.calibration is not None
    assert found.provenance.calibration.slope < 0
    assert plain is not None
    assert found.scored.simulation is not None
    r, turned = plain.scores.ev_correlation, found.scored.simulation.scores.ev_correlation
    assert r is not None
    assert r < 0
    assert turned == pytest.approx(-r)


def test_where_no_calibration_excerpt_could_be_simulated_nothing_is_scored() -> None:
    def refuse(_explanation: str, tokens: Sequence[str]) -> Simulated:
        if tokens[0].startswith("calibration"):
            raise SimulationError("not JSON")
        return guess("cat", tokens)

    with pytest.raises(PipelineError, match=r"No calibration excerpt could be simulated. The first one: not JSON"):
        simulate_and_score(RECORD, "cat", FakeSimulator(refuse), plan=Plan(calibrate=True))


# Written by a person


def test_an_explanation_by_hand_is_scored_like_any_other() -> None:
    found = simulate_and_score(RECORD, "  cat\n and so on ", FakeSimulator())
    same = explain_simulate_score(RECORD, FakeExplainer(texts=("cat and so on",)), FakeSimulator())
    assert found.scored.text == "cat and so on"
    assert (found.scored.explainer, found.scored.prompt_version) == ("", "")
    assert found.scored.simulation is not None
    assert same.scored.simulation is not None
    assert found.scored.simulation.scores == same.scored.simulation.scores
    assert (found.provenance.explainer, found.provenance.sampling) == ("", None)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_explanation_is_refused(text: str) -> None:
    with pytest.raises(PipelineError, match="the text is empty"):
        simulate_and_score(RECORD, text, FakeSimulator())


def test_an_explanation_by_hand_is_not_revised() -> None:
    with pytest.raises(PipelineError, match="scored as it is"):
        simulate_and_score(RECORD, "cat", FakeSimulator(), plan=Plan(revisions=1))


def test_an_explanation_by_hand_is_judged_over_the_excerpts_it_is_scored_on() -> None:
    model = FakeModel(expect=lambda before: {" yes": 0.9 if "<<cat>>" in before[-60:] else 0.1, " no": 0.1})
    found = judge_explanation(RECORD, "cats", model, FUZZING)
    assert found.excerpts_asked == 10
    assert found.excerpts_rated == 5, "random excerpts have no strong tokens to mark"
    assert (found.told.balanced_accuracy, found.told.auc) == (1, 1)
    assert all("valid-top" in str(prompt) for prompt in model.asked)
    assert judge_explanation(RECORD, "cats", model).told.true_items == 5


# Provenance


def test_the_provenance_says_what_was_used_for_what() -> None:
    explainer = FakeExplainer(texts=("cat", "dog"), revisions=["cat x"], shown=3)
    plan = Plan(Sampling(n=2, seed=9), revisions=1, calibrate=True)
    told = explain_simulate_score(RECORD, explainer, FakeSimulator(), plan=plan).provenance
    assert [(used.split, used.purpose, used.top, used.random) for used in told.excerpts] == [
        ("train", "explain", (0, 4, 8, 12, 16), ()),
        ("calibration", "choose and calibrate", (1, 5, 9, 13, 17), (0, 3, 6, 9, 12)),
        ("test", "find mistakes", (3, 7, 11, 15, 19), (2, 5, 8, 11, 14)),
        ("valid", "score", (2, 6, 10, 14, 18), (1, 4, 7, 10, 13)),
    ]
    assert told.dropped == (12, 16)
    assert (told.explainer, told.explainer_prompt) == ("fake explainer", "v1")
    assert (told.simulator, told.simulator_prompt, told.method) == ("fake simulator", "s1", "by name")
    assert (told.sampling, told.interval_seed) == (Sampling(n=2, seed=9), 9)
    assert told.interval is not None
    assert told.interval.low <= 1
    assert told.seconds >= 0
    assert told.coverage == "10 of 10 excerpts"


def test_failures_are_told_with_what_the_score_rests_on() -> None:
    def refuse(explanation: str, tokens: Sequence[str]) -> Simulated:
        if tokens[0] in {"valid-top6", "valid-random13"}:
            raise SimulationError("not JSON", Usage(5, 5, 0.5))
        return guess(explanation, tokens)

    told = simulate_and_score(RECORD, "cat", FakeSimulator(refuse)).provenance
    assert told.coverage == "8 of 10 excerpts"
    assert told.failures == (Failure(1, "not JSON"), Failure(9, "not JSON"))
    assert told.usage == Usage(8 * 20 + 10, 8 * 2 + 10, pytest.approx(1.08)), "a failed attempt costs too"


def test_the_provenance_is_what_json_can_carry() -> None:
    explainer = FakeExplainer(texts=("flat", "cat"), revisions=["cat x"])
    plan = Plan(Sampling(n=2), revisions=1, calibrate=True)
    told = explain_simulate_score(RECORD, explainer, FakeSimulator(), plan=plan).provenance
    as_json = told.as_json()
    assert json.loads(json.dumps(as_json, allow_nan=False)) == json.loads(json.dumps(as_json))
    assert as_json["candidates"][0] == {
        "text": "flat",
        "calibration_score": None,
        "excerpts_simulated": 10,
        "chosen": False,
    }
    assert as_json["sampling"] == {"n": 2, "temperature": 1.0, "max_tokens": 60, "seed": None}
    assert as_json["calibration"].keys() == {"slope", "intercept"}
    assert as_json["usage"]["tokens_in"] == told.usage.tokens_in


# Batches and progress


@dataclass
class Batches:
    """Simulates three excerpts at once."""

    failing: Exception | None = None
    batch_size: int = 3
    asked: list[int] = field(default_factory=list)

    def __call__(self, explanation: str, tokens: Sequence[str]) -> Simulated:
        raise AssertionError("it is asked for many at once")

    def many(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> list[Outcome]:
        self.asked.append(len(excerpts))
        if self.failing and len(self.asked) == 2:
            raise self.failing
        return [guess(explanation, tokens) for tokens in excerpts]


class BatchSimulator(FakeSimulator):
    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def fit(self, train: Sequence[ActivationRecord]) -> Batches:  # type: ignore[override]
        return self.batches


def test_several_excerpts_are_simulated_at_once_with_the_same_result() -> None:
    batches, told = Batches(), []
    found = simulate_and_score(RECORD, "cat", BatchSimulator(batches), progress=lambda *step: told.append(step))
    one_by_one = simulate_and_score(RECORD, "cat", FakeSimulator()).scored.simulation
    assert found.scored.simulation is not None
    assert one_by_one is not None
    assert found.scored.simulation.scores == one_by_one.scores
    assert batches.asked == [3, 3, 3, 1]
    assert told == [
        ("simulating excerpts 1 to 3 of 10", 0, 10),
        ("simulating excerpts 4 to 6 of 10", 3, 10),
        ("simulating excerpts 7 to 9 of 10", 6, 10),
        ("simulating excerpt 10 of 10", 9, 10),
        ("scoring", 10, 10),
    ]


@pytest.mark.parametrize("error", [SimulationError("no"), LanguageModelError("no")])
def test_a_batch_that_fails_as_a_whole_fails_its_excerpts(error: Exception) -> None:
    found = simulate_and_score(RECORD, "cat", BatchSimulator(Batches(error))).provenance
    assert found.failures == (Failure(3, "no"), Failure(4, "no"), Failure(5, "no"))
    assert found.coverage == "7 of 10 excerpts"


@pytest.mark.parametrize(
    ("plan", "texts", "revisions", "total"),
    [
        (Plan(), ("cat",), (), 10),
        (Plan(calibrate=True), ("cat",), (), 20),
        (Plan(Sampling(n=3)), ("cat", "dog", "flat"), (), 40),
        (Plan(Sampling(n=3)), ("cat",), (), 20),  # three alike
        (Plan(Sampling(n=2), calibrate=True), ("cat", "dog"), (), 30),  # the chosen one is simulated there already
        (Plan(revisions=1), ("cat x",), ("cat",), 40),
        (Plan(revisions=2), ("cat x",), ("flat", "flat"), 40),  # its mistakes and the second answer are known already
        (Plan(revisions=2), ("cat x",), (ExplanationError("no"), "cat x"), 30),
    ],
)
def test_progress_ends_with_everything_done_and_never_goes_back(
    plan: Plan, texts: Sequence[str], revisions: Sequence[str | Exception], total: int
) -> None:
    told: list[tuple[str, int, int]] = []
    simulator = FakeSimulator()
    explainer = FakeExplainer(texts, revisions)
    explain_simulate_score(RECORD, explainer, simulator, plan=plan, progress=lambda *step: told.append(step))
    assert told[-1] == ("scoring", total, total)
    assert len(simulator.asked) == total
    done = [step[1] for step in told]
    assert done == sorted(done)
    assert all(before <= whole for _, before, whole in told)
    assert all(len(stage) <= 120 for stage, _, _ in told)


# Estimates


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(), Usage(100 + 200, 10 + 20, 0.6, True)),
        (Plan(calibrate=True), Usage(100 + 400, 10 + 40, 0.7, True)),
        (Plan(Sampling(n=3)), Usage(100 + 800, 30 + 80, 0.9, True)),
        # Train once; one candidate, two revisions and their mistakes; the score: 6 splits of 10 excerpts.
        (Plan(revisions=2), Usage(100 + 60 + 1200, 10 + 6 + 120, 0.5 + 0.5 + 0.6, True)),
        (Plan(revisions=2, calibrate=True), Usage(100 + 60 + 1200, 10 + 6 + 120, 0.5 + 0.5 + 0.6, True)),
    ],
)
def test_the_estimate_is_the_most_that_the_plan_takes(plan: Plan, expected: Usage) -> None:
    found = estimate(RECORD, FakeExplainer(), FakeSimulator(), plan=plan)
    assert (found.tokens_in, found.tokens_out, found.is_estimate) == (expected.tokens_in, expected.tokens_out, True)
    assert found.cost_usd == pytest.approx(expected.cost_usd)
    texts = [f"cat {i}" for i in range(plan.sampling.n)]
    explainer = FakeExplainer(texts, ["dog 1", "dog 2"])
    took = explain_simulate_score(RECORD, explainer, FakeSimulator(), plan=plan).provenance.usage
    assert took.cost_usd <= found.cost_usd + 1e-9
    assert took.tokens_in <= found.tokens_in


def test_what_needs_no_language_model_is_free() -> None:
    assert estimate(RECORD, EXPLAINERS[TOKEN_LOOKUP], SIMULATORS[TOKEN_LOOKUP]) == Usage()
    assert estimate(RECORD, None, FakeSimulator(), text="cat").tokens_in == 200


def test_an_estimate_refuses_what_the_run_would_refuse() -> None:
    with pytest.raises(PipelineError, match="has 18 top"):
        estimate(replace(RECORD, top=RECORD.top[:18]), None, FakeSimulator(), text="cat")
    explainer = LanguageModelExplainer(FakeModel(context_window=50), PAIRS)
    with pytest.raises(PipelineError, match="The shortest prompt is"):
        estimate(RECORD, explainer, FakeSimulator())


# Plans


@pytest.mark.parametrize(
    ("plan", "needed"),
    [
        (Plan(), (19, 14)),
        (Plan(calibrate=True), (19, 14)),
        (Plan(revisions=1), (20, 15)),
        (Plan(scored_on=Split.TEST), (20, 15)),
        (Plan(per_split=1), (3, 2)),
        (Plan(per_split=10), (39, 29)),
    ],
)
def test_a_plan_needs_its_splits_complete(plan: Plan, needed: tuple[int, int]) -> None:
    assert needed_excerpts(plan.splits, plan.per_split) == needed
    check_excerpts(NeuronId(0, 0), *needed, plan)
    for fewer in ((needed[0] - 1, needed[1]), (needed[0], needed[1] - 1)):
        with pytest.raises(PipelineError, match=f"at least {needed[0]} top and {needed[1]} random"):
            check_excerpts(NeuronId(0, 0), *fewer, plan)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Plan(scored_on=Split.TRAIN),
        lambda: Plan(scored_on=Split.CALIBRATION, calibrate=True),
        lambda: Plan(Sampling(n=2), scored_on=Split.CALIBRATION),
        lambda: Plan(revisions=1, scored_on=Split.TEST),
        lambda: Plan(revisions=-1),
        lambda: Plan(per_split=0),
    ],
)
def test_what_is_explained_chosen_or_revised_from_is_never_scored_on(make: Callable[[], Plan]) -> None:
    with pytest.raises(ValueError, match="Cannot"):
        make()


def test_a_language_model_explains_and_simulates_from_end_to_end() -> None:
    model = FakeModel([" cats.", " dogs."], expect=by_token({" cat": {"9": 0.5, "7": 0.5}}), name="m", price=0.001)
    plan = Plan(Sampling(n=2, seed=1))
    found = explain_simulate_score(
        RECORD, LanguageModelExplainer(model, PAIRS), LogProbabilitySimulator(model), plan=plan
    )
    assert found.scored.text == "cats"
    assert (found.scored.explainer, found.scored.prompt_version) == ("m, token-activation pairs", "pairs-1")
    simulation = found.scored.simulation
    assert simulation is not None
    assert (simulation.simulator, simulation.method) == ("m, all at once", "all at once")
    assert simulation.sequences[0].simulated.tolist() == pytest.approx([0, 8, 0])
    assert simulation.top_only == pytest.approx(
        np.corrcoef([v for i in (2, 6, 10, 14, 18) for v in (0, 40 - i, 1)], [0, 8, 0] * 5)[0, 1]
    )
    assert simulation.random_only is None
    assert found.provenance.candidates[0] == Candidate("cats", pytest.approx(0.985, abs=0.01), 10, True)
    assert found.provenance.calibration is None
    assert simulation.cost_usd == pytest.approx(0.001 * 31)
