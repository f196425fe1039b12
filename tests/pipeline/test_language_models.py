"""The protocol's own values, estimates, secrets, and what is said without the extra [models]."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanations.pipeline.language_models import (
    Completion,
    LanguageModelError,
    Message,
    PromptToken,
    Sample,
    ScoredPrompt,
    Usage,
    loading,
)
from explanations.pipeline.language_models.estimating import estimate_tokens
from explanations.pipeline.language_models.secret import Secret
from explanations.pipeline.language_models.stops import cut_at_stop


def test_usages_add_up_and_one_estimate_makes_an_estimate() -> None:
    assert Usage(1, 2, 0.5) + Usage(10, 20, 0.25) == Usage(11, 22, 0.75)
    assert (Usage(1) + Usage(1, is_estimate=True)).is_estimate


def test_all_samples_of_a_completion() -> None:
    found = Completion("one", Usage(), is_cut_off=True, others=(Sample("two"),))
    assert found.samples == (Sample("one", True), Sample("two", False))


PLAIN = ScoredPrompt(
    [
        PromptToken("cat", {}, 0, None),
        PromptToken("\t", {"\t": -0.1}, 3, -0.1),
        PromptToken("unknown", {"0": -0.2, "10": -2.0}, 4, -9.0),
        PromptToken("\n", {"\n": -0.1}, 11, -0.25),
    ],
    Usage(),
)
MERGED = ScoredPrompt(
    [
        PromptToken("cat", {}, 0, None),
        PromptToken("\tunknown", {"\t0": -0.2, "\t10": -2.0, "\t": -5.0, " ": -1.0, "0": -3.0}, 3, -9.0),
        PromptToken("\n", {"\n": -0.1}, 11, -0.25),
    ],
    Usage(),
)


@pytest.mark.parametrize("prompt", [PLAIN, MERGED], ids=["plain", "merged"])
def test_what_was_expected_at_a_character_does_not_depend_on_the_tokenizer(prompt: ScoredPrompt) -> None:
    assert prompt.alternatives_at(4) == {"0": -0.2, "10": -2.0}


@pytest.mark.parametrize("place", [-1, 12, 99])
def test_a_character_that_is_not_in_the_prompt_is_refused(place: int) -> None:
    with pytest.raises(LanguageModelError, match=f"Character {place} is not in the prompt of 12 characters"):
        PLAIN.alternatives_at(place)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(3, 4, -0.1), (3, 11, -9.1), (5, 6, -9.0), (11, 12, -0.25), (0, 3, None), (0, 12, None), (4, 4, None)],
)
def test_the_probability_of_a_part_is_that_of_all_its_tokens(start: int, end: int, expected: float | None) -> None:
    assert PLAIN.log_probability(start, end) == (None if expected is None else pytest.approx(expected))


def test_a_character_of_several_tokens_counts_with_all_of_them() -> None:
    tokens = [PromptToken("a", {}, 0), PromptToken("😀", {}, 1, -1.0), PromptToken("", {}, 2, -2.0)]
    found = ScoredPrompt([*tokens, PromptToken("b", {}, 2, -4.0)], Usage())
    assert found.log_probability(1, 2) == -3.0
    assert found.log_probability(2, 3) == -4.0


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one. two", ["."], "one"),
        ("one. two", ["two", "e"], "on"),
        ("one", [], "one"),
        ("one", ["x"], "one"),
        ("x", ["x"], ""),
    ],
)
def test_an_answer_ends_at_the_first_stop(text: str, stop: list[str], expected: str) -> None:
    assert cut_at_stop(text, stop) == expected


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("", 0), ("cat", 1), (" cat\t3\n", 4), ("unknown\n", 2), ([Message("user", "cat")], 5), ("10", 2)],
)
def test_tokens_are_estimated(prompt: str | list[Message], tokens: int) -> None:
    assert estimate_tokens(prompt) == tokens


@given(st.text(), st.text())
def test_longer_texts_are_not_estimated_shorter(one: str, other: str) -> None:
    assert estimate_tokens(one + "\n" + other) >= max(estimate_tokens(one), estimate_tokens(other)) - 1
    assert estimate_tokens(one) <= 2 * len(one.encode())


def test_a_secret_is_shown_and_stored_nowhere() -> None:
    secret = Secret("sk-sentinel")
    shown = f"{secret} {secret!r} {[secret]} {vars(type(secret))}"
    assert "sentinel" not in shown
    assert secret.reveal() == "sk-sentinel"
    assert secret.remove_from("Bearer sk-sentinel!") == "Bearer [key]!"
    assert bool(secret)
    assert not Secret("")
    assert Secret("").remove_from("abc") == "abc"
    with pytest.raises(TypeError, match="not stored"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_without_the_libraries_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(LanguageModelError, match=r"needs torch: pip install 'neuronviewer\[models\]'"):
        loading.load_local(tmp_path)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("nowhere", "There is no folder"), ("nowhere.gguf", "There is no file"), (".", "holds no config.json")],
)
def test_a_place_without_a_model_is_told_in_words(
    name: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda _: object())
    with pytest.raises(LanguageModelError, match=complaint):
        loading.load_local(tmp_path / name)
