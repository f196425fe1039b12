"""What the pipeline asks of a language model, whoever serves it. Explainers and simulators take one as an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


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

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out, self.cost_usd + other.cost_usd
        )


NO_USAGE = Usage()
"""What it takes to ask no language model."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote after a prompt."""

    text: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token of a prompt, and what the model expected in its place."""

    text: str
    alternatives: Mapping[str, float]
    """natural logarithms of the probabilities of the likeliest strings here; empty for the first token"""


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """A prompt as the model read it. The texts of its tokens, joined, are the prompt."""

    tokens: Sequence[PromptToken]
    usage: Usage


class LanguageModel(Protocol):
    """A language model, with its tokens counted and its price known before anything is spent."""

    @property
    def name(self) -> str:
        """Return the name that is stored with whatever the model makes."""

    def complete(self, prompt: str, *, max_tokens: int, temperature: float) -> Completion:
        """Return what the model writes after `prompt`. LanguageModelError where it cannot."""

    def prompt_log_probabilities(self, prompt: str, *, top: int) -> ScoredPrompt:
        """Return the `top` likeliest strings at every place of `prompt`. LanguageModelError where it cannot tell."""

    def count_tokens(self, text: str) -> int:
        """Return how many tokens the model reads `text` as."""

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        """Return what reading and writing so many tokens costs; 0 where it is free."""
