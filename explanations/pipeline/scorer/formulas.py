"""How well simulated activations match the real ones. All arithmetic is in double precision.

None is "undefined" and is never shown as 0: a correlation with something that does not vary has no value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from explanations.pipeline.records import Floats, Kind, Scores

Doubles = npt.NDArray[np.float64]

CONSTANT_WITHIN = 1e-13
"""A range this small beside the largest magnitude is rounding, not variation (the sum of ten 0.1 is not 1.0)."""


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """One excerpt's real and simulated activations, as the scorer takes them."""

    kind: int
    """`Kind.TOP`, `Kind.RANDOM` or `Kind.OTHER`"""
    real: Floats
    """[pos]"""
    simulated: Floats
    """[pos]"""


@dataclass(frozen=True, slots=True)
class SequenceScores:
    """The scores of some excerpts, together and apart."""

    whole: Scores
    """over all tokens of all excerpts, concatenated"""
    each: tuple[Scores, ...]
    """for every excerpt alone, in order"""
    top_only: float | None
    """ev_correlation over the top excerpts alone"""
    random_only: float | None


def correlation(real: Floats, simulated: Floats) -> float | None:
    """Return Pearson's r; None where a side is empty, constant but for rounding, or not finite."""
    a, s = _pair(real, simulated)
    if not (varies(a) and varies(s)):
        return None
    a, s = _centred(a), _centred(s)
    r = float(a @ s) / math.sqrt(float(a @ a) * float(s @ s))
    return min(1.0, max(-1.0, r))


def correlation_by_group(
    real: Doubles, simulated: Doubles, group: npt.NDArray[np.int64], groups: int
) -> list[float | None]:
    """Return `correlation` within each group of tokens, numbered from 0 to `groups` - 1; all are [token] and finite.

    One pass over many simulations. None where a group has no tokens.
    """
    if (group[1:] < group[:-1]).any():
        order = np.argsort(group, kind="stable")
        real, simulated = real[order], simulated[order]
    sizes = np.bincount(group, minlength=groups)  # [group]
    filled = np.flatnonzero(sizes)
    if not len(filled):
        return [None] * groups
    starts = (np.cumsum(sizes) - sizes)[filled]
    with np.errstate(all="ignore"):  # Where nothing varies there is 0 / 0, which `_deviations` takes for undefined.
        a = _deviations(real, starts, sizes[filled])
        s = _deviations(simulated, starts, sizes[filled])
        products = [np.add.reduceat(x * y, starts) for x, y in ((a, s), (a, a), (s, s))]
        r = np.clip(products[0] / np.sqrt(products[1] * products[2]), -1.0, 1.0)  # [filled group]
    found: list[float | None] = [None] * groups
    for number, value in zip(filled.tolist(), r.tolist(), strict=True):
        found[number] = value if math.isfinite(value) else None
    return found


def _deviations(values: Doubles, starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Doubles:
    """Return `_centred` of each group of consecutive values; NaN throughout a group that does not vary."""
    highest, lowest = np.maximum.reduceat(values, starts), np.minimum.reduceat(values, starts)
    varying = highest - lowest > CONSTANT_WITHIN * np.maximum(np.abs(highest), np.abs(lowest))
    means = np.where(varying, np.add.reduceat(values, starts) / sizes, np.nan)
    deviations = values - np.repeat(means, sizes)
    scaled: Doubles = deviations / np.repeat(np.maximum.reduceat(np.abs(deviations), starts), sizes)
    return scaled


def rsquared(real: Floats, simulated: Floats) -> float | None:
    """Return 1 - mean((a - s)^2) / mean(a^2); None where the real values are all zero, or something is not finite."""
    a, s = _pair(real, simulated)
    return _explained((a - s) ** 2, a**2)


def absolute_dev_explained(real: Floats, simulated: Floats) -> float | None:
    """Return 1 - mean|a - s| / mean|a|; None where the real values are all zero, or something is not finite."""
    a, s = _pair(real, simulated)
    return _explained(np.abs(a - s), np.abs(a))


def scores(real: Floats, simulated: Floats) -> Scores:
    """Return all three scores. The last two mean something only where the simulation is calibrated."""
    return Scores(correlation(real, simulated), rsquared(real, simulated), absolute_dev_explained(real, simulated))


def score_sequences(pairs: Sequence[ScoredPair]) -> SequenceScores:
    """Return the scores of all excerpts together, of each, and the correlation of top and random ones apart."""
    return SequenceScores(
        whole=scores(*concatenated(pairs)),
        each=tuple(scores(p.real, p.simulated) for p in pairs),
        top_only=correlation(*concatenated(p for p in pairs if p.kind == Kind.TOP)),
        random_only=correlation(*concatenated(p for p in pairs if p.kind == Kind.RANDOM)),
    )


def _pair(real: Floats, simulated: Floats) -> tuple[Doubles, Doubles]:
    a, s = np.asarray(real, dtype=np.float64), np.asarray(simulated, dtype=np.float64)
    if a.shape != s.shape or a.ndim != 1:
        raise ValueError(f"{a.shape} real activations but {s.shape} simulated ones")
    return a, s


def varies(values: Doubles) -> bool:
    # The range, not the standard deviation: subtracting a rounded mean makes the deviation of a constant non-zero.
    if not values.size or not np.isfinite(values).all():
        return False
    return bool(np.ptp(values) > CONSTANT_WITHIN * np.abs(values).max())


def _centred(values: Doubles) -> Doubles:
    """Return deviations from the mean, the largest being 1, so that squares of tiny ones do not vanish."""
    deviations = values - values.mean()
    scaled: Doubles = deviations / np.abs(deviations).max()
    return scaled


def _explained(error: Doubles, total: Doubles) -> float | None:
    if not total.size or not np.isfinite(error).all() or not np.isfinite(total).all() or not total.any():
        return None
    return 1.0 - float(error.mean()) / float(total.mean())


def concatenated(pairs: Iterable[ScoredPair]) -> tuple[Floats, Floats]:
    chosen = list(pairs)
    if not chosen:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([p.real for p in chosen]), np.concatenate([p.simulated for p in chosen])
