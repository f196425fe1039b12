"""What a simulator is: something that predicts a neuron's activations from an explanation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from explanations.pipeline.language_models import NO_USAGE, LanguageModelError, Usage
from explanations.pipeline.records import ActivationRecord, Floats


class SimulationError(Exception):
    """An excerpt could not be simulated; the message says why. The others go on."""

    def __init__(self, message: str, usage: Usage = NO_USAGE) -> None:
        super().__init__(message)
        self.usage = usage
        """what the attempt took all the same"""


@dataclass(frozen=True, slots=True)
class Simulated:
    """One excerpt's simulated activations, and what it took to make them."""

    values: Floats
    """[pos], on the simulator's scale"""
    usage: Usage = NO_USAGE


Simulate: TypeAlias = Callable[[str, Sequence[str]], Simulated]
"""From an explanation and an excerpt's tokens to its simulation. SimulationError where there is none."""


class Simulator(Protocol):
    """Something that predicts activations, fitted on nothing that it is scored on."""

    @property
    def name(self) -> str:
        """Return the name that is stored with its simulations."""

    @property
    def description(self) -> str:
        """Return one line that says what it does, for the person who chooses."""

    @property
    def cost(self) -> str:
        """Return in words what one simulation costs."""

    @property
    def method(self) -> str:
        """Return how it simulates, where one model can do so in several ways."""

    @property
    def scale(self) -> str:
        """Return `NORMALISED_SCALE` or `NEURON_SCALE`."""

    def fit(self, train: Sequence[ActivationRecord]) -> Simulate:
        """Return the function that simulates, fitted on the train excerpts where the method fits anything."""


Outcome: TypeAlias = Simulated | SimulationError | LanguageModelError
"""What came of one excerpt of many."""


def only_outcome(outcomes: Sequence[Outcome]) -> Simulated:
    """Return what came of the one excerpt there was; raise what stopped it."""
    [outcome] = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@runtime_checkable
class BatchSimulate(Protocol):
    """A `Simulate` that does many excerpts at once faster than one after the other."""

    def __call__(self, explanation: str, tokens: Sequence[str]) -> Simulated:
        """Return one excerpt's simulation. SimulationError or LanguageModelError where there is none."""

    @property
    def batch_size(self) -> int:
        """Return how many excerpts to ask for at once, so that progress still shows and a stop is heard."""

    def many(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> list[Outcome]:
        """Return what came of each excerpt, in order."""


@runtime_checkable
class EstimatingSimulator(Simulator, Protocol):
    """A simulator whose cost can be told before it is spent."""

    @property
    def prompt_version(self) -> str:
        """Return which prompt it uses."""

    def estimate(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> Usage:
        """Return what simulating the excerpts is expected to take, asking the model nothing."""
