"""How well ratings tell what is from what is not: balanced accuracy and AUC, over detection and fuzzing items.

*Detection* asks of whole excerpts which of them make the neuron active. *Fuzzing* asks of excerpts with marked tokens
whether the right ones are marked. Both use the excerpts that simulation uses, and are cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from explanations.pipeline.prompts import STRONG, levels_of
from explanations.pipeline.records import ActivationRecord

HALF = 0.5
"""A rating above this says yes."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to rate: an excerpt, perhaps with marks."""

    excerpt: int
    """its place among the excerpts that were asked for, from 0"""
    tokens: tuple[str, ...]
    marked: tuple[int, ...]
    """places of the marked tokens; empty for detection"""
    is_true: bool
    """the excerpt makes the neuron active; the marks are right"""


@dataclass(frozen=True, slots=True)
class TellingApart:
    """How well some ratings tell true items from false ones; None is undefined."""

    balanced_accuracy: float | None
    """the mean of the shares of true and of false items that are rated so; 0.5 is chance"""
    auc: float | None
    """the share of true-false pairs in which the true one is rated higher, ties counting half; 0.5 is chance"""
    true_items: int
    false_items: int


def detection_items(records: Sequence[ActivationRecord]) -> list[Item]:
    """Return every excerpt that has tokens, true where a token reaches half of the highest activation of them all."""
    return [
        Item(place, record.tokens, (), bool((levels >= STRONG).any()))
        for place, (record, levels) in enumerate(zip(records, levels_of(records), strict=True))
        if record.tokens
    ]


def fuzzing_items(records: Sequence[ActivationRecord], *, seed: int) -> list[Item]:
    """Return each excerpt that has strong tokens twice: with these marked, and with as many at which it is not active.

    An excerpt without strong tokens, or with fewer inactive tokens than strong ones, is left out.
    """
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    for place, (record, levels) in enumerate(zip(records, levels_of(records), strict=True)):
        right = _places(levels >= STRONG)
        inactive = _places(levels == 0)
        if not right or len(inactive) < len(right):
            continue
        wrong = tuple(sorted(rng.choice(inactive, len(right), replace=False).tolist()))
        items += [Item(place, record.tokens, right, True), Item(place, record.tokens, wrong, False)]
    return items


def _places(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def tell_apart(truths: Sequence[bool], ratings: Sequence[float]) -> TellingApart:
    """Return the scores of ratings from 0 (no) to 1 (yes). Undefined where all items are true, or all false."""
    if len(truths) != len(ratings) or not np.isfinite(ratings).all():
        raise ValueError(f"{len(truths)} items but {len(ratings)} finite ratings")
    yes = np.array([r for t, r in zip(truths, ratings, strict=True) if t], dtype=np.float64)
    no = np.array([r for t, r in zip(truths, ratings, strict=True) if not t], dtype=np.float64)
    if not (yes.size and no.size):
        return TellingApart(None, None, yes.size, no.size)
    higher, ties = (yes[:, None] > no).mean(), (yes[:, None] == no).mean()
    accuracy = ((yes > HALF).mean() + (no <= HALF).mean()) / 2
    return TellingApart(float(accuracy), float(higher + ties / 2), yes.size, no.size)


def rate_by_simulation(items: Sequence[Item], simulated: Sequence[np.ndarray | None]) -> list[float | None]:
    """Return ratings had from a simulation, on its own scale: the highest value, or the mean of the marked tokens'.

    `simulated` has a row an excerpt; None where it failed. Such ratings have an AUC, but no threshold from no to yes.
    """
    ratings: list[float | None] = []
    for item in items:
        values = simulated[item.excerpt]
        if values is None:
            ratings.append(None)
        else:
            ratings.append(float(values[list(item.marked)].mean() if item.marked else values.max()))
    return ratings
