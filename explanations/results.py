"""What a search finds: a page of explanations, how many there are, and what in them matches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from explanations import search
from explanations.models import Explanation
from explanations.paging import PAGE_SIZE, Order, Page, paginate
from explanations.search import Criteria
from explanations.search_ranking import rank
from explanations.search_scope import Scope, scope_of

COUNTED = 10_000
"""Matches that are counted exactly."""
RANKED = 1_000
"""Matches that are ranked, and listed by relevance: a word in every explanation must not cost a full ranking."""
FEW = 2_000
"""Matches that are read and sorted by score; more are met on a walk along the index of scores."""
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
    """whether only the first RANKED matches were ranked, and can be paged through"""
    simulators: Sequence[str]
    """that gave the scores on this page"""


def find_explanations(criteria: Criteria, token: str, size: int = PAGE_SIZE) -> Results:
    """Return the page that `token` names of the explanations that meet the criteria. Nine queries at most.

    Whatever the token is, the answer is a page: the first, with a problem, where it is damaged.
    """
    if not criteria.query.terms:
        return _find_without_words(criteria, token, size)
    rows = Explanation.objects.narrowed(criteria)
    scope = scope_of(Explanation.objects.all(), criteria)
    ids = [] if scope.is_empty else search.engine(rows.db).find(rows, criteria.query, scope, COUNTED + 1)
    if criteria.sort == "relevance":
        page = _find_by_relevance(criteria, ids, token, size)
    else:
        page = _find_by_score(criteria, scope, ids, token, size)
    count = min(len(ids), COUNTED)
    is_cut = criteria.sort == "relevance" and len(ids) > RANKED
    return Results(page, count, len(ids) <= COUNTED, is_cut, _simulators(page))


def _find_by_relevance(criteria: Criteria, ids: Sequence[int], token: str, size: int) -> Page[Explanation]:
    # All that are ranked, every time: it costs a deep page no more than the first.
    ranked = rank(read_texts(ids[:RANKED]), criteria.query)
    start, problem = _read_start(token, len(ranked))
    stop = start + size
    return Page(
        rows=_fetch(ranked[start:stop]),
        previous=str(max(0, start - size)) if start else None,
        next=str(stop) if stop < len(ranked) else None,
        problem=problem,
    )


def read_texts(ids: Sequence[int]) -> list[tuple[int, str, float | None]]:
    """Return (id, text, score) of these explanations. One query."""
    return list(Explanation.objects.filter(pk__in=ids).values_list("id", "text", "score")) if ids else []


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


def _find_by_score(criteria: Criteria, scope: Scope, ids: Sequence[int], token: str, size: int) -> Page[Explanation]:
    """Return a page in order of scores: of a few matches sorted, of many met on the way along the index."""
    if len(ids) <= min(FEW, COUNTED):
        rows = Explanation.objects.filter(pk__in=ids)
    else:
        rows = Explanation.objects.narrowed(criteria, are_many=True)
        rows = search.engine(rows.db).match(rows, criteria.query, scope)
    return paginate(rows.with_neurons(), ORDERS[criteria.sort], token, size)


def _find_without_words(criteria: Criteria, token: str, size: int) -> Results:
    count = Explanation.objects.narrowed(criteria).order_by().values("id")[: COUNTED + 1].count()
    are_many = count > COUNTED
    rows = Explanation.objects.narrowed(criteria, are_many=are_many).with_neurons()
    # Nothing found is nothing to look for again.
    page = paginate(rows if count else rows.none(), ORDERS[criteria.sort], token, size)
    return Results(page, min(count, COUNTED), not are_many, False, _simulators(page))


def _simulators(page: Page[Explanation]) -> list[str]:
    return sorted({row.simulator for row in page.rows if row.score is not None})
