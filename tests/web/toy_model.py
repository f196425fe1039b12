"""A priced language model that answers every question of the pipeline at once, and the settings that offer it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

from explanations import methods
from explanations.methods import ModelSource, PlannedModel
from explanations.pipeline.language_models import Completion, LanguageModelError, Prompt, Sample, Usage
from explanations.pipeline.language_models.endpoint import Price
from explanations.pipeline.language_models.estimating import estimate_tokens

SUMMARY, WRITTEN = "toy, summary", "toy, written"
PRICE = Price(tokens_in=1.0, tokens_out=10.0)
"""US dollars a million tokens: an explanation and its simulation take some cents."""


@dataclass
class ToyModel:
    """Explains every neuron alike, and expects 10 at every token that its explanation names."""

    says: str = "words about cats, such as cat and mat"
    name: str = "toy"
    context_window: int | None = None
    can_chat: bool = True
    has_prompt_log_probabilities: bool = False
    counts_exactly: bool = False
    price: Price = PRICE
    before: Callable[[], None] = lambda: None
    """called before every answer"""
    asked: list[str] = field(default_factory=list)

    def complete(self, prompt: Prompt, *, n: int = 1, **_options: Any) -> Completion:
        assert not isinstance(prompt, str)
        self.before()
        question = prompt[-1].content
        self.asked.append(question)
        text = self._simulate(question) if "\nTokens: [" in question else self.says
        used = estimate_tokens(prompt), n * estimate_tokens(text)
        return Completion(text, Usage(*used, self.price.of(*used)), others=(Sample(text),) * (n - 1))

    def complete_batch(self, prompts: Sequence[Prompt], **options: Any) -> list[Completion | LanguageModelError]:
        answers: list[Completion | LanguageModelError] = []
        for prompt in prompts:
            try:
                answers.append(self.complete(prompt, **options))
            except LanguageModelError as error:
                answers.append(error)
        return answers

    def _simulate(self, question: str) -> str:
        explanation, _, rest = question.partition("\nTokens: ")
        tokens, _ = json.JSONDecoder().raw_decode(rest)
        named = [[token, 10 if token.strip() and token.strip() in explanation else len(token) % 3] for token in tokens]
        return json.dumps({"activations": named})

    def count_tokens(self, prompt: Prompt) -> int:
        return estimate_tokens(prompt)

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return self.price.of(tokens_in, tokens_out)

    def prompt_log_probabilities(self, *_arguments: object, **_options: object) -> NoReturn:
        raise LanguageModelError("toy does not tell")

    prompt_log_probabilities_batch = prompt_log_probabilities


def offer(monkeypatch: pytest.MonkeyPatch, model: ToyModel) -> ToyModel:
    """Let the installation have this model, and no other."""
    planned = PlannedModel(model.name, price=model.price)
    monkeypatch.setattr(methods, "SOURCES", [ModelSource("A toy", lambda: planned, lambda: "", lambda: model)])
    return model
