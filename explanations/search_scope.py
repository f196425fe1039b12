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

if TYPE_CHECKING:
    from explanations.models import SubjectModel
    from explanations.querysets import ExplanationQuerySet
    from explanations.search import Criteria

LEADING = 2_000
"""Ids in a list that are looked up one by one in the full-text index, in 10 microseconds each."""
SHORT = 30_000
"""Ids in a list that matches are compared with: SQLite makes one of so many in 4 ms, and compares twice as fast as it
checks."""
MEASURED = 160_000
"""Ids among which the lowest and the highest are looked for: it takes 10 ms."""


Condition = tuple[str, Sequence[object]]
"""SQL and its parameters."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What all filters of a search leave."""

    checks: Sequence[Condition] = ()
    """of explanations `e`: what is checked match by match"""
    lists: Sequence[ExplanationQuerySet] = ()
    """each leaves those of its own that a filter lets pass"""
    without: Sequence[ExplanationQuerySet] = ()
    """explanations that a filter refuses"""
    span: tuple[int, int] | None = None
    """the lowest and the highest id that the filters leave, as far as that is known"""
    is_empty: bool = False
    shortest: int = SHORT
    """ids in the shortest of the lists"""

    @property
    def leads(self) -> bool:
        """Return whether a list is so short that each of its ids may be looked up."""
        return self.shortest <= LEADING

    def narrowed(self, passing: ExplanationQuerySet, check: Condition) -> Scope:
        """Return this with one filter more, which lets `passing` pass and is `check` on a row."""
        return self._narrowed(passing, check, SHORT, SHORT)

    def narrowed_to_place(self, passing: ExplanationQuerySet, check: Condition) -> Scope:
        """Return the same for layers or a model: a list has no use where the ids lie close together."""
        return self._narrowed(passing, check, MEASURED, LEADING)

    def _narrowed(self, passing: ExplanationQuerySet, check: Condition, most: int, longest: int) -> Scope:
        """`most` ids are measured, and `longest` are listed."""
        count, lowest, highest = _measure(passing, most)
        if count == 0:
            return replace(self, is_empty=True)
        scope = self._within(lowest, highest) if count <= most else self
        if count <= longest:
            return replace(scope, lists=(*self.lists, passing), shortest=min(count, self.shortest))
        return replace(scope, checks=(*self.checks, check))

    def _within(self, lowest: int, highest: int) -> Scope:
        low, high = self.span or (lowest, highest)
        span = max(low, lowest), min(high, highest)
        return replace(self, span=span, is_empty=self.is_empty or span[0] > span[1])


def _measure(rows: ExplanationQuerySet, most: int) -> tuple[int, int, int]:
    """Return how many rows there are, with their lowest and highest id; of more than `most` that alone. One query.

    That there are more is seen by skipping them, in a fifth of the time. In SQL, since the ORM takes longer to write it
    than the database to answer.
    """
    sql, parameters = rows.order_by().values("id").query.sql_with_params()
    beyond = f"WITH beyond (is_there) AS (SELECT EXISTS ({sql} LIMIT 1 OFFSET {most}))"
    measured = "count(*), coalesce(min(id), 0), coalesce(max(id), 0), (SELECT is_there FROM beyond)"
    few = f"({sql} LIMIT CASE WHEN (SELECT is_there FROM beyond) THEN 0 ELSE -1 END)"  # noqa: S608
    with connections[rows.db].cursor() as cursor:
        cursor.execute(f"{beyond} SELECT {measured} FROM {few}", [*parameters, *parameters])  # noqa: S608
        count, lowest, highest, are_more = cursor.fetchone()
    return (most + 1, 0, 0) if are_more else (count, lowest, highest)


def scope_of(rows: ExplanationQuerySet, criteria: Criteria) -> Scope:
    """Return what the filters leave of `rows`, which are all explanations. A query for each filter, five at most.

    Only SQLite has a use for it: PostgreSQL plans by its statistics, and would read thousands of rows to be measured.
    """
    scope = Scope()
    if connections[rows.db].vendor != "sqlite":
        return scope
    model, layers = criteria.model, criteria.layers
    if layers is not None:
        scope = scope.narrowed_to_place(rows.at_place(model, layers), ("e.layer BETWEEN %s AND %s", layers))
    if model is not None and _is_one_of_several(model):
        check: Condition = "e.model_id = %s", (model.pk,)
        if layers is None:
            scope = scope.narrowed_to_place(rows.at_place(model, None), check)
        elif not scope.lists:
            scope = replace(scope, checks=(*scope.checks, check))
    if criteria.source:
        scope = scope.narrowed(rows.filter(source=criteria.source), ("e.source = %s", (criteria.source,)))
    lowest, highest = criteria.min_score, criteria.max_score
    if lowest is not None or highest is not None:
        check = "e.score BETWEEN %s AND %s", (-2.0 if lowest is None else lowest, 2.0 if highest is None else highest)
        scope = scope.narrowed(rows.with_score(lowest, highest), check)
    return _in_state(scope, rows, criteria.state)


def _in_state(scope: Scope, rows: ExplanationQuerySet, state: str) -> Scope:
    if state == "any" or scope.is_empty:
        return scope
    if state != "current":
        return scope.narrowed(rows.filter(state=state), ("e.state = %s", (state,)))
    check = "e.state = %s", (state,)
    if scope.checks:
        return replace(scope, checks=(*scope.checks, check))
    # Nearly all are current: the others are the shorter list.
    others = rows.filter(state="retired")
    count, _, _ = _measure(others, SHORT)
    if count > SHORT:
        return replace(scope, checks=(check,))
    return replace(scope, without=(others,)) if count else scope


def _is_one_of_several(model: SubjectModel) -> bool:
    return type(model)._default_manager.exclude(pk=model.pk).exists()
