"""Where an explanation errs most: what a revision is shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explanations.pipeline.prompts import Mistake
from explanations.pipeline.records import ActivationRecord, maximum_of, normalise
from explanations.pipeline.scorer import ScoredPair

SHOWN = 3
"""Mistakes that a revision is shown."""


def worst_mistakes(
    done: Sequence[tuple[ActivationRecord, ScoredPair]], count: int = SHOWN
) -> list[tuple[int, Mistake]]:
    """Return the simulated excerpts that err most, the worst first, each with its place in `done`.

    Both sides are brought to levels from 0 to 10, each by its own maximum over all of `done` (simulators differ in how
    high they go), and the mean square of their difference is the error. An excerpt without error is no mistake.
    """
    real_maximum = maximum_of([excerpt for excerpt, _ in done])
    predicted_maximum = max((float(np.max(pair.simulated)) for _, pair in done if pair.simulated.size), default=0.0)
    found: list[tuple[float, int, Mistake]] = []
    for place, (excerpt, pair) in enumerate(done):
        real = normalise(pair.real, real_maximum)
        predicted = normalise(pair.simulated, predicted_maximum)
        error = float(np.mean((real.astype(np.float64) - predicted) ** 2)) if real.size else 0.0
        if error > 0:
            found.append((error, place, Mistake(excerpt.tokens, real, predicted)))
    found.sort(key=lambda mistake: -mistake[0])
    return [(place, mistake) for _, place, mistake in found[:count]]
