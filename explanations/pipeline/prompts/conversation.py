"""One question with solved examples before it, for models that converse and for models that go on with a text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from explanations.pipeline.language_models import LanguageModel, Message, Prompt

ESTIMATE_MARGIN = 0.9
"""The part of its window that a prompt may fill where the model's tokens are not counted but estimated."""


class PromptTooLongError(Exception):
    """The prompt does not fit into the model's window, whatever may be left out of it; the message has the figures."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A solved example."""

    asked: str
    answered: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a model is told, shown and asked."""

    system: str
    examples: tuple[Exchange, ...]
    question: str

    def as_messages(self) -> tuple[Message, ...]:
        """Return it as a conversation in which the model speaks next."""
        turns = [Message("system", self.system)]
        for example in self.examples:
            turns += [Message("user", example.asked), Message("assistant", example.answered)]
        return (*turns, Message("user", self.question))

    def as_text(self) -> str:
        """Return it as one text; what the model writes next follows the question on its last line."""
        solved = [f"{example.asked} {example.answered}" for example in self.examples]
        return "\n\n".join([self.system, *solved, self.question])

    def for_model(self, model: LanguageModel) -> Prompt:
        return self.as_messages() if model.can_chat else self.as_text()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that the model can read whole."""

    prompt: Prompt
    shown: int
    """how many of the ranked items are in it; the others were dropped, last-ranked first"""
    tokens: int
    """how long it is, as the model counts"""


def fit(model: LanguageModel, build: Callable[[int], Dialogue], count: int, *, least: int, max_tokens: int) -> Fitted:
    """Return the prompt with as many of its `count` ranked items as the model's window holds beside the answer.

    Items are dropped whole, last-ranked first, down to `least`. PromptTooLongError where those do not fit either.
    """
    for shown in range(count, least - 1, -1):
        prompt = build(shown).for_model(model)
        tokens = model.count_tokens(prompt)
        if model.context_window is None or _left(model, tokens, max_tokens) >= 0:
            return Fitted(prompt, shown, tokens)
    raise PromptTooLongError(
        f"The shortest prompt is {tokens:,} tokens; with {max_tokens:,} for the answer that is more than the "
        f"{model.context_window:,} that {model.name} reads and writes."
    )


def fits(model: LanguageModel, prompt: Prompt, max_tokens: int) -> bool:
    """Return whether the model's window holds a prompt and its answer, as far as it is known."""
    # Counting takes a millisecond a prompt, which thousands of prompts at a time have not got.
    return model.context_window is None or _left(model, model.count_tokens(prompt), max_tokens) >= 0


def _left(model: LanguageModel, tokens: int, max_tokens: int) -> int:
    """Return how much of the model's window, which it says, a prompt and its answer leave; below 0 if none."""
    assert model.context_window is not None
    window = model.context_window if model.counts_exactly else int(model.context_window * ESTIMATE_MARGIN)
    return window - tokens - max_tokens


def price_in_words(model: LanguageModel) -> str:
    """Return what the model's tokens cost, for the person who chooses."""
    read, written = model.cost_usd(1_000_000, 0), model.cost_usd(0, 1_000_000)
    if read == written == 0:
        return "no cost a token"
    return f"${read:.2f} a million tokens read, ${written:.2f} a million written"
