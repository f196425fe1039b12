"""Every page asks an index: no query reads a whole table of neurons, explanations, excerpts or flags, or sorts one.

Plans of a few rows say little by themselves, so the databases are asked whether an index can serve at all. SQLite
plans by the schema alone where nothing was analysed. PostgreSQL is told to avoid reading whole tables and sorting:
where it does so nevertheless, there is no index for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from explanations import review
from explanations.models import Excerpt, Explanation, Neuron, SubjectModel
from tests.planning import forbid
from tests.world import World

BIG = "activationset|excerpt|explanation|flag|job|neuron|relatedset|reviewevent|simulation"  # explanations_...
LAYER = "/tiny/layers/0/"
NEURON = f"{LAYER}neurons/0/"
PAGES = [
    "/",
    "/tiny/",
    *(f"{LAYER}?sort={minus}{name}" for name in ("index", "score", "max", "kurtosis", "flags") for minus in ("", "-")),
    f"{LAYER}?text=word",
    f"{LAYER}?min_score=0.1&max_score=0.9&sort=score",
    f"{LAYER}?flagged=on&sort=flags",
    f"{LAYER}?unexplained=on",
    f"{LAYER}?sort=score&page=after:0.5:1",
    f"{LAYER}?sort=score&page=after:-:1",
    NEURON,
    "/tiny/layers/0/neurons/2/",
    f"{NEURON}excerpts/?values=excerpts",
    f"{NEURON}excerpts/?values=simulation",
    "/go/?model=tiny&neuron=0:1",
    "/random/?model=tiny",
    "/search/?sort=score",
    "/search/?sort=lowest",
    "/search/?sort=score&page=after:0.5:1",
    "/search/?source=human",
    "/search/?state=retired",
    "/search/?min_score=0.2&max_score=0.8",
    "/search/?layer=0",
    "/search/?model=tiny&layer=0&sort=lowest",
    "/api/v1/models",
    "/api/v1/models/tiny/layers/0/neurons",
    "/api/v1/models/tiny/layers/0/neurons/0",
    "/api/v1/models/tiny/layers/0/neurons/0/activations",
]
SEARCHES = [
    f"/search/?{filters}q={words}&sort={sort}"
    for filters in ("", "model=tiny&layer=0&", "layer=0-1&", "min_score=0.1&", "source=human&", "state=retired&")
    for words in ("days", "day*")
    for sort in ("relevance", "score")
]
QUEUE = ["/jobs/", "/jobs/?state=done", *(f"/review/?state={s}" for s in ("undecided", "open", "mine", "kept", "all"))]


@contextmanager
def planned() -> Iterator[list[str]]:
    """Note the lines of the plans of all queries that are made in the block, those of counting and locking too."""
    lines: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.lstrip().startswith(("SELECT", "WITH")):
            lines.extend(f"{line}   in {sql}" for line in _plan(sql, parameters))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(explain):
        yield lines


def _plan(sql: str, parameters: Any) -> list[str]:
    how, column = ("EXPLAIN", 0) if connection.vendor == "postgresql" else ("EXPLAIN QUERY PLAN", 3)
    # Another cursor of the driver's: the plan of a plan is not asked for.
    with connection.cursor() as cursor:
        cursor.cursor.execute(f"{how} {sql}", parameters or ())
        return [str(row[column]) for row in cursor.cursor.fetchall()]


def reading_all(lines: list[str]) -> list[str]:
    """Return the lines of plans that read a whole big table."""
    return [line for line in lines if re.search(_READS_ALL[connection.vendor], line)]


_IN_ORDER = r'ORDER BY "explanations_\w+"\."id" (ASC|DESC) LIMIT \d+$'
"""Walks the primary key, and stops when the page is full."""
_READS_ALL = {
    "postgresql": rf"^[^\n]*Seq Scan on explanations_({BIG})\b[^\n]*   in ",
    # "USING INDEX" walks an index in its order.
    "sqlite": rf"^SCAN (explanations_({BIG})|[A-Z]\d+|n)(?! USING (COVERING )?INDEX)   in (?!.*{_IN_ORDER})",
}


def sorting(lines: list[str]) -> list[str]:
    """Return the lines of plans that sort."""
    mark = "Sort Key" if connection.vendor == "postgresql" else "USE TEMP B-TREE FOR ORDER BY"
    return [line for line in lines if mark in line.partition("   in ")[0]]


@pytest.mark.parametrize("path", PAGES)
def test_no_page_reads_a_whole_table_or_sorts_it(client: Client, world: World, path: str) -> None:
    forbid("seqscan", "sort")
    with planned() as lines:
        assert client.get(path).status_code in (200, 302)
    assert lines
    assert reading_all(lines) == []
    # On its own page and in the API, one neuron's explanations and simulations are sorted.
    assert [line for line in sorting(lines) if not re.search('"(neuron|explanation)_id" (=|IN)', line)] == []


@pytest.mark.parametrize("path", SEARCHES)
def test_no_search_reads_a_whole_table(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    forbid("seqscan", "sort")
    for few in (2_000, 0):
        monkeypatch.setattr("explanations.results.FEW", few)
        with planned() as lines:
            assert client.get(path).status_code == 200
        assert reading_all(lines) == []


@pytest.mark.parametrize("layers", ["0", "0-1"])
def test_layers_of_several_models_are_read_along_an_index(client: Client, world: World, layers: str) -> None:
    SubjectModel.objects.create(slug="other", name="Other", layers=2, neurons_per_layer=1)
    forbid("seqscan", "sort")
    with planned() as lines:
        assert client.get(f"/search/?layer={layers}&q=days").status_code == 200
        assert client.get(f"/search/?layer={layers}").status_code == 200
    assert reading_all(lines) == []


@pytest.mark.parametrize("path", QUEUE)
def test_the_queue_and_the_jobs_are_read_along_an_index(client: Client, world: World, path: str) -> None:
    for person in (world.reader, world.explainer):
        review.file_flag(explanation=world.explanation, reporter=person, reason="vague", note="")
    client.force_login(world.reviewer)
    forbid("seqscan", "sort")
    with planned() as lines:
        assert client.get(path).status_code == 200
    assert reading_all(lines) == []


def test_what_points_at_a_deleted_row_is_found_along_an_index(world: World) -> None:
    forbid("seqscan", "sort")
    with planned() as lines:
        list(Explanation.objects.filter(parent__in=[world.explanation.pk]))
        list(Explanation.objects.filter(author__in=[world.reader.pk]))
        list(Explanation.objects.filter(neuron__in=[world.neuron.pk]))
        list(Neuron.objects.filter(model__in=[world.model.pk]))
        list(Excerpt.objects.filter(model__in=[world.model.pk]))
    assert len(lines) >= 5
    assert reading_all(lines) == []


def test_a_whole_table_that_is_read_would_be_noticed(world: World) -> None:
    forbid("seqscan", "sort")
    with planned() as lines, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM explanations_neuron WHERE headline_text LIKE '%%x%%' ORDER BY mean")
    assert reading_all(lines)
    assert sorting(lines)
