"""What the pipeline asks of a language model, whoever serves it. Explainers and simulators take one as an argument."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias


class LanguageModelError(Exception):
    """The model could not answer; the message says why, in words for the person who asked."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What some work took."""

    tokens_in: int = 0
    """tokens read"""
    tokens_out: int = 0
    """tokens written"""
    cost_usd: float = 0.0
    is_estimate: bool = False
    """some of it was not told by the server but estimated, so it is to be shown with "about" """

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.cost_usd + other.cost_usd,
            self.is_estimate or other.is_estimate,
        )


NO_USAGE = Usage()
"""What it takes to ask no language model."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. Where the last one is the assistant's, the model goes on with it."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt: TypeAlias = str | Sequence[Message]
"""Raw text that the model goes on with, or a conversation that it answers.

A model that cannot converse reads a conversation's texts with a blank line between them; one that can only converse
reads a raw text as the person's only message. `LanguageModel.can_chat` tells which form suits it.
"""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote after a prompt."""

    text: str
    usage: Usage
    """what the prompt and all its samples took"""
    is_cut_off: bool = False
    """it wrote as many tokens as it was allowed, and was not done"""
    others: tuple[Sample, ...] = ()
    """the further samples, where several were asked for"""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Return every sample, the first included."""
        return (Sample(self.text, self.is_cut_off), *self.others)


@dataclass(frozen=True, slots=True)
class Sample:
    """One of several answers to the same prompt."""

    text: str
    is_cut_off: bool = False


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token of a prompt, and what the model expected in its place."""

    text: str
    """the characters that begin in it; empty where it only ends a character that an earlier token begins"""
    alternatives: Mapping[str, float]
    """natural logarithms of the probabilities of the likeliest strings here; empty for a token that nothing precedes"""
    start: int = 0
    """where it begins in the prompt, in characters"""
    log_probability: float | None = None
    """its own; None for a token that nothing precedes, or where nobody asked"""

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def has_part_in(self, start: int, end: int) -> bool:
        if self.text:
            return self.start < end and self.end > start
        return start < self.start <= end  # it holds the last bytes of the character before


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """A prompt as the model read it. The texts of its tokens, joined, are the prompt."""

    tokens: Sequence[PromptToken]
    usage: Usage

    def alternatives_at(self, place: int) -> Mapping[str, float]:
        """Return what the model expected to begin at this character, wherever its tokenizer cuts the prompt.

        Where the token that holds the character begins before it (a tokenizer that merges "unknown" with the tab in
        front), only strings that begin as that token does are returned, without that beginning.
        """
        # By halving: a prompt has a thousand tokens, and is asked at every token of an excerpt.
        index = bisect_right(self.tokens, place, key=lambda token: token.end)
        if index == len(self.tokens) or place < 0:
            raise LanguageModelError(f"Character {place} is not in the prompt of {self.tokens[-1].end} characters.")
        token = self.tokens[index]
        merged = token.text[: place - token.start]
        return {
            text[len(merged) :]: value
            for text, value in token.alternatives.items()
            if text.startswith(merged) and text != merged
        }

    def log_probability(self, start: int, end: int) -> float | None:
        """Return the sum over all tokens with a part in these characters; None where one of them has none."""
        values = [token.log_probability for token in self.tokens if token.has_part_in(start, end)]
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) else None


class LanguageModel(Protocol):
    """A language model, with its tokens counted and its price known before anything is spent."""

    @property
    def name(self) -> str:
        """Return the name that is stored with whatever the model makes."""

    @property
    def context_window(self) -> int | None:
        """Return how many tokens it reads and writes in all; None where nobody said."""

    @property
    def can_chat(self) -> bool:
        """Return whether it was made to answer conversations, rather than only to go on with a text."""

    @property
    def has_prompt_log_probabilities(self) -> bool:
        """Return whether it tells what it expected inside a prompt. May ask a server, once. LanguageModelError."""

    @property
    def counts_exactly(self) -> bool:
        """Return whether `count_tokens` is exact; an estimate is to be shown with "about"."""

    def complete(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Completion:
        """Return what the model writes after `prompt`, up to the first of the `stop` strings, without it.

        With `n` above 1 the further samples are in `others`. The same seed gives the same samples, as far as whoever
        serves the model keeps that. LanguageModelError where it cannot answer.
        """

    def complete_batch(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        temperature: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        stop: Sequence[str] = (),
        until: Sequence[Callable[[str], bool]] = (),
    ) -> list[Completion | LanguageModelError]:
        """Return the same as `complete` for many prompts at once; an error stands in the place of its prompt.

        `until` tells of each prompt whether what was written so far is enough. A model that can look at its answer as
        it writes stops there; another may write on.

        What the prompts share at their beginning, among each other or with earlier ones, is computed once where the
        model can.
        """

    def prompt_log_probabilities(self, prompt: str, *, top: int, places: Sequence[int] | None = None) -> ScoredPrompt:
        """Return the `top` likeliest strings, and each token's own probability, within `prompt`.

        With `places` (in characters) the model need tell them only at the tokens that hold these; the others may
        come without. LanguageModelError where it cannot tell.
        """

    def prompt_log_probabilities_batch(
        self, prompts: Sequence[str], *, top: int, places: Sequence[Sequence[int]] | None = None
    ) -> list[ScoredPrompt | LanguageModelError]:
        """Return the same for many prompts at once; an error stands in the place of its prompt."""

    def count_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens the model reads `prompt` as."""

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        """Return what reading and writing so many tokens costs; 0 where it is free."""
