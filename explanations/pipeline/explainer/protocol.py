"""What an explainer is: something that turns a neuron's train excerpts into an explanation in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from explanations.pipeline.language_models import NO_USAGE, Usage
from explanations.pipeline.prompts import Mistake
from explanations.pipeline.records import ActivationRecord


class ExplanationError(Exception):
    """No explanation could be made; the message says why, in words for the person who asked."""


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation, and what it took to make it."""

    text: str
    usage: Usage = NO_USAGE
    shown: int | None = None
    """how many of the excerpts it was made from, best first; None is all of them"""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a language model's answers are drawn. The temperature and length are those of the released code."""

    n: int = 1
    """explanations to choose from"""
    temperature: float = 1.0
    max_tokens: int = 60
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or self.max_tokens < 1 or not self.temperature >= 0:
            raise ValueError(f"Cannot draw {self.n} answers of {self.max_tokens} tokens at {self.temperature}")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Several explanations of one neuron, no two the same."""

    texts: tuple[str, ...]
    usage: Usage
    """what all of them took"""
    shown: int
    """how many of the excerpts the model read, best first; the others did not fit into its window"""
    rejected: tuple[str, ...] = ()
    """why some answers were no explanations"""


class Explainer(Protocol):
    """Something that explains a neuron from its excerpts."""

    @property
    def name(self) -> str:
        """Return the name that is stored with its explanations."""

    @property
    def description(self) -> str:
        """Return one line that says what it does, for the person who chooses."""

    @property
    def cost(self) -> str:
        """Return in words what one explanation costs."""

    @property
    def prompt_version(self) -> str:
        """Return which prompt it uses; empty where it uses none."""

    @property
    def is_baseline(self) -> bool:
        """Return whether its explanations are only what others have to beat."""

    def explain(self, records: Sequence[ActivationRecord]) -> Explained:
        """Return an explanation of the neuron that did this. ExplanationError where there is none to make."""


@runtime_checkable
class SamplingExplainer(Explainer, Protocol):
    """An explainer that can give several explanations, and better one that it is shown the mistakes of."""

    @property
    def revision_version(self) -> str:
        """Return which prompt `revise` uses."""

    def candidates(self, records: Sequence[ActivationRecord], sampling: Sampling) -> Candidates:
        """Return up to `sampling.n` different explanations. ExplanationError where not one could be had."""

    def revise(
        self, records: Sequence[ActivationRecord], text: str, mistakes: Sequence[Mistake], sampling: Sampling
    ) -> Explained:
        """Return a better explanation than `text`, given what that one gets wrong, the worst first."""

    def estimate(self, records: Sequence[ActivationRecord], sampling: Sampling) -> Usage:
        """Return what `candidates` is expected to take, asking the model nothing."""

    def estimate_revision(
        self, records: Sequence[ActivationRecord], mistakes: Sequence[Mistake], sampling: Sampling
    ) -> Usage:
        """Return what `revise` is expected to take."""
