"""The back office: it shows the rows, changes little, and never shows packed bytes."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from explanations import review
from explanations.models import Flag, Job, Simulation, Trial
from tests.world import HOSTILE, World

TABLES = ["subjectmodel", "neuron", "explanation", "simulation", "flag", "job", "trial"]


@pytest.fixture
def root(client: Client, world: World) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    flag = review.file_flag(explanation=world.explanation, reporter=world.reader, reason="other", note=HOSTILE)
    review.claim_flag(flag=flag, reviewer=world.reviewer)
    Job.objects.create(neuron=world.neuron, explainer="e", simulator="s", requested_by=world.explainer)
    Trial.objects.create(model=world.model, neuron=world.hostile, author=world.reader, text=HOSTILE)
    return client


def pk_of(table: str, world: World) -> int:
    return {
        "subjectmodel": world.model.pk,
        "neuron": world.hostile.pk,
        "explanation": world.hostile.explanations.get().pk,
        "simulation": Simulation.objects.values_list("pk", flat=True)[0],
        "flag": Flag.objects.values_list("pk", flat=True)[0],
        "job": Job.objects.values_list("pk", flat=True)[0],
        "trial": Trial.objects.values_list("pk", flat=True)[0],
    }[table]


def address(table: str, rest: str = "") -> str:
    return f"/admin/explanations/{table}/{rest}"


@pytest.mark.parametrize("table", TABLES)
def test_it_lists_and_shows_rows_with_bounded_queries(
    root: Client, world: World, table: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(9):
        rows = root.get(address(table))
    assert rows.status_code == 200
    with django_assert_max_num_queries(14):
        row = root.get(address(table, f"{pk_of(table, world)}/change/"))
    assert row.status_code == 200
    for response in (rows, row):
        page = response.content.decode()
        assert "<script>alert" not in page
        assert not re.search(r"\bb&#x27;|memory at 0x", page), "packed bytes are shown"
        assert 'style="' not in page


@pytest.mark.parametrize("table", TABLES)
def test_it_adds_and_deletes_nothing(root: Client, world: World, table: str) -> None:
    assert root.get(address(table, "add/")).status_code == 403
    assert root.post(address(table, f"{pk_of(table, world)}/delete/"), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("table", [table for table in TABLES if table != "subjectmodel"])
def test_it_changes_nothing_that_the_pages_keep(root: Client, world: World, table: str) -> None:
    assert root.post(address(table, f"{pk_of(table, world)}/change/"), {"state": "retired"}).status_code == 403


def test_what_is_said_about_a_model_can_be_changed(root: Client, world: World) -> None:
    said = {
        "name": "Tiny, renamed",
        "description": "for tests",
        "source": "made",
        "license": "none",
        "highlights": "[]",
    }
    response = root.post(address("subjectmodel", f"{world.model.pk}/change/"), {**said, "slug": "x", "layers": "9"})
    assert response.status_code == 302
    world.model.refresh_from_db()
    assert (world.model.name, world.model.slug, world.model.layers) == ("Tiny, renamed", "tiny", 2)


@pytest.mark.parametrize(
    ("table", "words", "found"),
    [
        ("neuron", "0:1", 1),
        ("neuron", "tiny 0:1", 1),
        ("neuron", "other 0:1", 0),
        ("neuron", "9:9", 0),
        ("neuron", "99999:999999999", 0),
        ("neuron", "French", 0),
        ("neuron", "", 5),
        ("explanation", "French", 0),
        ("flag", "reader", 1),
        ("flag", "read", 0),
        ("job", "explainer", 1),
    ],
)
def test_it_finds_rows_by_place_number_or_name(root: Client, world: World, table: str, words: str, found: int) -> None:
    response = root.get(address(table), {"q": words})
    assert response.context["cl"].result_count == found


@pytest.mark.parametrize("table", ["explanation", "simulation", "flag", "job", "trial"])
def test_it_finds_a_row_by_its_number(root: Client, world: World, table: str) -> None:
    response = root.get(address(table), {"q": str(pk_of(table, world))})
    assert response.context["cl"].result_count >= 1


def test_the_history_stands_under_its_flag(root: Client, world: World) -> None:
    page = root.get(address("flag", f"{pk_of('flag', world)}/change/")).content.decode()
    assert "claimed" in page
    assert "&lt;script&gt;" in page


def test_it_is_for_staff(client: Client, world: World) -> None:
    for _ in range(2):
        assert client.get(address("flag")).status_code == 302
        client.force_login(world.reviewer)
