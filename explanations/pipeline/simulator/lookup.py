"""The baseline simulator: no language model, and deaf to the explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from explanations.pipeline.records import NORMALISED_SCALE, ActivationRecord
from explanations.pipeline.simulator.protocol import Simulate, Simulated
from explanations.pipeline.token_lookup import TOKEN_LOOKUP, fit_table


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
