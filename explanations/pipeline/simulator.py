"""From an explanation to what the neuron would do, token by token.

`SIMULATORS` holds those that need nothing but the excerpts, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from explanations.pipeline.language_models import NO_USAGE, Usage
from explanations.pipeline.records import NORMALISED_SCALE, ActivationRecord, Floats
from explanations.pipeline.token_lookup import TOKEN_LOOKUP, fit_table


class SimulationError(Exception):
    """An excerpt could not be simulated; the message says why. The others go on."""


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


@dataclass(frozen=True, slots=True)
class TokenLookupSimulator:
    """The baseline: every token does what it did on average in the train excerpts. It never reads the explanation."""

    name: str = TOKEN_LOOKUP
    description: str = "Predicts at each token its mean activation in the train excerpts, and 0 at tokens not in them."
    cost: str = "no cost: no language model"
    method: str = TOKEN_LOOKUP
    scale: str = NORMALISED_SCALE

    def fit(self, train: Sequence[ActivationRecord]) -> Simulate:
        table = fit_table(train)

        def simulate(_explanation: str, tokens: Sequence[str]) -> Simulated:
            return Simulated(table.look_up(tokens))

        return simulate


SIMULATORS: Mapping[str, Simulator] = {TOKEN_LOOKUP: TokenLookupSimulator()}
