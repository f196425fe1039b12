"""The simulator that asks how much likelier the explanation makes each token. A small local model is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from explanations.pipeline.language_models import NO_USAGE, LanguageModel, LanguageModelError, Usage
from explanations.pipeline.prompts import LIKELIHOOD_VERSION, likelihood_contexts, price_in_words
from explanations.pipeline.prompts.simulating import written
from explanations.pipeline.records import LEVELS, NORMALISED_SCALE, ActivationRecord, Floats
from explanations.pipeline.simulator.protocol import BatchSimulate, Outcome, Simulated, SimulationError, only_outcome

LIKELIHOOD_RATIO = "likelihood ratio"


@dataclass(frozen=True, slots=True)
class LikelihoodSimulator:
    """Takes log p(token | a list of {explanation}) - log p(token | a list of words), floored at 0 and capped at 10."""

    model: LanguageModel
    batch_size: int = 5
    scale: str = NORMALISED_SCALE
    method: str = LIKELIHOOD_RATIO
    prompt_version: str = LIKELIHOOD_VERSION

    @property
    def name(self) -> str:
        return f"{self.model.name}, {self.method}"

    @property
    def description(self) -> str:
        return "Measures how much likelier a language model finds each token in a list of what the explanation says."

    @property
    def cost(self) -> str:
        return price_in_words(self.model)

    def fit(self, _train: Sequence[ActivationRecord]) -> BatchSimulate:
        return CompareLikelihoods(self)

    def estimate(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> Usage:
        words = _distinct(excerpts)
        tokens_in = sum(
            self.model.count_tokens(f"{context}{word}")
            for context in likelihood_contexts(explanation)
            for word in words
        )
        tokens_out = 2 * len(words)
        return Usage(tokens_in, tokens_out, self.model.cost_usd(tokens_in, tokens_out), is_estimate=True)


@dataclass(slots=True)
class CompareLikelihoods:
    """Simulates excerpts; remembers each token's log-probability in each context, since tokens recur."""

    simulator: LikelihoodSimulator
    _known: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        return self.simulator.batch_size

    def __call__(self, explanation: str, tokens: Sequence[str]) -> Simulated:
        return only_outcome(self.many(explanation, [tokens]))

    def many(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> list[Outcome]:
        told, untold = likelihood_contexts(explanation)
        words = _distinct(excerpts)
        usage, failed = self._ask([(context, word) for context in (told, untold) for word in words])
        outcomes: list[Outcome] = []
        for tokens in excerpts:
            reason = next(
                (failed[pair] for t in written(tokens) for pair in ((told, t), (untold, t)) if pair in failed), None
            )
            # What all of them took together is booked on the first.
            took = NO_USAGE if outcomes else usage
            outcomes.append(
                SimulationError(reason, took) if reason else Simulated(self._ratios(told, untold, tokens), took)
            )
        return outcomes

    def _ratios(self, told: str, untold: str, tokens: Sequence[str]) -> Floats:
        # A token without characters is as likely either way.
        ratios = [self._known[told, t] - self._known[untold, t] if t else 0.0 for t in written(tokens)]
        return np.clip(np.array(ratios, dtype=np.float64), 0.0, LEVELS)

    def _ask(self, pairs: Sequence[tuple[str, str]]) -> tuple[Usage, dict[tuple[str, str], str]]:
        """Learn what is not known yet; return what it took, and why some pairs could not be learnt."""
        asked = [pair for pair in pairs if pair not in self._known]
        if not asked:
            return NO_USAGE, {}
        answers = self.simulator.model.prompt_log_probabilities_batch(
            [context + word for context, word in asked],
            top=1,
            places=[range(len(context), len(context) + len(word)) for context, word in asked],
        )
        usage, failed = NO_USAGE, {}
        for (context, word), answer in zip(asked, answers, strict=True):
            if isinstance(answer, LanguageModelError):
                failed[context, word] = str(answer)
                continue
            usage += answer.usage
            value = answer.log_probability(len(context), len(context) + len(word))
            if value is None or not np.isfinite(value):
                failed[context, word] = f"{self.simulator.model.name} does not tell how likely “{word}” is"
            else:
                self._known[context, word] = value
        return usage, failed


def _distinct(excerpts: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(token for tokens in excerpts for token in written(tokens) if token))
