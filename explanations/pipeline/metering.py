"""A language model whose spending is counted while it happens, and stopped before it goes above a limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from explanations.pipeline.language_models import (
    NO_USAGE,
    Completion,
    LanguageModel,
    LanguageModelError,
    Prompt,
    ScoredPrompt,
    Usage,
)

SLACK = 1.3
"""What an estimated number of tokens is multiplied by, for the most that it may turn out to be."""


class LimitReached(Exception):  # noqa: N818  it is a decision, not a mistake
    """The next call may cost more than is left, so it was not made."""


class Meter:
    """What some calls have taken so far. Several threads may share one."""

    def __init__(self, limit_usd: float | None = None) -> None:
        self.limit_usd = limit_usd
        self._usage = NO_USAGE
        self._under_way = 0.0
        self._lock = threading.Lock()

    @property
    def usage(self) -> Usage:
        return self._usage

    @contextmanager
    def call(self, most_usd: float) -> Iterator[list[Usage]]:
        """Count one call: the body appends what it took. LimitReached where it may cost more than is left."""
        with self._lock:
            spent = self._usage.cost_usd + self._under_way
            if self.limit_usd is not None and most_usd > 0 and spent + most_usd > self.limit_usd * (1 + 1e-9):
                raise LimitReached(
                    f"${self._usage.cost_usd:.6f} of ${self.limit_usd:.6f} are spent, and the next call to the "
                    f"language model may cost ${most_usd:.6f}"
                )
            self._under_way += most_usd
        took: list[Usage] = []
        try:
            yield took
        finally:
            with self._lock:
                self._under_way = max(0.0, self._under_way - most_usd)
                self._usage = sum(took, self._usage)


class MeteredModel:
    """A language model that tells a meter of every call. In everything else it is the model that it wraps."""

    def __init__(self, model: LanguageModel, meter: Meter) -> None:
        self._model = model
        self.meter = meter

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def context_window(self) -> int | None:
        return self._model.context_window

    @property
    def can_chat(self) -> bool:
        return self._model.can_chat

    @property
    def has_prompt_log_probabilities(self) -> bool:
        return self._model.has_prompt_log_probabilities

    @property
    def counts_exactly(self) -> bool:
        return self._model.counts_exactly

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
        with self.meter.call(self._most([prompt], n * max_tokens)) as took:
            answer = self._model.complete(
                prompt, max_tokens=max_tokens, temperature=temperature, n=n, seed=seed, stop=stop
            )
            took.append(answer.usage)
        return answer

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
        with self.meter.call(self._most(prompts, n * max_tokens)) as took:
            answers = self._model.complete_batch(
                prompts, max_tokens=max_tokens, temperature=temperature, n=n, seed=seed, stop=stop, until=until
            )
            took += [answer.usage for answer in answers if not isinstance(answer, LanguageModelError)]
        return answers

    def prompt_log_probabilities(self, prompt: str, *, top: int, places: Sequence[int] | None = None) -> ScoredPrompt:
        with self.meter.call(self._most([prompt], 1)) as took:
            answer = self._model.prompt_log_probabilities(prompt, top=top, places=places)
            took.append(answer.usage)
        return answer

    def prompt_log_probabilities_batch(
        self, prompts: Sequence[str], *, top: int, places: Sequence[Sequence[int]] | None = None
    ) -> list[ScoredPrompt | LanguageModelError]:
        with self.meter.call(self._most(prompts, 1)) as took:
            answers = self._model.prompt_log_probabilities_batch(prompts, top=top, places=places)
            took += [answer.usage for answer in answers if not isinstance(answer, LanguageModelError)]
        return answers

    def count_tokens(self, prompt: Prompt) -> int:
        return self._model.count_tokens(prompt)

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return self._model.cost_usd(tokens_in, tokens_out)

    def _most(self, prompts: Sequence[Prompt], written: int) -> float:
        """Return the most that asking these prompts may cost, with so many tokens written for each."""
        if not self._model.cost_usd(1_000_000, 1_000_000):
            return 0.0  # free: nothing to count
        read = sum(self._model.count_tokens(prompt) for prompt in prompts)
        slack = 1.0 if self._model.counts_exactly else SLACK
        return self._model.cost_usd(int(read * slack), written * len(prompts))
