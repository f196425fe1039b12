"""From a simulator's scale to the neuron's own units.

Fitted on the *calibration* excerpts and never on those that are scored: fitting on these would turn r into |r|. The
slope may be negative, where a simulation runs against the neuron on the calibration excerpts; a calibrated r then has
the other sign than an uncalibrated one. With a slope above 0, r stays what it was, and only `rsquared` and
`absolute_dev_explained` change: they mean something for calibrated simulations alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from explanations.pipeline.records import Floats
from explanations.pipeline.scorer.formulas import Doubles, ScoredPair, concatenated, varies


@dataclass(frozen=True, slots=True)
class Calibration:
    """The line that takes simulated values nearest to real ones."""

    slope: float
    intercept: float

    def apply(self, simulated: Floats) -> Doubles:
        """Return the values in the neuron's own units [same shape]."""
        calibrated: Doubles = self.slope * np.asarray(simulated, dtype=np.float64) + self.intercept
        return calibrated


def fit_calibration(pairs: Sequence[ScoredPair]) -> Calibration | None:
    """Return the least-squares line over all tokens of the calibration excerpts; None where there are none.

    Where the simulated values do not vary, every line through their one value is as good: the level one is returned.
    """
    real, simulated = (np.asarray(side, dtype=np.float64) for side in concatenated(pairs))
    if not real.size or not (np.isfinite(real).all() and np.isfinite(simulated).all()):
        return None
    if not varies(simulated):
        return Calibration(0.0, float(real.mean()))
    deviations = simulated - simulated.mean()
    scale = float(np.abs(deviations).max())
    # Scaled, so that the squares of tiny values do not vanish, nor those of huge ones overflow.
    unit = deviations / scale
    slope = float(unit @ (real - real.mean())) / float(unit @ unit) / scale
    return Calibration(slope, float(real.mean()) - slope * float(simulated.mean()))
