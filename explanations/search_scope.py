"""What the filters of a search leave, in the form in which full-text matches are soonest compared with it.

A filter that leaves few explanations (a layer, the retired ones) is a list of their ids, read from an index alone; one
that leaves many is checked row by row. Ids of one layer lie close together, so the lowest and the highest of them are
where an index need not be read beyond; that they are all of that layer is never taken for granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Count, Max, Min

if TYPE_CHECKING:
    from explanations.models import SubjectModel
    from explanations.querysets import ExplanationQuerySet
    from explanations.search import Criteria

SHORT = 60_000
"""Ids in a list: SQLite makes one of so many in 8 ms, while each row that is looked up takes 4 microseconds."""
MEASURED = 160_000
"""Ids among which the lowest and the highest are looked for: it takes 30 ms."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What all filters of a search leave."""

    rows: ExplanationQuerySet
    """explanations, without those that the filters checked row by row refuse"""
    is_narrowed: bool = False
    """whether there are filters that are checked row by row"""
    lists: Sequence[ExplanationQuerySet] = ()
    """each leaves those of its own that a filter lets pass"""
    without: Sequence[ExplanationQuerySet] = ()
    """explanations that a filter refuses"""
    span: tuple[int, int] | None = None
    """the lowest and the highest id that the filters leave, as far as that is known"""
    lists_places: bool = False
    """whether one of the lists is of a model or layers: no index of scores leads along those"""
    is_empty: bool = False
    shortest: int = SHORT
    """ids in the shortest of the lists"""

    def narrowed(self, passing: ExplanationQuerySet, conditions: dict[str, object], most: int = SHORT) -> Scope:
        """Return this with one filter more, which lets `passing` pass and is `conditions` on a row.

        At most so many ids are measured.
        """
        count, lowest, highest = _measure(passing, most)
        if count == 0:
            return replace(self, is_empty=True)
        scope = self._within(lowest, highest) if count <= most else self
        if count <= SHORT:
            return replace(scope, lists=(*self.lists, passing), shortest=min(count, self.shortest))
        return replace(scope, rows=self.rows.filter(**conditions), is_narrowed=True)

    def _within(self, lowest: int, highest: int) -> Scope:
        low, high = self.span or (lowest, highest)
        span = max(low, lowest), min(high, highest)
        return replace(self, span=span, is_empty=self.is_empty or span[0] > span[1])


def _measure(rows: ExplanationQuerySet, most: int) -> tuple[int, int, int]:
    """Return how many rows there are, at most one more than `most`, with their lowest and highest id. One query."""
    found = rows.order_by().values("id")[: most + 1].aggregate(n=Count("id"), low=Min("id"), high=Max("id"))
    return found["n"], found["low"] or 0, found["high"] or 0


def scope_of(rows: ExplanationQuerySet, criteria: Criteria) -> Scope:
    """Return what the filters leave of `rows`, which are all explanations. A query for each filter, four at most.

    Only SQLite has a use for it: PostgreSQL plans by its statistics, and would read thousands of rows to be measured.
    """
    scope = Scope(rows)
    if connections[rows.db].vendor != "sqlite":
        return scope
    if criteria.layers is not None:
        place = _place(criteria)
        scope = scope.narrowed(rows.filter(**place), place, MEASURED)
    elif criteria.model is not None and _is_one_of_several(criteria.model):
        scope = scope.narrowed(rows.filter(**_place(criteria)), _place(criteria))
    scope = replace(scope, lists_places=bool(scope.lists))
    if criteria.source:
        scope = scope.narrowed(rows.filter(source=criteria.source), {"source": criteria.source})
    if scores := _scores(criteria):
        scope = scope.narrowed(rows.filter(**scores), scores)
    return _in_state(scope, rows, criteria.state)


def _in_state(scope: Scope, rows: ExplanationQuerySet, state: str) -> Scope:
    if state == "any" or scope.is_empty:
        return scope
    if state != "current":
        return scope.narrowed(rows.filter(state=state), {"state": state})
    # Nearly all are current: the others are the shorter list.
    others = rows.filter(state="retired")
    count, _, _ = _measure(others, SHORT)
    if count > SHORT:
        return replace(scope, rows=scope.rows.filter(state=state), is_narrowed=True)
    return replace(scope, without=(*scope.without, others)) if count else scope


def _is_one_of_several(model: SubjectModel) -> bool:
    return type(model)._default_manager.exclude(pk=model.pk).exists()


def _place(criteria: Criteria) -> dict[str, object]:
    place: dict[str, object] = {}
    if criteria.model is not None:
        place["model"] = criteria.model.pk
    if criteria.layers is not None:
        place["layer__range"] = criteria.layers
    return place


def _scores(criteria: Criteria) -> dict[str, object]:
    scores: dict[str, object] = {}
    if criteria.min_score is not None:
        scores["score__gte"] = criteria.min_score
    if criteria.max_score is not None:
        scores["score__lte"] = criteria.max_score
    return scores
