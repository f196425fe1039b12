"""What OpenAI-compatible servers send, taken apart; whatever is not as it should be is a LanguageModelError."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from explanations.pipeline.language_models.protocol import LanguageModelError, PromptToken, Sample

PARTIAL = "\ufffd"
"""what servers show for a token that is no whole character"""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What a server says it read and wrote."""

    tokens_in: int
    tokens_out: int


def token_counts(answer: Mapping[str, Any]) -> TokenCounts | None:
    """Return what the answer says it took; None where it does not say so in numbers."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if not all(type(count) is int and count >= 0 for count in (read, written)):
        return None
    return TokenCounts(int(read or 0), int(written or 0))


def samples(answer: Mapping[str, Any]) -> list[Sample]:
    """Return what the model wrote, a sample a choice."""
    return [Sample(written_text(choice), choice.get("finish_reason") == "length") for choice in choices(answer)]


def choices(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = answer.get("choices")
    if not isinstance(found, list) or not found or not all(isinstance(choice, dict) for choice in found):
        raise LanguageModelError(
            "The language model's server answered without any choice, so there is no text. Try again, or see LLM_MODEL."
        )
    return found


def written_text(choice: Mapping[str, Any]) -> str:
    """Return a choice's text, of a conversation or of a raw text."""
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    if isinstance(text, str):
        return text
    if isinstance(message, dict) and isinstance(refusal := message.get("refusal"), str):
        raise LanguageModelError(f"The language model refused to answer: {' '.join(refusal.split())[:300]}")
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        raise LanguageModelError("The language model's server held its answer back (content filter).")
    if reason == "length":
        return ""  # a model that thinks first may use up its tokens before it says anything
    raise LanguageModelError("The language model's server answered with a choice that holds no text.")


def prompt_tokens(answer: Mapping[str, Any], prompt: str) -> list[PromptToken]:
    """Return the echoed prompt's tokens with their probabilities. LanguageModelError where they are not there."""
    told = choices(answer)[0].get("logprobs")
    told = told if isinstance(told, dict) else {}
    texts, own, top = told.get("tokens"), told.get("token_logprobs"), told.get("top_logprobs")
    if not (isinstance(texts, list) and isinstance(own, list) and isinstance(top, list)):
        raise LanguageModelError("The language model's server tells no log-probabilities of the prompt.")
    if not len(texts) == len(own) == len(top) or not all(isinstance(text, str) for text in texts):
        raise LanguageModelError("The language model's server tells log-probabilities that do not fit their tokens.")
    placed = align(prompt, texts)
    return [
        PromptToken(prompt[start:end], log_probabilities(top[i]), start, number(own[i])) for i, start, end in placed
    ]


def log_probabilities(told: object) -> dict[str, float]:
    found = told if isinstance(told, dict) else {}
    return {text: value for text, raw in found.items() if (value := number(raw)) is not None}


def number(value: object) -> float | None:
    """Return a log-probability: a finite number that is not above 0 but for rounding."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-3:
        return None
    return float(value)


def align(prompt: str, texts: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return (place in `texts`, where it begins, where it ends) for each token of the prompt.

    Control tokens that a server puts in front are left out, as is what comes after the prompt. A character that several
    tokens hold parts of (shown as U+FFFD) belongs to the first of them. LanguageModelError where the texts differ.
    """
    placed: list[tuple[int, int, int]] = []
    position = first = 0
    while first < len(texts) and not begins(prompt, texts[first]):
        first += 1
    place = first
    while place < len(texts) and position < len(prompt):
        text = texts[place]
        if prompt.startswith(text, position):
            placed.append((place, position, position + len(text)))
            position, place = position + len(text), place + 1
            continue
        end = place
        while end < len(texts) and PARTIAL in texts[end]:
            end += 1
        cuts = split_characters(prompt, position, texts[place:end], texts[end] if end < len(texts) else "")
        placed += [(place + i, a, b) for i, (a, b) in enumerate(cuts)]
        position, place = cuts[-1][1], end
    if position != len(prompt):
        raise LanguageModelError("The language model's server echoes another prompt than it was sent.")
    return placed


def begins(prompt: str, text: str) -> bool:
    """Return whether a token may be the prompt's first one, rather than one that the server put in front."""
    whole, partial, _ = text.partition(PARTIAL)
    return bool(whole or partial) and prompt.startswith(whole)


def split_characters(prompt: str, position: int, texts: Sequence[str], after: str) -> list[tuple[int, int]]:
    """Return where tokens begin and end that hold parts of characters, up to the token `after` them."""
    pattern = re.sub(f"{PARTIAL}+", "(.+?)", re.escape("".join(texts)))
    end = f"(?={re.escape(after)}|\\Z)" if after else "\\Z"
    found = re.compile(pattern + end, re.DOTALL).match(prompt, position)
    if not texts or found is None:
        raise LanguageModelError("The language model's server echoes another prompt than it was sent.")
    cuts: list[tuple[int, int]] = []
    group, is_within = 0, False
    for text in texts:
        start = position
        for character in text:
            if character == PARTIAL and not is_within:
                group += 1
                position = found.end(group)
            position += character != PARTIAL
            is_within = character == PARTIAL
        cuts.append((start, position))
    return cuts
