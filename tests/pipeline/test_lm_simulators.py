from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanations.pipeline.language_models import Completion, LanguageModelError, PromptToken, ScoredPrompt, Usage
from explanations.pipeline.prompts import all_at_once_prompt, json_answer, json_prompt
from explanations.pipeline.prompts.simulating import written
from explanations.pipeline.simulator import (
    BatchSimulate,
    EstimatingSimulator,
    LikelihoodSimulator,
    LogProbabilitySimulator,
    SimulationError,
    WritingSimulator,
    language_model_simulators,
)
from explanations.pipeline.simulator.levels_in_json import has_mistake, read_levels
from explanations.pipeline.simulator.log_probabilities import level_probabilities, share_of_ten, split_ten
from tests.pipeline.fake_model import (
    FakeModel,
    Tokenise,
    by_token,
    characters,
    digits,
    tab_merged,
    token_merged,
    words,
)

TOKENS = ["The", " cat", "\n", " 10", "unknown", " cat", "\t", "."]
LEVELS: dict[str, dict[str, float]] = {
    " cat": {"9": 0.6, "8": 0.2, "x": 0.2},  # renormalised: 9 x 0.75 + 8 x 0.25
    r"\n": {"0": 0.5, "10": 0.5},
    " 10": {"3": 1.0},
    "unknown": {"7": 0.1},
    ".": {"0": 0.9, "2": 0.1},
}
EXPECTED = [0, 8.75, 5, 3, 7, 8.75, 0, 0.2]


def simulate(model: FakeModel, tokens: list[str] = TOKENS, *, one_at_a_time: bool = False) -> list[float]:
    run = LogProbabilitySimulator(model, one_at_a_time=one_at_a_time).fit([])
    return run("cats", tokens).values.tolist()


@pytest.mark.parametrize("one_at_a_time", [False, True])
@pytest.mark.parametrize("tokenise", [words, tab_merged, token_merged])
def test_every_token_gets_its_expected_level_wherever_the_tokenizer_cuts(
    tokenise: Tokenise, one_at_a_time: bool
) -> None:
    model = FakeModel(expect=by_token(LEVELS), tokenise=tokenise)
    assert simulate(model, one_at_a_time=one_at_a_time) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("one_at_a_time", [False, True])
@pytest.mark.parametrize("tokenise", [digits, characters])
def test_a_ten_of_two_tokens_is_told_from_a_one_by_what_follows(tokenise: Tokenise, one_at_a_time: bool) -> None:
    def expect(before: str) -> Mapping[str, float]:
        line = before.rpartition("\n")[2]
        if line.endswith("\t1"):
            return {"0": 0.25, "\n": 0.75} if line.startswith(" cat") else {"\n": 1.0}
        return {" cat": {"1": 0.8, "2": 0.2}, ".": {"1": 1.0}}.get(line.removesuffix("\t"), {"0": 1.0})

    model = FakeModel(expect=expect, tokenise=tokenise)
    # 10 with 0.8 x 0.25, 1 with 0.8 x 0.75, 2 with 0.2: 2 + 0.6 + 0.4
    assert simulate(model, ["A", " cat", "."], one_at_a_time=one_at_a_time) == pytest.approx([0, 3.0, 1.0])
    assert len(model.asked) == (3 if one_at_a_time else 1) + 2, "asked again only where a 1 is likely"


def test_a_ten_of_one_token_costs_no_second_question() -> None:
    model = FakeModel(expect=by_token({" cat": {"1": 0.5, "10": 0.5}}))
    assert simulate(model, ["A", " cat"]) == pytest.approx([0, 5.5])
    assert len(model.asked) == 1


def test_all_at_once_is_one_prompt_an_excerpt_and_a_batch_is_asked_together() -> None:
    model = FakeModel(expect=by_token(LEVELS))
    run = LogProbabilitySimulator(model).fit([])
    assert isinstance(run, BatchSimulate)
    outcomes = run.many("cats", [["A", " cat"], ["."], []])
    assert [outcome.values.tolist() for outcome in outcomes if not isinstance(outcome, Exception)] == [
        pytest.approx([0, 8.75]),
        pytest.approx([0.2]),
        [],
    ]
    assert model.asked == [all_at_once_prompt("cats", tokens).text for tokens in (["A", " cat"], ["."], [])]


def test_a_place_without_a_number_fails_the_excerpt_with_the_token() -> None:
    model = FakeModel(expect=by_token({" cat": {"meow": 0.9, "11": 0.05, "-1": 0.05}}))
    with pytest.raises(SimulationError) as failed:
        simulate(model, ["A", " cat"])
    assert str(failed.value) == (
        "at token 2 (“ cat”) none of the numbers 0 to 10 is among what the model finds likeliest"
    )
    assert failed.value.usage.tokens_in > 0, "what the attempt took is known"


def test_only_the_fifteen_likeliest_strings_count() -> None:
    likelier = {f"w{i}": 0.06 for i in range(14)}
    model = FakeModel(expect=by_token({" cat": {**likelier, "5": 0.05, "9": 0.04}}))
    assert simulate(model, [" cat"]) == pytest.approx([5])
    more = LogProbabilitySimulator(model, likeliest=16).fit([])
    assert more("cats", [" cat"]).values.tolist() == pytest.approx([(5 * 0.05 + 9 * 0.04) / 0.09])


@pytest.mark.parametrize(
    ("misread", "reason"),
    [
        (lambda tokens: tokens[:-1], "the model read another text than it was sent, from character"),
        (
            lambda tokens: [PromptToken("X", {}, 0), *tokens[1:]],
            "the model read another text than it was sent, from character 1 on",
        ),
        (
            lambda tokens: [tokens[0], PromptToken(tokens[1].text, {}, tokens[1].start + 1), *tokens[2:]],
            "the model says that a token begins at character 4, not 3",
        ),
    ],
)
def test_a_model_that_read_something_else_fails_the_excerpt(misread: Any, reason: str) -> None:
    with pytest.raises(SimulationError, match=reason):
        simulate(FakeModel(misread=misread))


def test_one_excerpt_of_many_may_fail_alone() -> None:
    window = FakeModel().count_tokens(all_at_once_prompt("cats", ["A"] * 3).text) + 1
    short = LogProbabilitySimulator(FakeModel(context_window=window)).fit([])
    assert isinstance(short, BatchSimulate)
    first, second, third = short.many("cats", [["A"] * 3, ["A"] * 4, ["A"]])
    assert not isinstance(first, Exception)
    assert not isinstance(third, Exception)
    assert isinstance(second, SimulationError)
    assert str(second) == f"the prompt is {window + 3:,} tokens, more than the {window:,} that fake reads"


def test_a_model_without_log_probabilities_inside_prompts_is_refused_with_what_to_do() -> None:
    with pytest.raises(LanguageModelError, match=r"fake does not tell .* Use the method “written” with it"):
        simulate(FakeModel(has_prompt_log_probabilities=False))


@given(
    st.dictionaries(st.integers(0, 10), st.floats(-30, 0), min_size=1),
    st.dictionaries(st.text(max_size=3).filter(lambda s: not s.partition("\n")[0].isdigit()), st.floats(-30, 0)),
)
def test_probabilities_are_renormalised_over_the_numbers_present(
    levels: dict[int, float], others: dict[str, float]
) -> None:
    found = level_probabilities({**others, **{str(level): p for level, p in levels.items()}})
    assert set(found) == set(levels)
    assert sum(found.values()) == pytest.approx(1)
    assert all(found[a] / found[b] == pytest.approx(math.exp(levels[a] - levels[b])) for a in levels for b in levels)


def test_strings_that_end_a_line_with_a_number_are_that_number() -> None:
    found = level_probabilities(
        {"7": math.log(0.2), "7\n": math.log(0.2), "1\n0": math.log(0.1), "07": -0.1, "٣": -0.1}
    )
    assert found == pytest.approx({7: 0.8, 1: 0.2})


def test_a_one_is_shared_with_ten_by_what_follows_it() -> None:
    share = share_of_ten({"0": math.log(0.3), "0\n": math.log(0.1), "\n": math.log(0.6)})
    assert share == pytest.approx(0.4)
    assert split_ten({1: 0.5, 3: 0.5}, share) == pytest.approx({1: 0.3, 3: 0.5, 10: 0.2})
    assert split_ten({3: 1.0}, share) == {3: 1.0}


def test_what_follows_a_one_is_asked_at_three_places_and_taken_as_the_same_elsewhere() -> None:
    ones = {f"t{i}": 0.9 - i / 10 for i in range(6)}
    after = {"t0": 0.1, "t1": 0.2, "t2": 0.6}

    def expect(before: str) -> Mapping[str, float]:
        token, _, rest = before.rpartition("\n")[2].partition("\t")
        return {"0": after[token], "x": 1 - after[token]} if rest else {"1": ones[token], "2": 1 - ones[token]}

    model = FakeModel(expect=expect, tokenise=digits)
    found = simulate(model, list(ones))
    assert len(model.asked) == 4
    shares = [0.1, 0.2, 0.6, 0.3, 0.3, 0.3]
    assert found == pytest.approx(
        [p * (1 - share) + 10 * p * share + 2 * (1 - p) for p, share in zip(ones.values(), shares, strict=True)]
    )


# Written


def answer_of(*pairs: object) -> str:
    return json.dumps({"activations": list(pairs)})


RIGHT = answer_of(["A", 0], [" cat", 9.5], ["\n", 10])


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        f"```json\n{RIGHT}\n```",
        f"<think>Is it {{?</think>\n{RIGHT}",
        json.dumps([["A", 0], ["cat", 9.5], ["\n", 10]]),  # a list by itself; a space dropped
        answer_of(
            {"token": "A", "activation": 0}, {"token": " cat", "activation": 9.5}, {"token": "", "activation": 10}
        ),
    ],
)
def test_what_is_written_is_read(answer: str) -> None:
    model = FakeModel([answer], price=0.1)
    found = WritingSimulator(model).fit([])("cats", ["A", " cat", "\n"])
    assert found.values.tolist() == [0, 9.5, 10]
    assert found.usage == Usage(model.count_tokens(model.asked[0]), 7, 0.1)
    assert model.asked == [json_prompt("cats", ["A", " cat", "\n"]).as_messages()]
    assert model.options[0]["temperature"] == 0.0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The cat is active.", "the answer is not JSON: “The cat is active.”"),
        ("", "the answer is not JSON: “”"),
        (RIGHT[:-5], "the answer is not JSON"),
        ("[" * 100_000, "the answer is not JSON"),
        (Completion(RIGHT[:-5], Usage(), is_cut_off=True), "the answer was cut off"),
        ('{"levels": []}', "the answer has no list of activations"),
        ("7", "the answer has no list of activations"),
        (answer_of(["A", 0], [" cat", 9]), "the answer has activations for 2 tokens, not 3"),
        (answer_of(["A", 0], [" cat", 9], ["\n", 0], [".", 0]), "the answer has activations for 4 tokens, not 3"),
        (answer_of(["A", 0], [" dog", 9], ["\n", 0]), "at token 2 (“ cat”) the answer has “ dog” instead"),
        (answer_of(["A", 0], 9, ["\n", 0]), "at token 2 (“ cat”) the answer has no pair of token and activation"),
        (answer_of(["A", 0], [5, 9], ["\n", 0]), "at token 2 (“ cat”) the answer has no pair"),
        (answer_of(["A", 0], [" cat", 11], ["\n", 0]), "at token 2 (“ cat”) the answer has 11, not a number from 0 to"),
        (answer_of(["A", 0], [" cat", -0.1], ["\n", 0]), "the answer has -0.1, not a number"),
        (answer_of(["A", 0], [" cat", "9"], ["\n", 0]), 'the answer has "9", not a number'),
        (answer_of(["A", 0], [" cat", True], ["\n", 0]), "the answer has true, not a number"),
        (answer_of(["A", 0], [" cat", None], ["\n", 0]), "the answer has null, not a number"),
        (answer_of(["A", 0], [" cat", float("nan")], ["\n", 0]), "the answer is not JSON"),
        (answer_of(["A", 0], [" cat", 10**40], ["\n", 0]), "not a number from 0 to 10"),
    ],
)
def test_what_is_not_the_activations_of_these_tokens_is_a_failure_with_its_reason(
    answer: str | Completion, reason: str
) -> None:
    with pytest.raises(SimulationError) as failed:
        WritingSimulator(FakeModel([answer])).fit([])("cats", ["A", " cat", "\n"])
    assert str(failed.value).startswith(reason) or reason in str(failed.value)
    assert failed.value.usage.tokens_out == 7


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_answer_whatever_makes_zeros_or_a_crash(answer: str) -> None:
    with pytest.raises(SimulationError):
        WritingSimulator(FakeModel([answer])).fit([])("cats", ["A", " cat", "\n"])


WORDS = ["A", " cat", "\n", '"', "\\", "[", "], [", "\ud800"]


@given(
    st.lists(st.sampled_from(WORDS), min_size=1),
    st.sampled_from(["{}", "```json\n{}\n```", " {}", "<think>[[</think>{}"]),
)
def test_no_beginning_of_a_right_answer_is_a_mistake(tokens: list[str], form: str) -> None:
    answer = form.format(json_answer(tokens, [len(token) for token in tokens]))
    assert not any(has_mistake(answer[:end], tokens) for end in range(len(answer) + 1))
    assert read_levels(Completion(answer, Usage()), tokens).tolist() == [len(token) for token in tokens]


@given(st.data(), st.lists(st.sampled_from(WORDS), min_size=1))
def test_what_has_a_mistake_cannot_be_read_however_it_ends(data: st.DataObject, tokens: list[str]) -> None:
    pairs = [[token, 5] for token in written(tokens)]
    wrong = data.draw(st.sampled_from([["dog", 5], ["A", 11], ["A", None]]))
    place = data.draw(st.integers(0, len(tokens)))
    answer = json.dumps({"activations": [*pairs[:place], wrong, *pairs[place + 1 :]]})
    seen = [end for end in range(len(answer) + 1) if has_mistake(answer[:end], tokens)]
    assert seen[0] == len(json.dumps({"activations": [*pairs[:place], wrong]})) - 2
    with pytest.raises(SimulationError) as early:
        read_levels(Completion(answer[: seen[0]], Usage()), tokens)
    with pytest.raises(SimulationError) as late:
        read_levels(Completion(answer, Usage()), tokens)
    if place < len(tokens):
        assert str(early.value) == str(late.value)


def test_a_written_excerpt_that_fails_leaves_the_others() -> None:
    model = FakeModel([answer_of(["A", 1]), "no", LanguageModelError("HTTP 500"), answer_of([".", 2])])
    run = WritingSimulator(model).fit([])
    assert isinstance(run, BatchSimulate)
    outcomes = run.many("cats", [["A"], ["B"], ["C"], ["."]])
    assert [str(o) if isinstance(o, Exception) else o.values.tolist() for o in outcomes] == [
        [1],
        "the answer is not JSON: “no”",
        "HTTP 500",
        [2],
    ]


def test_a_prompt_with_its_answer_too_long_for_the_window_is_not_asked() -> None:
    model = FakeModel(context_window=100)
    with pytest.raises(SimulationError, match=r"more than the 100 tokens of fake"):
        WritingSimulator(model).fit([])("cats", ["A"])
    assert model.asked == []


# Likelihood ratio


class Telling(FakeModel):
    """Says how likely each token is by the context before it."""

    def prompt_log_probabilities(self, prompt: str, **_options: object) -> ScoredPrompt:  # type: ignore[override]
        self.asked.append(prompt)
        context, _, word = prompt.partition(":")
        told = "cats" in context
        values = {" cat": -1.0 if told else -6.0, " dog": -9.0 if told else -7.0, "!": -1.0 if told else -30.0}
        if word == " bad":
            raise LanguageModelError("HTTP 500")
        known = values.get(word, -5.0) if word != " untold" else None
        tokens = [PromptToken(context, {}), PromptToken(":", {}, len(context), -0.1)]
        return ScoredPrompt([*tokens, PromptToken(word, {}, len(context) + 1, known)], Usage(3, 1))


def test_the_likelihood_ratio_is_floored_at_zero_and_capped_at_ten() -> None:
    model = Telling()
    found = LikelihoodSimulator(model).fit([])("cats", [" cat", " dog", "!", " tree", "", " cat"])
    assert found.values.tolist() == [5, 0, 10, 0, 0, 5]
    assert found.usage.tokens_in == 24, "each of four tokens in two contexts once"


def test_a_token_is_asked_for_once_in_each_context() -> None:
    model = Telling()
    run = LikelihoodSimulator(model).fit([])
    run("cats", [" cat", " tree"])
    asked = len(set(model.asked))
    run("cats", [" tree", " cat"])
    assert len(set(model.asked)) == asked == 4
    run("dogs", [" cat"])
    assert len(set(model.asked)) == 5, "the context without an explanation is known"


@pytest.mark.parametrize(
    ("token", "reason"), [(" bad", "HTTP 500"), (" untold", "fake does not tell how likely “ untold” is")]
)
def test_a_token_without_a_likelihood_fails_its_excerpt_only(token: str, reason: str) -> None:
    run = LikelihoodSimulator(Telling()).fit([])
    assert isinstance(run, BatchSimulate)
    first, second = run.many("cats", [[" cat", token], [" cat"]])
    assert isinstance(first, SimulationError)
    assert str(first) == reason
    assert not isinstance(second, Exception)
    assert second.values.tolist() == [5]


# All of them


def test_a_model_can_be_used_as_four_simulators_that_name_it() -> None:
    found = language_model_simulators(FakeModel(name="m"))
    assert {method: simulator.name for method, simulator in found.items()} == {
        "all at once": "m, all at once",
        "one at a time": "m, one at a time",
        "likelihood ratio": "m, likelihood ratio",
        "written": "m, written",
    }
    for method, simulator in found.items():
        assert isinstance(simulator, EstimatingSimulator)
        assert simulator.method == method
        assert simulator.description.endswith(".")
        assert simulator.cost == "no cost a token"
        assert simulator.prompt_version


def test_a_model_that_tells_nothing_inside_prompts_can_only_write() -> None:
    assert list(language_model_simulators(FakeModel(has_prompt_log_probabilities=False))) == ["written"]


@pytest.mark.parametrize("method", ["all at once", "one at a time", "likelihood ratio"])
def test_the_estimate_is_near_what_it_takes_and_asks_nothing(method: str) -> None:
    model = FakeModel()
    simulator = language_model_simulators(model)[method]
    excerpts = [["A", " cat", "."], [" dog", " cat"]]
    estimate = simulator.estimate("cats", excerpts)
    assert model.asked == []
    assert estimate.is_estimate
    if method == "likelihood ratio":
        assert (estimate.tokens_in, estimate.tokens_out) == (
            sum(
                map(
                    model.count_tokens,
                    [
                        context + word
                        for context in ("A list of cats:", "A list of words:")
                        for word in ("A", " cat", ".", " dog")
                    ],
                )
            ),
            8,
        )
        return
    run = simulator.fit([])
    took = sum((run("cats", tokens).usage for tokens in excerpts), Usage())
    assert estimate.tokens_in == pytest.approx(took.tokens_in, rel=0.02)
    assert estimate.tokens_out == took.tokens_out
