"""Keyset pages: every row once, in order, both ways, with NULLs last; damage gives the first page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import F, QuerySet

from explanations.models import Neuron, SubjectModel
from explanations.paging import Order, Page, paginate
from tests.planning import forbid

SCORES = [0.5, None, 0.1, 0.5, None, -0.3, 0.30000000000000004, 0.5, None, 0.3, None]

BY_SCORE = Order("headline_score", "index")
BY_SCORE_UP = Order("headline_score", "index", descending=False)
BY_FLAGS = Order("open_flag_count", "index", nullable=False)
BY_FLAGS_UP = Order("open_flag_count", "index", descending=False, nullable=False)
BY_INDEX = Order(None, "index", descending=False)
BY_INDEX_DOWN = Order(None, "index")
ORDERS = [BY_SCORE, BY_SCORE_UP, BY_FLAGS, BY_FLAGS_UP, BY_INDEX, BY_INDEX_DOWN]


@pytest.fixture
def rows(db: None) -> QuerySet[Neuron]:
    model = SubjectModel.objects.create(slug="m", name="M", layers=1, neurons_per_layer=len(SCORES))
    Neuron.objects.bulk_create(
        Neuron(model=model, layer=0, index=i, headline_score=score, open_flag_count=i % 3)
        for i, score in enumerate(SCORES)
    )
    return Neuron.objects.filter(model=model, layer=0)


def expected(rows: QuerySet[Neuron], order: Order) -> list[int]:
    """Return the indices in order, found the slow way."""
    if order.field is None:
        return sorted((n.index for n in rows), reverse=order.descending)
    values = [(getattr(n, order.field), n.index) for n in rows]
    known = sorted((-value, index) for value, index in values if value is not None)
    if not order.descending:
        known.reverse()
    return [index for _, index in known] + sorted(index for value, index in values if value is None)


def indices(page: Page[Neuron]) -> list[int]:
    return [n.index for n in page.rows]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 20])
@pytest.mark.parametrize("order", ORDERS)
def test_pages_forward_show_every_row_once_in_order(rows: QuerySet[Neuron], order: Order, size: int) -> None:
    seen, page = [], paginate(rows, order, "", size)
    while True:
        seen.append(indices(page))
        if page.next is None:
            break
        page = paginate(rows, order, page.next, size)
    assert [index for part in seen for index in part] == expected(rows, order)
    assert all(len(part) == size for part in seen[:-1])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("order", ORDERS)
def test_going_back_shows_the_same_pages(rows: QuerySet[Neuron], order: Order, size: int) -> None:
    page = paginate(rows, order, "", size)
    assert page.previous is None
    forward = [indices(page)]
    while page.next:
        page = paginate(rows, order, page.next, size)
        forward.append(indices(page))
    backward = [indices(page)]
    while page.previous:
        page = paginate(rows, order, page.previous, size)
        backward.append(indices(page))
    assert backward[::-1] == forward
    assert page.next is not None


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "after:",
        "after:1:2:3",
        "after:nan:3",
        "after:inf:3",
        "after:1e999:3",
        "after:1.2.3:3",
        "after:0.5:99999999999999999999",
        "after:0.5:-1",
        "before:0.5:9223372036854775808",
        "after:99999999999999999999:3",
        "after:\u0663:3",
        "after:0.5:3\n",
        "\0",
        "after:0.5:3' OR 1=1 --",
    ],
)
@pytest.mark.parametrize("order", [BY_SCORE, BY_FLAGS])
def test_a_damaged_token_gives_the_first_page_and_says_so(rows: QuerySet[Neuron], order: Order, token: str) -> None:
    page = paginate(rows, order, token, 3)
    assert page.problem
    assert indices(page) == expected(rows, order)[:3]


def test_a_token_of_another_order_is_no_error(rows: QuerySet[Neuron]) -> None:
    for order in ORDERS:
        for token in ("after:0.5:3", "before:2:3", "after:-:3", "after:4", "before:1e300:9223372036854775807"):
            assert paginate(rows, order, token, 3).rows


def test_a_page_whose_rows_are_gone_gives_the_first_page_and_says_so(rows: QuerySet[Neuron]) -> None:
    page = paginate(rows, BY_INDEX, "after:10", 3)
    assert (indices(page), bool(page.problem)) == ([0, 1, 2], True)


def test_no_rows_make_an_empty_page(rows: QuerySet[Neuron]) -> None:
    page = paginate(rows.filter(index__gt=99), BY_SCORE, "", 3)
    assert (list(page.rows), page.previous, page.next, page.problem) == ([], None, None, "")


def test_a_field_of_another_row_can_be_sorted_by(rows: QuerySet[Neuron]) -> None:
    order = Order("model__layers", "index", nullable=False)
    page = paginate(rows.select_related("model"), order, "", 4)
    assert page.next is not None
    assert indices(paginate(rows.select_related("model"), order, page.next, 4)) == [4, 5, 6, 7]


def test_an_annotation_can_be_sorted_by(rows: QuerySet[Neuron]) -> None:
    doubled, order = rows.annotate(double=F("headline_score") * 2), Order("double", "index")
    first = paginate(doubled, order, "", 4)
    assert first.next is not None
    assert indices(first) + indices(paginate(doubled, order, first.next, 4)) == expected(rows, BY_SCORE)[:8]


def plans(rows: QuerySet[Neuron], order: Order, token: str) -> list[str]:
    """Return the database's plan of each query that the page costs."""
    queries: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        queries.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        paginate(rows, order, token, 3)
    forbid("seqscan", "bitmapscan", "sort")
    with connection.cursor() as cursor:
        explain = "EXPLAIN (COSTS OFF) " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
        found = []
        for sql, params in queries:
            cursor.execute(explain + sql, params)
            found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
        return found


@pytest.mark.parametrize("token", ["", "after:0.5:3", "before:0.1:2", "after:-:4", "before:-:8"])
@pytest.mark.parametrize(
    ("order", "index"),
    [
        (BY_SCORE, "neuron_by_score"),
        (BY_SCORE_UP, "neuron_by_score"),
        (Order("max_activation", "index"), "neuron_by_max"),
        (Order("kurtosis", "index", descending=False), "neuron_by_kurtosis"),
    ],
)
def test_an_index_finds_every_page_in_order(rows: QuerySet[Neuron], order: Order, index: str, token: str) -> None:
    found = plans(rows, order, token)
    assert found
    if connection.vendor == "sqlite" and order.nullable and token == "":
        assert "headline_score>?" in found[0] or order.field != "headline_score", "it would read the NULLs first"
    for plan in found:
        assert index in plan or (index == "neuron_is_unique" and "sqlite_autoindex" in plan)
        assert "SCAN" not in plan.replace("Index Scan", "")
        assert "Seq Scan" not in plan
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("token", ["", "after:1:3", "before:1:2"])
@pytest.mark.parametrize(
    ("order", "index"),
    [(BY_FLAGS, "neuron_by_flags"), (BY_FLAGS_UP, "neuron_by_flags"), (BY_INDEX, "neuron_is_unique")],
)
def test_an_index_finds_every_page_of_an_order_without_nulls(
    rows: QuerySet[Neuron], order: Order, index: str, token: str
) -> None:
    test_an_index_finds_every_page_in_order(
        rows, order, index, token.replace(":1:", ":") if order == BY_INDEX else token
    )
