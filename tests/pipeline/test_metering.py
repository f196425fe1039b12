from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from explanations.pipeline.language_models import (
    Completion,
    LanguageModel,
    LanguageModelError,
    Prompt,
    ScoredPrompt,
    Usage,
)
from explanations.pipeline.metering import LimitReached, Meter, MeteredModel


class PricedModel:
    """A tenth of a dollar a token read, a dollar a token written; a word is a token."""

    name = "priced"
    context_window = 100
    can_chat = False
    has_prompt_log_probabilities = True

    def __init__(self, price: float = 1.0, counts_exactly: bool = True) -> None:
        self.price = price
        self.counts_exactly = counts_exactly
        self.calls: list[object] = []

    def complete(self, prompt: Prompt, *, max_tokens: int, n: int = 1, **_options: Any) -> Completion:
        self.calls.append(prompt)
        if prompt == "fail":
            raise LanguageModelError("no")
        return Completion("word", Usage(self.count_tokens(prompt), n, self.cost_usd(self.count_tokens(prompt), n)))

    def complete_batch(self, prompts: Sequence[Prompt], **_options: Any) -> list[Completion | LanguageModelError]:
        return [LanguageModelError("no") if p == "fail" else self.complete(p, **_options) for p in prompts]

    def prompt_log_probabilities(self, prompt: str, **_options: Any) -> ScoredPrompt:
        self.calls.append(prompt)
        return ScoredPrompt((), Usage(self.count_tokens(prompt), 0, self.cost_usd(self.count_tokens(prompt), 0)))

    def prompt_log_probabilities_batch(self, prompts: Sequence[str], **_options: Any) -> list[Any]:
        return [self.prompt_log_probabilities(prompt) for prompt in prompts]

    def count_tokens(self, prompt: Prompt) -> int:
        assert isinstance(prompt, str)
        return len(prompt.split())

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return self.price * (tokens_in * 0.1 + tokens_out)


def metered(limit: float | None, model: PricedModel | None = None) -> tuple[LanguageModel, PricedModel, Meter]:
    model, meter = model or PricedModel(), Meter(limit)
    return MeteredModel(model, meter), model, meter


def test_what_every_kind_of_call_takes_is_added_up() -> None:
    model, _, meter = metered(None)
    model.complete("a b", max_tokens=5, n=2)
    model.complete_batch(["a", "fail", "a b c"], max_tokens=5)
    model.prompt_log_probabilities("a b c d", top=3)
    model.prompt_log_probabilities_batch(["a", "b"], top=3)
    assert (meter.usage.tokens_in, meter.usage.tokens_out) == (2 + 1 + 3 + 4 + 2, 2 + 2)
    assert meter.usage.cost_usd == pytest.approx(12 * 0.1 + 4)


def test_a_call_that_may_go_above_the_limit_is_not_made() -> None:
    model, wrapped, meter = metered(3.2)
    model.complete("a b", max_tokens=3)
    assert meter.usage.cost_usd == pytest.approx(1.2)
    with pytest.raises(LimitReached, match=r"\$1\.200000 of \$3\.200000 are spent.*may cost \$2\.100000"):
        model.complete("a", max_tokens=2)
    assert wrapped.calls == ["a b"]
    model.complete("a b c", max_tokens=1)


def test_a_batch_counts_as_a_whole() -> None:
    model, wrapped, _ = metered(2.0)
    with pytest.raises(LimitReached):
        model.complete_batch(["a", "b"], max_tokens=1)
    with pytest.raises(LimitReached):
        model.complete("a", max_tokens=1, n=2)
    assert wrapped.calls == []


def test_where_tokens_are_estimated_a_margin_is_left() -> None:
    model, _, _ = metered(2.0, PricedModel(counts_exactly=False))
    with pytest.raises(LimitReached):
        model.complete("a " * 9, max_tokens=1)
    model.complete("a " * 7, max_tokens=1)


def test_a_model_without_price_is_never_stopped() -> None:
    model, _, meter = metered(0.0, PricedModel(price=0))
    model.complete("a", max_tokens=1)
    assert meter.usage == Usage(1, 1, 0.0)


def test_a_call_that_fails_leaves_nothing_under_way() -> None:
    model, _, meter = metered(1.1)
    for _ in range(3):
        with pytest.raises(LanguageModelError):
            model.complete("fail", max_tokens=1)
    model.complete("a", max_tokens=1)
    assert meter.usage.cost_usd == pytest.approx(1.1)


def test_calls_under_way_count_against_the_limit() -> None:
    meter = Meter(1.0)
    reached, go_on = threading.Event(), threading.Event()

    def call() -> None:
        with meter.call(0.8) as took:
            reached.set()
            go_on.wait(timeout=30)
            took.append(Usage(cost_usd=0.3))

    thread = threading.Thread(target=call)
    thread.start()
    assert reached.wait(timeout=30)
    with pytest.raises(LimitReached), meter.call(0.5):
        pass
    go_on.set()
    thread.join(timeout=30)
    with meter.call(0.5):
        pass


def test_in_everything_else_it_is_the_model_that_it_wraps() -> None:
    model, wrapped, _ = metered(None)
    for name in ("name", "context_window", "can_chat", "has_prompt_log_probabilities", "counts_exactly"):
        assert getattr(model, name) == getattr(wrapped, name)
    assert (model.count_tokens("a b"), model.cost_usd(10, 1)) == (2, 2.0)
