from __future__ import annotations

import numpy as np
import pytest

from explanations.pipeline.explainer import (
    ExplanationError,
    LanguageModelExplainer,
    Sampling,
    SamplingExplainer,
    language_model_explainers,
)
from explanations.pipeline.explainer.language_model import read_explanation
from explanations.pipeline.language_models import LanguageModelError, Usage
from explanations.pipeline.prompts import PAIRS, SUMMARY, TOKEN_LIST, ExplanationStyle, Mistake, revision_prompt
from explanations.pipeline.records import ActivationRecord
from tests.pipeline.fake_model import FakeModel

RECORDS = [ActivationRecord(("A", f" cat{i}", "."), np.array([0.0, 5.0 - i, 0.0])) for i in range(5)]
MISTAKES = [
    Mistake(("Blue", " sky"), np.array([0, 9 - i], dtype=np.int8), np.array([7, 0], dtype=np.int8)) for i in range(3)
]


@pytest.mark.parametrize("style", [PAIRS, SUMMARY, TOKEN_LIST], ids=lambda style: style.name)
def test_it_asks_its_prompt_and_takes_the_answer(style: ExplanationStyle) -> None:
    model = FakeModel([" words for cats.\n"])
    found = LanguageModelExplainer(model, style).explain(RECORDS)
    assert found.text == "words for cats"
    assert found.shown == 5
    assert model.asked == [style.build(RECORDS, 0).as_messages()]
    assert model.options == [{"max_tokens": 60, "temperature": 1.0, "n": 1, "seed": None, "stop": ()}]
    assert found.usage == Usage(model.count_tokens(model.asked[0]), 7)


def test_a_model_that_only_goes_on_with_a_text_is_stopped_at_the_end_of_the_line() -> None:
    model = FakeModel(["words for cats"], can_chat=False)
    LanguageModelExplainer(model, PAIRS).explain(RECORDS)
    assert model.asked == [PAIRS.build(RECORDS, 0).as_text()]
    assert model.options[0]["stop"] == ("\n",)


def test_several_candidates_are_had_at_once_and_none_twice() -> None:
    model = FakeModel(["cats", "dogs.", "...", "cats", " Dogs"], price=0.5)
    sampling = Sampling(n=5, temperature=0.7, max_tokens=40, seed=11)
    found = LanguageModelExplainer(model, SUMMARY).candidates(RECORDS, sampling)
    assert found.texts == ("cats", "dogs", "Dogs")
    assert found.rejected == ("The model's answer holds no explanation.",)
    assert model.options == [{"max_tokens": 40, "temperature": 0.7, "n": 5, "seed": 11, "stop": ()}]
    assert (found.usage.tokens_out, found.usage.cost_usd) == (35, 0.5)


def test_excerpts_that_do_not_fit_are_left_out_and_counted() -> None:
    explainer = LanguageModelExplainer(FakeModel(["cats"], can_chat=False), PAIRS)
    whole, shorter = (explainer.model.count_tokens(PAIRS.build(RECORDS[:n], 0).as_text()) for n in (5, 3))
    assert shorter < whole
    explainer = LanguageModelExplainer(FakeModel(["cats"], can_chat=False, context_window=shorter + 60), PAIRS)
    found = explainer.explain(RECORDS)
    assert found.shown == 3
    assert explainer.model.asked == [PAIRS.build(RECORDS[:3], 0).as_text()]


def test_a_window_too_small_for_the_best_excerpt_is_told_with_the_figures() -> None:
    explainer = LanguageModelExplainer(FakeModel(context_window=100), PAIRS)
    with pytest.raises(ExplanationError, match=r"The shortest prompt is .* more than the 100 that fake reads"):
        explainer.explain(RECORDS)


def test_no_excerpts_are_told() -> None:
    with pytest.raises(ExplanationError, match="no excerpts"):
        LanguageModelExplainer(FakeModel(), SUMMARY).explain([])


def test_a_revision_shows_the_explanation_and_its_mistakes() -> None:
    model = FakeModel(["A better explanation of neuron 4 behavior: the main thing this neuron does is find the sky"])
    found = LanguageModelExplainer(model, PAIRS).revise(RECORDS, "cats", MISTAKES, Sampling(n=3, seed=4))
    assert found.text == "the sky"
    assert found.shown == 5
    assert model.asked == [revision_prompt(RECORDS, "cats", MISTAKES).as_messages()]
    assert model.options[0] | {"n": 1, "seed": 4} == model.options[0], "one answer, however many candidates there were"


@pytest.mark.parametrize(("excerpts", "mistakes"), [(5, 3), (5, 2), (5, 1), (4, 1), (1, 1)])
def test_a_revision_too_long_drops_the_least_mistakes_then_the_last_excerpts(excerpts: int, mistakes: int) -> None:
    fitting = revision_prompt(RECORDS[:excerpts], "cats", MISTAKES[:mistakes]).as_text()
    window = FakeModel().count_tokens(fitting) + 60
    model = FakeModel(["the sky"], can_chat=False, context_window=window)
    found = LanguageModelExplainer(model, PAIRS).revise(RECORDS, "cats", MISTAKES, Sampling())
    assert model.asked == [fitting]
    assert found.shown == excerpts


@pytest.mark.parametrize("n", [1, 4])
def test_the_estimate_is_what_the_prompt_and_the_longest_answers_cost(n: int) -> None:
    model = FakeModel(price=3.0)
    found = LanguageModelExplainer(model, PAIRS).estimate(RECORDS, Sampling(n=n, max_tokens=50))
    tokens = model.count_tokens(PAIRS.build(RECORDS, 0).as_messages())
    assert found == Usage(tokens, 50 * n, 3.0 * (tokens + 100 * n) / 1e6, is_estimate=True)
    assert model.asked == []


@pytest.mark.parametrize(
    ("answer", "explanation"),
    [
        (" words for cats.", "words for cats"),
        ("\n\n  words for cats\nNeuron 5\nActivations:", "words for cats"),
        ("The main thing this neuron does is find words for cats.", "words for cats"),
        ("Explanation of neuron 4 behavior: the main thing this neuron does is find cats", "cats"),
        ("Explanation: cats", "cats"),
        ('"cats"', "cats"),
        ('"cats" and "dogs"', '"cats" and "dogs"'),
        ("<think>Maybe cats?\nOr dogs.</think>\ncats", "cats"),
        ("find <b>tags</b>", "find <b>tags</b>"),
        ("numbers that\tare  times\x00", "numbers that are times"),
        ("findings in reports", "findings in reports"),
    ],
)
def test_the_explanation_is_read_out_of_the_answer(answer: str, explanation: str) -> None:
    assert read_explanation(answer) == explanation


@pytest.mark.parametrize(
    "answer", ["", "\n \n", "...", '""', "The main thing this neuron does is find", "<think>x</think>"]
)
def test_an_answer_without_an_explanation_is_refused(answer: str) -> None:
    with pytest.raises(ExplanationError, match="holds no explanation"):
        read_explanation(answer)


def test_what_the_model_says_of_its_failure_goes_up() -> None:
    with pytest.raises(LanguageModelError, match="no answer"):
        LanguageModelExplainer(FakeModel([LanguageModelError("no answer in 60 s")]), PAIRS).explain(RECORDS)


def test_a_model_can_be_used_as_three_explainers_that_name_it() -> None:
    found = language_model_explainers(FakeModel(name="gpt-x", price=2.0))
    assert {name: explainer.name for name, explainer in found.items()} == {
        "token-activation pairs": "gpt-x, token-activation pairs",
        "summary": "gpt-x, summary",
        "token list": "gpt-x, token list",
    }
    for explainer in found.values():
        assert isinstance(explainer, SamplingExplainer)
        assert explainer.description.endswith(".")
        assert explainer.cost == "$2.00 a million tokens read, $4.00 a million written"
        assert not explainer.is_baseline
    assert [explainer.prompt_version for explainer in found.values()] == ["pairs-1", "summary-1", "token-list-1"]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"max_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}])
def test_sampling_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Cannot draw"):
        Sampling(**wrong)  # type: ignore[arg-type]
