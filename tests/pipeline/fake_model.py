"""A language model that answers from a script: no torch, no network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from explanations.pipeline.language_models import (
    Completion,
    LanguageModelError,
    Prompt,
    PromptToken,
    Sample,
    ScoredPrompt,
    Usage,
)

Tokenise = Callable[[str], list[str]]


def words(text: str) -> list[str]:
    """Cut as GPT-2 roughly does: words and numbers whole, everything else by itself."""
    return re.findall(r"\d+|[^\W\d]+|.", text, re.DOTALL)


def digits(text: str) -> list[str]:
    return re.findall(r"\d|[^\W\d]+|.", text, re.DOTALL)


def tab_merged(text: str) -> list[str]:
    """Merge a tab with what follows it, and line breaks with what stands before them."""
    return re.findall(r"\t?(?:\d+|[^\W\d]+|.)\n?", text, re.DOTALL)


def token_merged(text: str) -> list[str]:
    """Merge a whole line: token, tab and "unknown" are one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def characters(text: str) -> list[str]:
    return list(text)


Expect = Callable[[str], Mapping[str, float]]
"""From the text before a place to the probabilities of what begins there."""


def by_token(levels: Mapping[str, Mapping[str, float]]) -> Expect:
    """Expect, in a line that begins with a token and a tab, what the token says; elsewhere a 0."""

    def expect(before: str) -> Mapping[str, float]:
        token = before.rpartition("\n")[2].removesuffix("\t")
        return levels.get(token, {"0": 1.0})

    return expect


@dataclass
class FakeModel:
    """Answers `answers` in turn, and expects what `expect` says inside prompts."""

    answers: Sequence[str | Exception | Completion] = ()
    expect: Expect = field(default=by_token({}))
    tokenise: Tokenise = words
    name: str = "fake"
    context_window: int | None = None
    can_chat: bool = True
    has_prompt_log_probabilities: bool = True
    counts_exactly: bool = True
    price: float = 0.0
    asked: list[Prompt] = field(default_factory=list)
    options: list[dict[str, object]] = field(default_factory=list)
    misread: Callable[[list[PromptToken]], list[PromptToken]] = lambda tokens: tokens

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
        self.asked.append(prompt)
        self.options.append(
            {"max_tokens": max_tokens, "temperature": temperature, "n": n, "seed": seed, "stop": tuple(stop)}
        )
        first, *others = [self._next() for _ in range(n)]
        usage = Usage(self.count_tokens(prompt), 7 * n, self.price)
        return Completion(
            first.text, usage, first.is_cut_off, tuple(Sample(other.text, other.is_cut_off) for other in others)
        )

    def _next(self) -> Sample:
        if not self.answers:
            raise AssertionError("the model was asked once more than the test expects")
        answer, *self.answers = self.answers
        if isinstance(answer, Exception):
            raise answer
        return Sample(answer) if isinstance(answer, str) else Sample(answer.text, answer.is_cut_off)

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
        found: list[Completion | LanguageModelError] = []
        for prompt in prompts:
            try:
                found.append(
                    self.complete(prompt, max_tokens=max_tokens, temperature=temperature, n=n, seed=seed, stop=stop)
                )
            except LanguageModelError as error:
                found.append(error)
        return found

    def prompt_log_probabilities(self, prompt: str, *, top: int, places: Sequence[int] | None = None) -> ScoredPrompt:
        self.asked.append(prompt)
        tokens = list(self._score(prompt, top, places or ()))
        return ScoredPrompt(self.misread(tokens), Usage(len(tokens), 1, self.price))

    def prompt_log_probabilities_batch(
        self, prompts: Sequence[str], *, top: int, places: Sequence[Sequence[int]] | None = None
    ) -> list[ScoredPrompt | LanguageModelError]:
        found: list[ScoredPrompt | LanguageModelError] = []
        for prompt, of_prompt in zip(prompts, places or [()] * len(prompts), strict=True):
            try:
                found.append(self.prompt_log_probabilities(prompt, top=top, places=of_prompt))
            except LanguageModelError as error:
                found.append(error)
        return found

    def _score(self, prompt: str, top: int, places: Iterable[int]) -> Iterable[PromptToken]:
        start, asked = 0, set(places)
        for text in self.tokenise(prompt):
            inside = [place for place in asked if start <= place < start + len(text)]
            alternatives: dict[str, float] = {}
            # What begins at an asked place is known; the token's own beginning stands before each of its strings.
            for place in inside[:1]:
                likely = sorted(self.expect(prompt[:place]).items(), key=lambda item: -item[1])[:top]
                alternatives = {prompt[start:place] + string: math.log(p) for string, p in likely}
            yield PromptToken(text, alternatives, start, None)
            start += len(text)

    def count_tokens(self, prompt: Prompt) -> int:
        if isinstance(prompt, str):
            return len(self.tokenise(prompt))
        return sum(len(self.tokenise(message.content)) + 4 for message in prompt)

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return self.price * (tokens_in + 2 * tokens_out) / 1e6
