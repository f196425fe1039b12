"""How much of a correlation hangs on which excerpts happened to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from explanations.pipeline.scorer.formulas import CONSTANT_WITHIN, Doubles, ScoredPair, concatenated, correlation

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the correlation lies in most resamples of the excerpts."""

    low: float
    high: float
    confidence: float
    resamples: int
    undefined: int
    """resamples in which the correlation has no value; they are left out"""


def bootstrap_interval(
    pairs: Sequence[ScoredPair], *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return the percentile interval of `ev_correlation` over excerpts drawn again with replacement.

    As many top and as many random excerpts are drawn as there are. None where the correlation has no value, or has
    none in more than half of the resamples, or where no kind has two excerpts to draw from.
    """
    kinds = np.array([pair.kind for pair in pairs])
    if correlation(*concatenated(pairs)) is None or not any((kinds == kind).sum() > 1 for kind in set(kinds.tolist())):
        return None
    drawn = _draw(kinds, resamples, np.random.default_rng(seed))  # [resample, excerpt]
    found = _correlations(drawn @ _sums(pairs))
    defined = found[np.isfinite(found)]
    if defined.size * 2 < resamples:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), confidence, resamples, resamples - defined.size)


def _draw(kinds: np.ndarray, resamples: int, rng: np.random.Generator) -> Doubles:
    """Return how often each excerpt is drawn [resample, excerpt], each kind from its own."""
    counts = np.zeros((resamples, len(kinds)))
    for kind in sorted(set(kinds.tolist())):
        places = np.flatnonzero(kinds == kind)
        counts[:, places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=resamples)
    return counts


def _sums(pairs: Sequence[ScoredPair]) -> Doubles:
    """Return what a correlation is made of, an excerpt a row: n, sums, sums of squares, sum of products."""
    every_real, every_simulated = concatenated(pairs)
    rows = []
    for pair in pairs:
        # Around the means of all excerpts, so that the sums do not cancel.
        a, s = _scaled(pair.real, every_real), _scaled(pair.simulated, every_simulated)
        rows.append([len(a), a.sum(), s.sum(), a @ a, s @ s, a @ s])
    return np.array(rows, dtype=np.float64)


def _scaled(values: np.ndarray, every: np.ndarray) -> Doubles:
    whole = np.asarray(every, dtype=np.float64)
    deviations = np.asarray(values, dtype=np.float64) - whole.mean()
    scaled: Doubles = deviations / np.abs(whole - whole.mean()).max()
    return scaled


def _correlations(sums: Doubles) -> Doubles:
    """Return r for each row of sums; NaN where a side does not vary."""
    n, a, s, aa, ss, products = sums.T
    spread_a, spread_s = aa - a * a / n, ss - s * s / n
    defined = (spread_a > CONSTANT_WITHIN * n) & (spread_s > CONSTANT_WITHIN * n)
    found = np.full(len(n), np.nan)
    found[defined] = (products - a * s / n)[defined] / np.sqrt(spread_a[defined] * spread_s[defined])
    return found.clip(-1, 1)
