"""Explainers that ask a language model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from explanations.pipeline.explainer.protocol import Candidates, Explained, ExplanationError, Sampling
from explanations.pipeline.language_models import Completion, LanguageModel, Usage
from explanations.pipeline.prompts import (
    ANSWER_BEGINS,
    REVISION_VERSION,
    SUMMARY,
    Dialogue,
    ExplanationStyle,
    Fitted,
    Mistake,
    PromptTooLongError,
    fit,
    price_in_words,
    revision_prompt,
)
from explanations.pipeline.records import ActivationRecord


@dataclass(frozen=True, slots=True)
class LanguageModelExplainer:
    """Shows a language model the excerpts in some style, and takes its answer."""

    model: LanguageModel
    style: ExplanationStyle = SUMMARY
    is_baseline: bool = False

    @property
    def name(self) -> str:
        return f"{self.model.name}, {self.style.name}"

    @property
    def description(self) -> str:
        return self.style.description

    @property
    def cost(self) -> str:
        return price_in_words(self.model)

    @property
    def prompt_version(self) -> str:
        return self.style.version

    @property
    def revision_version(self) -> str:
        return REVISION_VERSION

    def explain(self, records: Sequence[ActivationRecord]) -> Explained:
        found = self.candidates(records, Sampling())
        return Explained(found.texts[0], found.usage, found.shown)

    def candidates(self, records: Sequence[ActivationRecord], sampling: Sampling) -> Candidates:
        fitted = self._fitted(records, sampling)
        answer = self._ask(fitted, sampling)
        texts: list[str] = []
        rejected: list[str] = []
        for sample in answer.samples:
            try:
                texts.append(read_explanation(sample.text))
            except ExplanationError as error:
                rejected.append(str(error))
        if not texts:
            raise ExplanationError(rejected[0])
        return Candidates(tuple(dict.fromkeys(texts)), answer.usage, fitted.shown, tuple(rejected))

    def revise(
        self, records: Sequence[ActivationRecord], text: str, mistakes: Sequence[Mistake], sampling: Sampling
    ) -> Explained:
        fitted = self._fitted_revision(records, text, mistakes, sampling)
        answer = self._ask(fitted, Sampling(1, sampling.temperature, sampling.max_tokens, sampling.seed))
        return Explained(read_explanation(answer.text), answer.usage, min(fitted.shown - 1, len(records)))

    def estimate(self, records: Sequence[ActivationRecord], sampling: Sampling) -> Usage:
        return self._usage(self._fitted(records, sampling).tokens, sampling.n * sampling.max_tokens)

    def estimate_revision(
        self, records: Sequence[ActivationRecord], mistakes: Sequence[Mistake], sampling: Sampling
    ) -> Usage:
        text = "word " * sampling.max_tokens
        return self._usage(self._fitted_revision(records, text, mistakes, sampling).tokens, sampling.max_tokens)

    def _fitted(self, records: Sequence[ActivationRecord], sampling: Sampling) -> Fitted:
        seed = sampling.seed or 0
        return self._fit(lambda shown: self.style.build(records[:shown], seed), len(records), 1, sampling)

    def _fitted_revision(
        self, records: Sequence[ActivationRecord], text: str, mistakes: Sequence[Mistake], sampling: Sampling
    ) -> Fitted:
        """Drop the least mistakes first, down to one, then the train excerpts, last-ranked first."""

        def build(shown: int) -> Dialogue:
            excerpts = min(shown - 1, len(records))
            return revision_prompt(records[:excerpts], text, mistakes[: shown - excerpts])

        return self._fit(build, len(records) + len(mistakes), 2, sampling)

    def _fit(self, build: Callable[[int], Dialogue], count: int, least: int, sampling: Sampling) -> Fitted:
        if count < least:
            raise ExplanationError("There are no excerpts to explain the neuron from.")
        try:
            return fit(self.model, build, count, least=least, max_tokens=sampling.max_tokens)
        except PromptTooLongError as error:
            raise ExplanationError(str(error)) from error

    def _ask(self, fitted: Fitted, sampling: Sampling) -> Completion:
        # A model that only goes on with a text would go on with made-up neurons after its answer.
        return self.model.complete(
            fitted.prompt,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            n=sampling.n,
            seed=sampling.seed,
            stop=() if self.model.can_chat else ("\n",),
        )

    def _usage(self, tokens_in: int, tokens_out: int) -> Usage:
        return Usage(tokens_in, tokens_out, self.model.cost_usd(tokens_in, tokens_out), is_estimate=True)


_THOUGHT = re.compile(r"^.*</think>", re.DOTALL)
_LEAD_IN = re.compile(
    rf"^(?:(?:a better )?explanation(?: of neuron \d+)?(?: behaviou?r)?:)?\s*(?:{re.escape(ANSWER_BEGINS)}s?\b:?)?\s*",
    re.IGNORECASE,
)


def read_explanation(answer: str) -> str:
    """Return the explanation in a model's answer: its first line, without what the prompt already said.

    ExplanationError where nothing is left.
    """
    lines = [line.strip() for line in _THOUGHT.sub("", answer).splitlines() if line.strip()]
    # Tabs and control characters have no place in a sentence.
    line = "".join(c if c.isprintable() else " " for c in lines[0]) if lines else ""
    text = " ".join(_LEAD_IN.sub("", line).split())
    if len(text) > 1 and text[0] == text[-1] == '"' and text.count('"') == 2:
        text = text[1:-1].strip()
    text = text.removesuffix(".").strip()
    if not any(c.isalnum() for c in text):
        raise ExplanationError("The model's answer holds no explanation.")
    return text
