"""A page that has not changed costs a 304, and every write that changes a page changes its ETag."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from explanations import review, store, trial_leases
from explanations.models import ActivationSet, Excerpt, Explanation, Job, Neuron, Simulation, SubjectModel, Trial
from explanations.version_triggers import create_triggers, watched_tables
from tests.world import World, make_world

NEURON = "/tiny/layers/0/neurons/0/"
PAGES = [
    "/",
    "/tiny/",
    "/tiny/layers/0/",
    "/tiny/layers/0/?sort=score",
    NEURON,
    NEURON + "excerpts/?values=excerpts",
    "/search/",
    "/search/?q=days",
    "/api/v1/models",
    "/api/v1/models/tiny/layers/0/neurons/0",
    "/api/v1/search?q=days",
]


@pytest.fixture
def lasting_world(transactional_db: None) -> World:
    """Return the world in a database whose transactions end: within one, nothing can be told of the data's version."""
    create_triggers(connection)
    return make_world()


def tag(client: Client, path: str = NEURON, **headers: str) -> str:
    response = client.get(path, headers=headers)
    assert response.status_code == 200
    return response["ETag"]


def again(client: Client, known: str, path: str = NEURON, **headers: str) -> HttpResponse:
    return client.get(path, headers={"If-None-Match": known, **headers})


def kept(client: Client, path: str = NEURON, **headers: str) -> HttpResponse:
    """Return what a browser is answered that has just been given the page, and asks for it again.

    On PostgreSQL a write anywhere in the server renews every tag, and other tests write beside this one: whoever was
    given a new page in between asks once more.
    """
    for _ in range(50):
        response = again(client, tag(client, path, **headers), path, **headers)
        if response.status_code == 304 or connection.vendor == "sqlite":
            break
    return response


def test_an_unchanged_page_costs_a_304_and_one_query(lasting_world: World) -> None:
    client = Client()
    for path in PAGES:
        response = kept(client, path)
        assert (response.status_code, response.content) == (304, b""), path
        with CaptureQueriesContext(connection) as queries:
            response = again(client, response["ETag"], path)
        assert len(queries) == 1 or response.status_code == 200
        assert again(client, 'W/"other"', path).status_code == 200
        assert {"private", "no-cache"} <= set(response["Cache-Control"].split(", "))
        assert {"Cookie", "HX-Request"} <= set(response["Vary"].split(", "))
    assert not client.cookies, "nobody who only reads gets a cookie"


def test_pages_people_and_fragments_are_told_apart(lasting_world: World) -> None:
    nobody, reader, reviewer = Client(), Client(), Client()
    reader.force_login(lasting_world.reader)
    reviewer.force_login(lasting_world.reviewer)
    reader.get(NEURON)
    reviewer.get(NEURON)
    tags = [tag(client) for client in (nobody, reader, reviewer)]
    tags += [tag(nobody, NEURON + "?view=overlay"), tag(nobody, "/tiny/layers/0/neurons/1/")]
    tags += [tag(nobody, **{"HX-Request": "true"}), tag(nobody, **{"HX-Request": "true", "HX-Boosted": "true"})]
    tags += [tag(nobody, **{"HX-Request": "true", "HX-Current-URL": f"http://testserver{NEURON}?view=overlay"})]
    assert len(set(tags)) == len(tags)
    assert again(reader, tags[2]).status_code == 200, "a reviewer's page is not a reader's"
    assert kept(reader).status_code == 304
    reader.logout()
    assert again(reader, tags[1]).status_code == 200


def test_a_page_with_a_message_is_neither_kept_nor_taken_from_what_was_kept(lasting_world: World) -> None:
    client = Client()
    client.force_login(lasting_world.reader)
    client.get(NEURON)
    known = tag(client)
    client.post(f"/explanations/{lasting_world.explanation.pk}/flag/", {"reason": "vague", "next": NEURON})
    response = again(client, known)
    assert response.status_code == 200
    assert "is flagged" in response.content.decode()
    assert not response.has_header("ETag")
    assert "is flagged" not in client.get(NEURON).content.decode()


def _decide(world: World) -> None:
    flag = review.file_flag(explanation=world.baseline, reporter=world.explainer, reason="vague", note="")
    review.claim_flag(flag=flag, reviewer=world.reviewer)
    seen = flag.events.order_by("-id").values_list("pk", flat=True)[0]
    review.decide_flag(flag=flag, reviewer=world.reviewer, decision="retired", reason="It is.", seen=seen)


def _queue(world: World) -> None:
    Job.objects.create(neuron=world.neuron, explainer="a", simulator="b", requested_by=world.reader)


WRITES: dict[str, Callable[[World], object]] = {
    "an explanation's text": lambda w: Explanation.objects.filter(pk=w.explanation.pk).update(text="other"),
    "an explanation more": lambda w: Explanation.objects.create(neuron=w.neuron, text="new", source="human"),
    "a flag": lambda w: review.file_flag(explanation=w.explanation, reporter=w.reader, reason="vague", note=""),
    "a decision": _decide,
    "a job": _queue,
    "a job's stage": lambda _: Job.objects.update(stage="reading"),
    "a neuron's statistics": lambda w: Neuron.objects.filter(pk=w.neuron.pk).update(mean=1.5),
    "headlines": lambda w: (
        Explanation.objects.filter(pk=w.explanation.pk).update(score=0.99),
        store.refresh_headlines([w.neuron.pk]),
    ),
    "a simulation": lambda w: Simulation.objects.filter(explanation=w.explanation).update(rsquared=0.25),
    "activations": lambda w: ActivationSet.objects.filter(neuron=w.neuron).delete(),
    "a text": lambda _: Excerpt.objects.all().delete(),
    "the model": lambda _: SubjectModel.objects.update(name="Other"),
    "a person's name": lambda w: User.objects.filter(pk=w.reader.pk).update(username="other"),
    "an explanation less": lambda w: w.baseline.delete(),
    "a permission": lambda w: w.reader.user_permissions.add(Permission.objects.get(codename="review_flag")),
}


def test_every_write_changes_the_tag(lasting_world: World) -> None:
    client = Client()
    known = tag(client)
    for name, write in WRITES.items():
        write(lasting_world)
        changed = tag(client)
        assert changed != known, name
        known = changed
        assert kept(client).status_code == 304, name


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL's snapshot knows no columns")
def test_a_lease_that_is_renewed_changes_no_page(lasting_world: World) -> None:
    _queue(lasting_world)
    client = Client()
    known = tag(client)
    Job.objects.update(lease_owner="worker", lease_until=timezone.now())
    assert again(client, known).status_code == 304


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL needs no triggers")
def test_every_table_of_ours_renews_the_version_on_sqlite() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%explanations_version%'"
        )
        found = cursor.fetchall()
    for table in watched_tables():
        events = {name.rpartition("_")[2] for place, name in found if place == table}
        assert events == {"insert", "update", "delete"}, table


@pytest.mark.django_db
def test_triggers_that_a_migration_dropped_come_back() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL needs no triggers")
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER explanations_neuron_version_update")
        create_triggers(connection)
        cursor.execute("SELECT count(*) FROM sqlite_master WHERE name = 'explanations_neuron_version_update'")
        assert cursor.fetchone() == (1,)


def test_nothing_is_kept_while_templates_may_change_or_within_a_transaction(lasting_world: World) -> None:
    with override_settings(DEBUG=True):
        assert not Client().get("/tiny/").has_header("ETag")


def test_what_is_not_there_has_no_tag(world: World, client: Client) -> None:
    assert not client.get("/tiny/layers/9/").has_header("ETag")
    assert not client.get(NEURON).has_header("ETag"), "within a transaction"


def test_a_folder_that_goes_and_texts_that_are_kept_change_the_page(
    lasting_world: World, settings: Any, tmp_path: Path
) -> None:
    client = Client()
    known = [tag(client)]
    for folders in ({"tiny": tmp_path / "missing"}, {"tiny": tmp_path}):
        settings.NEURONVIEWER_SUBJECTS = folders
        known.append(tag(client))
    settings.TRY_MAX_TOKENS = 9
    known.append(tag(client))
    trial = Trial(model=lasting_world.model, neuron=lasting_world.neuron, author=lasting_world.reader)
    trial.save()
    known.append(tag(client))
    trial_leases.claim(trial.pk, "one")
    known.append(tag(client))
    trial_leases.renew(trial.pk, "one")
    # PostgreSQL's snapshot counts every write, seen or not.
    assert tag(client) == known[-1] or connection.vendor == "postgresql"
    assert len(set(known)) == len(known)
