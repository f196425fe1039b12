from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from explanations.pipeline.language_models import Message
from explanations.pipeline.prompts import (
    ALL_AT_ONCE_VERSION,
    DETECTION_VERSION,
    EXAMPLES,
    FUZZING_VERSION,
    JSON_VERSION,
    ONE_AT_A_TIME_VERSION,
    PAIRS,
    REVISION_VERSION,
    SUMMARY,
    TOKEN_LIST,
    UNKNOWN,
    Dialogue,
    Exchange,
    Mistake,
    PromptTooLongError,
    all_at_once_prompt,
    detection_prompt,
    fit,
    fuzzing_prompt,
    json_prompt,
    mark,
    one_at_a_time_prompts,
    readable_token,
    revision_prompt,
    yes_or_no_prompt,
)
from explanations.pipeline.records import ActivationRecord
from tests.pipeline.fake_model import FakeModel

WHOLE = Path(__file__).parent / "prompts"


def record(text: str, *activations: float) -> ActivationRecord:
    return ActivationRecord(tuple(text.split("|")), np.array(activations))


RECORDS = [
    record("The| cat|\n| sat| on| the| mat|.", 0, 8, 0, -1, 0, 0.1, 2, 0),
    record("No| dog|\t| <b>| here| at| all", 0, 4, 0, 0, 0, 0, 0),
]
# Of 15 levels three are above 0: 10 (8 / 8), 2 (2 / 8, floored) and 5 (4 / 8). 0.1 / 8 is below a level, -1 is none.

MISTAKES = [
    Mistake(("A", " house", " cat"), np.array([0, 0, 9], dtype=np.int8), np.array([0, 8, 0], dtype=np.int8)),
    Mistake(("Blue", " sky"), np.array([0, 0], dtype=np.int8), np.array([7, 4], dtype=np.int8)),
]


def whole(name: str) -> str:
    """Return the prompt as it was when it got its version. A changed word needs a new version, and a new file."""
    return (WHOLE / f"{name}.txt").read_text()


CASES = {
    PAIRS.version: PAIRS.build(RECORDS, 0),
    SUMMARY.version: SUMMARY.build(RECORDS, 0),
    TOKEN_LIST.version: TOKEN_LIST.build(RECORDS, 0),
    REVISION_VERSION: revision_prompt(RECORDS, "animals in houses", MISTAKES),
    JSON_VERSION: json_prompt("cats  and\ndogs", ["The", " cat", '"', "\n", "\ud800"]),
    DETECTION_VERSION: detection_prompt("cats", ["The cat sat.", "No dog here."]),
    FUZZING_VERSION: fuzzing_prompt("cats", ["The <<cat>> sat.", "No <<dog>> here."]),
}


@pytest.mark.parametrize("version", CASES)
def test_the_whole_prompt_is_what_its_version_says(version: str) -> None:
    assert CASES[version].as_text() == whole(version)


def test_the_whole_simulation_prompt_is_what_its_version_says() -> None:
    prompt = all_at_once_prompt("cats  and\ndogs", ["The", " cat", "\n", "unknown", "7"])
    assert prompt.text == whole(ALL_AT_ONCE_VERSION)
    assert [prompt.text[place:].split("\n")[0] for place in prompt.places] == [UNKNOWN] * 5


def test_the_judge_is_asked_about_one_document_before_a_yes() -> None:
    for name, marked in ((f"{DETECTION_VERSION}-one", False), (f"{FUZZING_VERSION}-one", True)):
        text, place = yes_or_no_prompt("cats", "The cat sat.", marked=marked)
        assert text == whole(name)
        assert text[place:] == " yes"


def test_the_prompts_one_at_a_time_end_where_the_next_level_is_unknown() -> None:
    everything = all_at_once_prompt("cats", ["The", " cat", "."])
    prompts = one_at_a_time_prompts("cats", ["The", " cat", "."])
    assert ONE_AT_A_TIME_VERSION == "simulate-one-1"
    assert [prompt.text.rpartition("<start>\n")[2] for prompt in prompts] == [
        "The\tunknown",
        "The\tunknown\n cat\tunknown",
        "The\tunknown\n cat\tunknown\n.\tunknown",
    ]
    assert all(everything.text.startswith(prompt.text) for prompt in prompts)
    assert tuple(prompt.places[0] for prompt in prompts) == everything.places


def test_a_model_that_converses_gets_turns_and_another_one_a_text() -> None:
    dialogue = Dialogue("Be brief.", (Exchange("One?", "1"), Exchange("Two?", "2")), "Three?")
    assert dialogue.for_model(FakeModel(can_chat=True)) == (
        Message("system", "Be brief."),
        Message("user", "One?"),
        Message("assistant", "1"),
        Message("user", "Two?"),
        Message("assistant", "2"),
        Message("user", "Three?"),
    )
    assert dialogue.for_model(FakeModel(can_chat=False)) == "Be brief.\n\nOne? 1\n\nTwo? 2\n\nThree?"


@pytest.mark.parametrize(
    ("active", "repeats"),
    [(1, True), (2, False), (0, True)],  # of 10 values: 0.1 is under 0.2, and 0.2 is not
)
def test_the_active_tokens_are_repeated_where_under_a_fifth_are_active(active: int, repeats: bool) -> None:
    asked = PAIRS.build([record("a|b|c|d|e|f|g|h|i|j", *[5.0] * active, *[0.0] * (10 - active))], 0).question
    assert ("without the zeros:" in asked) is repeats


def test_every_prompt_for_an_explanation_ends_with_the_same_words() -> None:
    for style in (PAIRS, SUMMARY, TOKEN_LIST):
        for text in (style.build(RECORDS, 0).question, *(e.asked for e in style.build(RECORDS, 0).examples)):
            assert text.endswith("behavior: the main thing this neuron does is find")


def test_a_token_is_one_line_whatever_is_in_it() -> None:
    asked = PAIRS.build([record("\n|\t|\r\n|\x00|\u2028|\ud800|<end>", 1, 1, 1, 1, 1, 1, 1)], 0).question
    assert asked.splitlines() == [
        "Neuron 4",
        "Activations:",
        "<start>",
        *[f"{token}\t10" for token in (r"\n", r"\t", r"\r\n", r"\x00", r"\u2028", r"\ud800", "<end>")],
        "<end>",
        "Explanation of neuron 4 behavior: the main thing this neuron does is find",
    ]


@pytest.mark.parametrize(
    ("tokens", "marked", "expected"),
    [
        (["a", " b", " c"], [], "a b c"),
        (["a", " b", " c"], [1], "a <<b>> c"),
        (["a", " b", " c"], [1, 2], "a <<b c>>"),
        (["a", " b", " c"], [0, 2], "<<a>> b <<c>>"),
        (["\n", "  x"], [1], r"\n  <<x>>"),
        ([], [], ""),
    ],
)
def test_neighbouring_marked_tokens_are_marked_together(
    tokens: Sequence[str], marked: Sequence[int], expected: str
) -> None:
    assert mark(tokens, marked) == expected


def test_the_token_list_draws_fifty_of_the_hundred_with_the_highest_means() -> None:
    tokens = [f"w{i}" for i in range(150)]
    many = [ActivationRecord(tuple(tokens), np.arange(150, 0, -1.0))]
    lists = [TOKEN_LIST.build(many, seed).question.splitlines()[2:-1] for seed in (1, 1, 2)]
    assert lists[0] == lists[1] != lists[2]
    assert len(lists[0]) == len(set(lists[0])) == 50
    places = [int(word[1:]) for word in lists[0]]
    assert places == sorted(places), "strongest first"
    assert max(places) < 100


def test_the_examples_are_complete_and_within_their_scale() -> None:
    for example in EXAMPLES:
        shown = [*example.excerpts, example.mistake]
        assert all(len(e.tokens) == len(e.levels) and 0 <= min(e.levels) <= max(e.levels) <= 10 for e in shown)
        assert len(example.mistaken) == len(example.mistake.tokens)
        assert max(max(e.levels) for e in example.excerpts) == 10
        assert sum(any(level >= 5 for level in e.levels) for e in example.excerpts) == 2
        assert readable_token(example.explanation) == example.explanation


def fit_in(window: int, *, exact: bool = True, least: int = 1) -> tuple[int, int]:
    """Fit up to three items of ten tokens each beside a question of ten, with ten for the answer."""
    model = FakeModel(context_window=window, can_chat=False, tokenise=str.split, counts_exactly=exact)

    def build(shown: int) -> Dialogue:
        return Dialogue("s " * 5, (), " ".join(["q"] * 5 + ["item"] * 10 * shown))

    fitted = fit(model, build, 3, least=least, max_tokens=10)
    return fitted.shown, fitted.tokens


@pytest.mark.parametrize(("window", "shown"), [(1000, 3), (50, 3), (49, 2), (40, 2), (39, 1), (30, 1)])
def test_items_that_do_not_fit_are_dropped_whole_the_last_ranked_first(window: int, shown: int) -> None:
    assert fit_in(window) == (shown, 10 + 10 * shown)


def test_a_tenth_of_the_window_is_kept_free_where_tokens_are_estimated() -> None:
    assert fit_in(55, exact=False) == (2, 30)  # 49.5 of 55 may be filled
    assert fit_in(56, exact=False) == (3, 40)


def test_a_prompt_that_does_not_fit_with_the_least_is_refused_with_the_figures() -> None:
    with pytest.raises(PromptTooLongError) as refused:
        fit_in(29)
    assert str(refused.value) == (
        "The shortest prompt is 20 tokens; with 10 for the answer that is more than the 29 that fake reads and writes."
    )
    with pytest.raises(PromptTooLongError):
        fit_in(39, least=2)
