"""Keyset pages: a deep page costs what the first costs, because it is found by value, never by counting past rows.

A view names an `Order` that an index serves, passes its filtered queryset and the request's `page` parameter to
`paginate`, and renders `page.rows`, `page.problem` (a sentence, or nothing) and links to `page.previous` and
`page.next` (tokens for that parameter; None where there is no such page):

    ORDER = Order("headline_score", "index")
    page = paginate(Neuron.objects.filter(model=model, layer=layer), ORDER, request.GET.get("page", ""))

Rows whose sort field is NULL come last in both directions. A damaged token gives the first page and a problem, never
an error. The template `explanations/_pager.html` draws the links.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from django.db import models
from django.db.models import F, Q, QuerySet

PAGE_SIZE = 50
MAX_INTEGER = 2**63 - 1
"""What both databases hold; a larger number in a token would be an error in the query."""

DAMAGED = "This page address is damaged, so here is the first page."
GONE = "There is nothing on that page any more, so here is the first page."

Row = TypeVar("Row", bound=models.Model)
Found = tuple[int, float | None]
"""A row's id and the value that it is sorted by."""


@dataclass(frozen=True)
class Order:
    """An order of rows: by a number, ties by another number that no two rows share.

    The index that serves it holds the filtered columns, then `field` descending, then `tie` ascending; the other
    direction reads it backwards, so that there ties run backwards too.
    """

    field: str | None
    """the number to sort by, or None to sort by `tie` alone; may reach over a join ("explanation__score")"""
    tie: str = "id"
    """a whole number, unique among the rows and never NULL"""
    descending: bool = True
    """whether `field` (or, without one, `tie`) runs from high to low"""
    nullable: bool = True
    """whether `field` may be NULL; only a float may"""

    @property
    def tie_descending(self) -> bool:
        return self.descending if self.field is None else not self.descending


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows in order, and where to go from them."""

    rows: Sequence[Row]
    previous: str | None
    """token of the page before; None on the first page"""
    next: str | None
    """token of the page after; None on the last page"""
    problem: str = ""
    """why this is not the page that was asked for"""


@dataclass(frozen=True)
class FoundPage:
    """The ids of some rows in order, and where to go from them, as in `Page`."""

    ids: Sequence[int]
    previous: str | None
    next: str | None
    problem: str


@dataclass(frozen=True)
class _Place:
    """A row's place in the order: rows wanted lie after it, or before it."""

    before: bool
    value: float | int | None
    """the row's sort value; None for a row among the NULLs (or in an order by the tie alone)"""
    tie: int


def paginate(rows: QuerySet[Row], order: Order, token: str, size: int = PAGE_SIZE) -> Page[Row]:
    """Return the page that `token` names, the first where it is empty. One query, two where a page meets the NULLs.

    Gives the first page with a problem where the token is damaged or its rows are gone.
    """
    if not token:
        return _first_page(rows, order, size)
    place = _parse(token)
    if place is None or (place.value is None and order.field is not None and not order.nullable):
        return _first_page(rows, order, size, DAMAGED)
    found = _take(rows, order, place, size + 1)
    if place.before and len(found) <= size:
        return _first_page(rows, order, size)
    if not found:
        return _first_page(rows, order, size, GONE)
    more, shown = len(found) > size, found[:size]
    if place.before:
        shown.reverse()
    return Page(
        rows=shown,
        previous=_token(order, shown[0], before=True),
        next=_token(order, shown[-1], before=False) if place.before or more else None,
    )


def paginate_found(found: Sequence[Found], order: Order, token: str, size: int = PAGE_SIZE) -> FoundPage:
    """Return the same page of rows whose ids and values, in any order, have all been read."""
    assert order.tie == "id"
    assert order.nullable
    keys = sorted(_key(order, value, pk) for pk, value in found)
    place = _parse(token) if token else None
    problem = DAMAGED if token and place is None else ""
    start, is_first = 0, True
    if place is not None:
        key = _key(order, place.value, place.tie)
        start = bisect_left(keys, key) - size if place.before else bisect_right(keys, key)
        is_first = start <= 0 if place.before else start == len(keys)
        if is_first:
            start, problem = 0, "" if place.before else GONE
    shown = [_row(order, key) for key in keys[start : start + size]]
    comes_back = place is not None and place.before and not is_first
    return FoundPage(
        ids=[pk for pk, _ in shown],
        previous=None if is_first else _make_token(order, shown[0], before=True),
        next=_make_token(order, shown[-1], before=False) if comes_back or start + size < len(keys) else None,
        problem=problem,
    )


def _key(order: Order, value: float | None, tie: int) -> tuple[bool, float, int]:
    """Return what sorts rows as the order does: those without a value last, always by their ties."""
    if value is None:
        return True, 0.0, tie
    return False, -value if order.descending else value, -tie if order.tie_descending else tie


def _row(order: Order, key: tuple[bool, float, int]) -> Found:
    """Return the id and value of which `_key` made the key."""
    is_null, value, tie = key
    if is_null:
        return tie, None
    return -tie if order.tie_descending else tie, -value if order.descending else value


def _first_page(rows: QuerySet[Row], order: Order, size: int, problem: str = "") -> Page[Row]:
    found = _take(rows, order, None, size + 1)
    shown = found[:size]
    return Page(shown, None, _token(order, shown[-1], before=False) if len(found) > size else None, problem)


def _token(order: Order, row: models.Model, *, before: bool) -> str:
    tie = attrgetter(order.tie.replace("__", "."))(row)
    value = None if order.field is None else attrgetter(order.field.replace("__", "."))(row)
    return _make_token(order, (tie, value), before=before)


def _make_token(order: Order, row: Found, *, before: bool) -> str:
    tie, value = row
    direction = "before" if before else "after"
    if order.field is None:
        return f"{direction}:{tie}"
    # repr of a float reads back as the same float, so that no row is shown twice or lost.
    return f"{direction}:{'-' if value is None else repr(value)}:{tie}"


_TOKEN = re.compile(r"(before|after):(?:(-|-?[0-9.]{1,25}(?:e[+-]?[0-9]{1,3})?):)?([0-9]{1,19})", re.ASCII)


def _parse(token: str) -> _Place | None:
    """Return the place that a token names; None where it is not one of ours."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    direction, value, tie = match.groups()
    number: float | int | None
    try:
        number = None if value in (None, "-") else int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        return None
    if int(tie) > MAX_INTEGER or (number is not None and not (math.isfinite(number) and abs(number) <= MAX_INTEGER)):
        return None
    return _Place(direction == "before", number, int(tie))


# The rows are two runs: those with a value, in its order, then the NULLs in order of the tie. Read backwards for
# "before". Each run is one query that an index answers in order.


def _take(rows: QuerySet[Row], order: Order, place: _Place | None, count: int) -> list[Row]:
    """Return up to `count` rows next to `place`, nearest first; from the start where it is None."""
    before = place is not None and place.before
    runs = [False, True] if order.field is not None and order.nullable else [False]
    if before:
        runs.reverse()
    start = order.field is not None and place is not None and place.value is None
    taken: list[Row] = []
    for nulls in runs[runs.index(start) :]:
        here = place if nulls == start else None
        run = _null_run(rows, order, here, before) if nulls else _value_run(rows, order, here, before)
        taken += run[: count - len(taken)]
        if len(taken) >= count:
            break
    return taken


def _value_run(rows: QuerySet[Row], order: Order, place: _Place | None, before: bool) -> QuerySet[Row]:
    tie_down = order.tie_descending != before
    if order.field is None:
        return _beyond(rows, order.tie, tie_down, place).order_by(_by(order.tie, tie_down))
    down = order.descending != before
    if order.nullable:
        # Not "IS NOT NULL": SQLite seeks past the NULLs only for a comparison.
        rows = rows.filter(**{f"{order.field}__gte": float("-inf")})
    if place is not None:
        field, tie, side, tie_side = order.field, order.tie, "lt" if down else "gt", "lt" if tie_down else "gt"
        # "value <= v" in front lets the index find the place; the OR alone would scan (measured: 590 ms against 1.6).
        rows = rows.filter(
            Q(**{f"{field}__{side}e": place.value})
            & (Q(**{f"{field}__{side}": place.value}) | Q(**{f"{tie}__{tie_side}": place.tie}))
        )
    return rows.order_by(_by(order.field, down), _by(order.tie, tie_down))


def _null_run(rows: QuerySet[Row], order: Order, place: _Place | None, before: bool) -> QuerySet[Row]:
    # Always in the tie's own order of the index, whichever way the values run.
    assert order.field is not None
    rows = _beyond(rows.filter(**{f"{order.field}__isnull": True}), order.tie, before, place)
    return rows.order_by(_by(order.field, not before), _by(order.tie, before))


def _beyond(rows: QuerySet[Row], field: str, down: bool, place: _Place | None) -> QuerySet[Row]:
    return rows if place is None else rows.filter(**{f"{field}__{'lt' if down else 'gt'}": place.tie})


def _by(field: str, down: bool) -> Any:
    return F(field).desc() if down else F(field).asc()
