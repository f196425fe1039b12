"""Signing in and out, and the groups that people are put in."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from tests.world import HOSTILE, World

SIGN_IN = "/accounts/sign-in/"
GOOD = {"username": "reader", "password": "a-long-password"}


def signed_in(client: Client) -> str | None:
    return client.session.get("_auth_user_id")


def test_the_page_asks_for_name_and_password(client: Client, world: World) -> None:
    response = client.get(SIGN_IN)
    page = response.content.decode()
    assert 'name="username"' in page
    assert 'type="password"' in page
    assert "no-store" in response["Cache-Control"]


def test_name_and_password_sign_in(client: Client, world: World) -> None:
    response = client.post(SIGN_IN, GOOD)
    assert response["Location"] == reverse("overview")
    assert signed_in(client) == str(world.reader.pk)


def test_it_goes_on_to_where_the_person_wanted(client: Client, world: World) -> None:
    onward = f"/explanations/{world.explanation.pk}/flag/?x=1"
    page = client.get(SIGN_IN, {"next": onward}).content.decode()
    assert f'name="next" value="{onward}"' in page
    assert client.post(SIGN_IN, {**GOOD, "next": onward})["Location"] == onward


@pytest.mark.parametrize(
    "outside",
    ["https://evil.example/", "//evil.example/", "http:///evil.example", "javascript:alert(1)", "/\\evil.example"],
)
def test_it_goes_on_to_no_other_site(client: Client, world: World, outside: str) -> None:
    assert outside not in client.get(SIGN_IN, {"next": outside}).content.decode()
    assert client.post(SIGN_IN, {**GOOD, "next": outside})["Location"] == reverse("overview")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "This field is required."),
        ({**GOOD, "password": "wrong"}, "No account has this name and password"),
        ({**GOOD, "username": "nobody"}, "No account has this name and password"),
        ({**GOOD, "username": "a\0b"}, "Null characters are not allowed"),
        ({**GOOD, "username": HOSTILE}, "&lt;script&gt;"),
    ],
)
def test_it_says_what_is_wrong(client: Client, world: World, data: dict[str, str], words: str) -> None:
    response = client.post(SIGN_IN, data)
    assert response.status_code == 200
    assert words in response.content.decode()
    assert "<script>alert" not in response.content.decode()
    assert signed_in(client) is None


def test_a_switched_off_account_does_not_sign_in(client: Client, world: World) -> None:
    User.objects.filter(pk=world.reader.pk).update(is_active=False)
    assert client.post(SIGN_IN, GOOD).status_code == 200
    assert signed_in(client) is None


def test_a_forged_form_is_refused(world: World) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post(SIGN_IN, GOOD).status_code == 403
    assert signed_in(client) is None


def test_a_signed_in_person_is_told_so(client: Client, world: World) -> None:
    client.force_login(world.reader)
    assert "You are signed in as reader" in client.get(SIGN_IN).content.decode()


def test_signing_in_starts_a_new_session(client: Client, world: World) -> None:
    client.get(SIGN_IN)
    client.session.save()
    before = client.session.session_key
    client.post(SIGN_IN, GOOD)
    assert client.session.session_key != before


def test_signing_out_ends_the_session(client: Client, world: World) -> None:
    client.force_login(world.reader)
    assert client.post("/accounts/sign-out/")["Location"] == reverse("overview")
    assert signed_in(client) is None
    assert client.post("/accounts/sign-out/").status_code == 302


@pytest.mark.parametrize(("address", "method"), [("/accounts/sign-out/", "get"), (SIGN_IN, "put"), (SIGN_IN, "delete")])
def test_it_rejects_other_methods(client: Client, world: World, address: str, method: str) -> None:
    client.force_login(world.reader)
    assert getattr(client, method)(address).status_code == 405
    assert signed_in(client) is not None


def make_groups() -> None:
    migration: Any = importlib.import_module("explanations.migrations.0003_groups")
    with connection.schema_editor() as editor:
        migration.make_groups(apps, editor)


def permissions_of(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("permissions_exist", [True, False], ids=["later", "on a fresh database"])
def test_the_migration_makes_the_groups(permissions_exist: bool) -> None:
    Group.objects.all().delete()
    names = dict(Permission.objects.values_list("codename", "name"))
    if not permissions_exist:
        Permission.objects.filter(content_type__app_label="explanations").delete()
    for _ in range(2):
        make_groups()
    assert permissions_of("Reviewers") == {"review_flag", "add_job"}
    assert permissions_of("Explainers") == {"add_job"}
    for codename in ("review_flag", "add_job"):
        # Django would add a second permission where ours had another content type, and keep ours by another name.
        assert Permission.objects.get(codename=codename).name == names[codename]


def test_a_reviewer_by_group_may_review(client: Client, world: World) -> None:
    make_groups_inside_a_test()
    world.reader.groups.add(Group.objects.get(name="Reviewers"))
    client.force_login(world.reader)
    assert client.get("/review/").status_code == 200


def make_groups_inside_a_test() -> None:
    if not Group.objects.filter(name="Reviewers").exists():  # emptied by a test that commits
        group = Group.objects.create(name="Reviewers")
        group.permissions.set(Permission.objects.filter(codename__in=["review_flag", "add_job"]))
