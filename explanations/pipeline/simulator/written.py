"""The simulator that has a language model write the activations: for models that do not tell what they expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from explanations.pipeline.language_models import Completion, LanguageModel, LanguageModelError, Usage
from explanations.pipeline.prompts import (
    JSON_VERSION,
    fits,
    json_answer,
    json_prompt,
    price_in_words,
)
from explanations.pipeline.records import NORMALISED_SCALE, ActivationRecord
from explanations.pipeline.simulator.levels_in_json import has_mistake, read_levels
from explanations.pipeline.simulator.protocol import BatchSimulate, Outcome, Simulated, SimulationError, only_outcome

WRITTEN = "written"
ROOM = 1.5
"""How many times the shortest right answer a model may write: some put each token on a line of its own."""


@dataclass(frozen=True, slots=True)
class WritingSimulator:
    """Asks for the activations as JSON, at temperature 0."""

    model: LanguageModel
    batch_size: int = 5
    scale: str = NORMALISED_SCALE
    method: str = WRITTEN
    prompt_version: str = JSON_VERSION

    @property
    def name(self) -> str:
        return f"{self.model.name}, {self.method}"

    @property
    def description(self) -> str:
        return "Has a language model write the activation of each token, from the explanation alone."

    @property
    def cost(self) -> str:
        return price_in_words(self.model)

    def fit(self, _train: Sequence[ActivationRecord]) -> BatchSimulate:
        return WriteLevels(self)

    def estimate(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> Usage:
        prompts = [json_prompt(explanation, tokens).for_model(self.model) for tokens in excerpts]
        tokens_in = sum(map(self.model.count_tokens, prompts))
        tokens_out = sum(self.answer_length(tokens) for tokens in excerpts)
        return Usage(tokens_in, tokens_out, self.model.cost_usd(tokens_in, tokens_out), is_estimate=True)

    def answer_length(self, tokens: Sequence[str]) -> int:
        """Return how many tokens the shortest right answer is."""
        return self.model.count_tokens(json_answer(tokens, [0] * len(tokens)))


@dataclass(frozen=True, slots=True)
class WriteLevels:
    """Simulates excerpts by asking a `WritingSimulator`'s model."""

    simulator: WritingSimulator

    @property
    def batch_size(self) -> int:
        return self.simulator.batch_size

    def __call__(self, explanation: str, tokens: Sequence[str]) -> Simulated:
        return only_outcome(self.many(explanation, [tokens]))

    def many(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> list[Outcome]:
        if not excerpts:
            return []
        model = self.simulator.model
        prompts = [json_prompt(explanation, tokens).for_model(model) for tokens in excerpts]
        lengths = [int(ROOM * self.simulator.answer_length(tokens)) + 20 for tokens in excerpts]
        fitting = [i for i, (p, n) in enumerate(zip(prompts, lengths, strict=True)) if fits(model, p, n)]
        answers = model.complete_batch(
            [prompts[i] for i in fitting],
            max_tokens=max((lengths[i] for i in fitting), default=1),
            temperature=0.0,
            stop=() if model.can_chat else ("\n",),
            until=[partial(has_mistake, tokens=excerpts[i]) for i in fitting],
        )
        by_place = dict(zip(fitting, answers, strict=True))
        return [self._read(tokens, by_place.get(i)) for i, tokens in enumerate(excerpts)]

    def _read(self, tokens: Sequence[str], answer: Completion | LanguageModelError | None) -> Outcome:
        if answer is None:
            model = self.simulator.model
            return SimulationError(
                f"the prompt and its answer are more than the {model.context_window:,} tokens of {model.name}"
            )
        if isinstance(answer, LanguageModelError):
            return answer
        try:
            return Simulated(read_levels(answer, tokens), answer.usage)
        except SimulationError as error:
            return SimulationError(str(error), answer.usage)
