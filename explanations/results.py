"""What a search finds: a page of explanations, how many there are, and what in them matches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from explanations import search
from explanations.models import Explanation
from explanations.paging import PAGE_SIZE, Order, Page, paginate
from explanations.querysets import ExplanationQuerySet
from explanations.search import Criteria

COUNTED = 10_000
"""Matches that are counted exactly, and ranked: a word that is in every explanation must not cost a full ranking."""

ORDERS = {"score": Order("score"), "lowest": Order("score", descending=False)}
"""Served by the index `explanation_by_score`, either way."""

DAMAGED = "This page address is damaged, so here is the first page."
GONE = "There is nothing on that page any more, so here is the first page."


@dataclass(frozen=True)
class Results:
    """A page of what was found."""

    page: Page[Explanation]
    count: int
    """at most COUNTED"""
    is_counted: bool
    """whether `count` is exact; else there are more"""
    is_cut: bool
    """whether only the first COUNTED matches were ranked, and can be paged through"""
    simulators: Sequence[str]
    """that gave the scores on this page"""


def find_explanations(criteria: Criteria, token: str, size: int = PAGE_SIZE) -> Results:
    """Return the page that `token` names of the explanations that meet the criteria. Two queries, or three.

    Whatever the token is, the answer is a page: the first, with a problem, where it is damaged.
    """
    if criteria.sort == "relevance":
        return _find_by_relevance(criteria, token, size)
    return _find_by_score(criteria, token, size)


def _find_by_relevance(criteria: Criteria, token: str, size: int) -> Results:
    # All ids to the cap, every time: it costs a deep page no more than the first. Equals in rank go by score.
    rows = search.rank(Explanation.objects.narrowed(criteria), criteria.query)
    found = list(rows.values_list("relevance", "score", "id")[: COUNTED + 1])  # type: ignore[misc]
    is_cut = len(found) > COUNTED
    ranked = sorted(found[:COUNTED], key=lambda hit: (-hit[0], hit[1] is None, -(hit[1] or 0.0), hit[2]))
    start, problem = _read_start(token, len(ranked))
    stop = start + size
    page = Page(
        rows=_fetch([pk for _, _, pk in ranked[start:stop]]),
        previous=str(max(0, start - size)) if start else None,
        next=str(stop) if stop < len(ranked) else None,
        problem=problem,
    )
    return Results(page, len(ranked), not is_cut, is_cut, _simulators(page))


def _read_start(token: str, count: int) -> tuple[int, str]:
    """Return the place that a token names, and why it is the first instead."""
    if not token:
        return 0, ""
    if not re.fullmatch(r"[0-9]{1,6}", token, re.ASCII):
        return 0, DAMAGED
    start = int(token)
    return (start, "") if start < max(count, 1) else (0, GONE)


def _fetch(ids: Sequence[int]) -> list[Explanation]:
    """Return these explanations in this order, without those that are gone by now."""
    rows = Explanation.objects.with_neurons().in_bulk(ids)
    return [rows[pk] for pk in ids if pk in rows]


def _find_by_score(criteria: Criteria, token: str, size: int) -> Results:
    count = _count(search.match(Explanation.objects.narrowed(criteria), criteria.query))
    are_many = count > COUNTED
    rows = Explanation.objects.narrowed(criteria, are_many=are_many)
    rows = search.match(rows, criteria.query, are_many=are_many).with_neurons()
    # Nothing found is nothing to look for again, which may take long: no index holds the sources.
    page = paginate(rows if count else rows.none(), ORDERS[criteria.sort], token, size)
    return Results(page, min(count, COUNTED), not are_many, False, _simulators(page))


def _count(rows: ExplanationQuerySet) -> int:
    """Return the number of rows, or COUNTED + 1 where there are more."""
    return rows.order_by().values("id")[: COUNTED + 1].count()


def _simulators(page: Page[Explanation]) -> list[str]:
    return sorted({row.simulator for row in page.rows if row.score is not None})
