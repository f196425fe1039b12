"""The baseline that an explanation has to beat: what a neuron did at each token, looked up. No language model.

A token's value is the mean of its positive activations over the excerpts that the table was fitted on, negative ones
counting as zero, on the scale that the largest mean is 10. This is how the published baseline was made: the same
excerpts give the same values, digit for digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from explanations.pipeline.records import LEVELS, ActivationRecord, Floats

TOKEN_LOOKUP = "token lookup"  # noqa: S105  a method's name
"""The name of the baseline, as explainer and as simulator."""

DECIMALS = 4
"""Digits after the point that a simulated value keeps, as in the published baseline."""


@dataclass(frozen=True, slots=True)
class TokenTable:
    """What a neuron does at each token that it was seen at."""

    values: dict[str, float]
    """from 0 to 10, in the order in which the tokens were first met"""

    def look_up(self, tokens: Sequence[str]) -> Floats:
        """Return each token's value [pos]; 0, "not active", for a token that was never seen."""
        return np.array([self.values.get(token, 0.0) for token in tokens], dtype=np.float64)

    def strongest(self, count: int) -> list[str]:
        """Return the tokens with the highest values above 0, highest first, the first met of equals."""
        active = [token for token, value in self.values.items() if value > 0]
        return sorted(active, key=lambda token: -self.values[token])[:count]


def fit_table(records: Sequence[ActivationRecord]) -> TokenTable:
    """Return the table fitted on these excerpts; all values are 0 where no activation is positive."""
    seen: dict[str, list[float]] = {}
    for record in records:
        for token, activation in zip(record.tokens, record.activations.tolist(), strict=True):
            seen.setdefault(token, []).append(max(activation, 0.0))
    means = {token: sum(values) / len(values) for token, values in seen.items()}
    largest = max(means.values(), default=0.0)
    if not largest > 0:
        return TokenTable(dict.fromkeys(means, 0.0))
    return TokenTable({token: round(LEVELS * mean / largest, DECIMALS) for token, mean in means.items()})
