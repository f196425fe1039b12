"""What a search finds: a page of explanations, how many there are, and what in them matches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db import connection
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from explanations import search
from explanations.models import Explanation, SubjectModel
from explanations.paging import DAMAGED, GONE, PAGE_SIZE, Order, Page, paginate, paginate_found
from explanations.prepared import Prepared
from explanations.querysets import ExplanationQuerySet
from explanations.search import Criteria, Found
from explanations.search_ranking import rank
from explanations.search_scope import Scope, scope_of
from explanations.statements import number_list

COUNTED = 10_000
"""Matches that are counted exactly."""
RANKED = 1_000
"""Matches that are ranked, and listed by relevance: a word in every explanation must not cost a full ranking."""
FEW = COUNTED
"""Matches that are sorted by score; more are met on a walk along an index of scores."""
ORDERS = {"score": Order("score"), "lowest": Order("score", descending=False)}
"""Served by the indexes of explanations, either way."""


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
    """Return the page that `token` names of the explanations that meet the criteria. Ten queries at most.

    Whatever the token is, the answer is a page: the first, with a problem, where it is damaged.
    """
    criteria = _with_only_model(criteria)
    if not criteria.query.terms:
        return _find_without_words(criteria, token, size)
    scope = scope_of(Explanation.objects.all(), criteria)
    if criteria.sort == "relevance":
        return _find_by_relevance(criteria, scope, token, size)
    return _find_by_score(criteria, scope, token, size)


def _with_only_model(criteria: Criteria) -> Criteria:
    """Return the criteria with the model, where layers of no model are asked for and there is only one."""
    if criteria.layers is None or criteria.model is not None:
        return criteria
    models = list(SubjectModel.objects.only("pk").order_by("pk")[:2])
    return replace(criteria, model=models[0]) if len(models) == 1 else criteria


def _find_by_relevance(criteria: Criteria, scope: Scope, token: str, size: int) -> Results:
    found: Sequence[search.Text] = ()
    count = 0
    if not scope.is_empty:
        rows = Explanation.objects.narrowed(criteria)
        found, count = search.engine(rows.db).find_first(rows, criteria.query, scope, RANKED, COUNTED + 1)
    # All that are ranked, every time: it costs a deep page no more than the first.
    ranked = rank(found, criteria.query)
    start, problem = _read_start(token, len(ranked))
    stop = start + size
    page = Page(
        rows=_fetch(ranked[start:stop]),
        previous=str(max(0, start - size)) if start else None,
        next=str(stop) if stop < len(ranked) else None,
        problem=problem,
    )
    return _results(page, count, is_cut=count > RANKED)


def _results(page: Page[Explanation], found: int, *, is_cut: bool = False) -> Results:
    """Return the results of which this is a page; `found` are counted up to one more than COUNTED."""
    simulators = sorted({row.simulator for row in page.rows if row.score is not None})
    return Results(page, min(found, COUNTED), found <= COUNTED, is_cut, simulators)


def _read_start(token: str, count: int) -> tuple[int, str]:
    """Return the place that a token names, and why it is the first instead."""
    if not token:
        return 0, ""
    if not re.fullmatch(r"[0-9]{1,6}", token, re.ASCII):
        return 0, DAMAGED
    start = int(token)
    return (start, "") if start < max(count, 1) else (0, GONE)


def _among(listed: str) -> ExplanationQuerySet:
    source, _ = number_list(connection.vendor, ())
    among = RawSQL(f"{search.TABLE}.id IN (SELECT value FROM {source})", (listed,), BooleanField())  # noqa: S608, S611
    return Explanation.objects.with_neurons().filter(among)


_listed = Prepared(_among, str)


def _fetch(ids: Sequence[int]) -> list[Explanation]:
    """Return these explanations in this order, without those that are gone by now. One query; none for no ids."""
    if not ids:
        return []
    rows = {row.pk: row for row in _listed(number_list(connection.vendor, ids)[1])}
    return [rows[pk] for pk in ids if pk in rows]


def _find_by_score(criteria: Criteria, scope: Scope, token: str, size: int) -> Results:
    """Return a page in order of scores: of a few matches sorted, of many met on the way along an index."""
    found: Sequence[Found] | None = ()
    if not scope.is_empty:
        rows = Explanation.objects.narrowed(criteria)
        found = search.engine(rows.db).find(rows, criteria.query, scope, COUNTED)
    order = ORDERS[criteria.sort]
    if found is not None and len(found) <= FEW:
        part = paginate_found(found, order, token, size)
        page = Page(_fetch(part.ids), part.previous, part.next, part.problem)
    else:
        rows = Explanation.objects.narrowed(criteria, are_many=True)
        page = _paginate(search.engine(rows.db).match(rows, criteria.query, scope), order, token, size)
    return _results(page, COUNTED + 1 if found is None else len(found))


def _paginate(rows: ExplanationQuerySet, order: Order, token: str, size: int) -> Page[Explanation]:
    """Return a page of these rows. Its ids come first: the ORM takes 5 ms to write and read fifty rows of a join."""
    page = paginate(rows.only("score"), order, token, size)
    return replace(page, rows=_fetch([row.pk for row in page.rows]))


def _find_without_words(criteria: Criteria, token: str, size: int) -> Results:
    count = Explanation.objects.narrowed(criteria).order_by().values("id")[: COUNTED + 1].count()
    rows = Explanation.objects.narrowed(criteria, are_many=count > COUNTED)
    # Nothing found is nothing to look for again.
    page = _paginate(rows if count else rows.none(), ORDERS[criteria.sort], token, size)
    return _results(page, count)
