"""The one-time sign-in link, and the command that prints it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils.http import urlsafe_base64_encode
from pytest_django import DjangoAssertNumQueries

from explanations import sign_in_links
from tests.world import HOSTILE

GONE = "This link does not work any more"


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", password="a-long-password")


@pytest.fixture
def link(ada: User) -> str:
    return urlsplit(sign_in_links.make_link(ada, "http://testserver")).path


def signed_in(client: Client) -> str | None:
    return client.session.get("_auth_user_id")


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/"])
def test_a_link_is_an_address_of_the_site(ada: User, base: str) -> None:
    assert sign_in_links.make_link(ada, base).startswith("http://127.0.0.1:8000/accounts/link/")


def test_the_page_has_one_button_and_changes_nothing(client: Client, ada: User, link: str) -> None:
    for method in (client.get, client.head, client.get):
        response = method(link)
        assert response.status_code == 200
    page = response.content.decode().split("<main")[1]
    assert page.count("<button") == 1
    assert "Sign in as ada</button>" in page
    assert signed_in(client) is None
    ada.refresh_from_db()
    assert ada.last_login is None


def test_the_page_is_kept_by_nobody(client: Client, link: str) -> None:
    response = client.get(link)
    assert "no-store" in response["Cache-Control"]
    assert response["Referrer-Policy"] == "same-origin"


def test_the_button_signs_in(client: Client, ada: User, link: str) -> None:
    assert client.post(link)["Location"] == reverse("overview")
    assert signed_in(client) == str(ada.pk)


def test_it_works_once(client: Client, ada: User, link: str) -> None:
    client.post(link)
    other = Client()
    for response in (other.get(link), other.post(link)):
        assert response.status_code == 410
        assert GONE in response.content.decode()
        assert reverse("sign_in") in response.content.decode()
    assert signed_in(other) is None


def test_it_works_once_within_one_second(client: Client, ada: User) -> None:
    """Django's own tokens leave the microseconds out."""
    now = datetime.now().astimezone().replace(microsecond=1)
    User.objects.filter(pk=ada.pk).update(last_login=now)
    ada.refresh_from_db()
    token = sign_in_links.make_link(ada, "").rstrip("/").rsplit("/", 1)[1]
    User.objects.filter(pk=ada.pk).update(last_login=now.replace(microsecond=2))
    assert sign_in_links.find_user(uid_of(ada.pk), token) is None


def test_of_two_who_press_the_button_at_once_one_signs_in(ada: User, link: str) -> None:
    """Both requests found the link good before either used it."""
    uid, token = link.strip("/").split("/")[-2:]
    first, second = sign_in_links.find_user(uid, token), sign_in_links.find_user(uid, token)
    assert first is not None
    assert second is not None
    assert [sign_in_links.use_up_link(first), sign_in_links.use_up_link(second)] == [True, False]


def uid_of(pk: object) -> str:
    return urlsafe_base64_encode(str(pk).encode())


def switch_off(ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)


def change_password(ada: User) -> None:
    ada.set_password("another-password")
    ada.save()


def sign_in_by_name(ada: User) -> None:
    Client().post(reverse("sign_in"), {"username": "ada", "password": "a-long-password"})


@pytest.mark.parametrize("change", [switch_off, change_password, sign_in_by_name, User.delete])
def test_it_ends_with(client: Client, ada: User, link: str, change: Callable[[User], object]) -> None:
    change(ada)
    assert client.get(link).status_code == 410
    assert client.post(link).status_code == 410
    assert signed_in(client) is None


def test_it_ends_after_three_days(client: Client, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for days, status in ((2.99, 200), (3.01, 410)):
        later = datetime.now() + timedelta(days=days)
        monkeypatch.setattr(sign_in_links._tokens, "_now", lambda later=later: later)
        assert client.get(link).status_code == status


@pytest.mark.parametrize(
    "path",
    ["x/y", f"{uid_of(1)}/x-y", f"{uid_of('x')}/a-b", f"{uid_of(2**63)}/a-b", f"{uid_of(-1)}/a-b", "%F0%9F/%F0-%9F"],
)
def test_a_made_up_link_is_refused(client: Client, ada: User, path: str) -> None:
    for response in (client.get(f"/accounts/link/{path}/"), client.post(f"/accounts/link/{path}/")):
        assert response.status_code == 410
        assert GONE in response.content.decode()


def test_a_link_is_for_its_person_alone(client: Client, ada: User, link: str) -> None:
    other = User.objects.create_user("bob")
    assert client.post(link.replace(uid_of(ada.pk), uid_of(other.pk))).status_code == 410


def test_a_password_reset_token_signs_nobody_in(client: Client, ada: User, link: str) -> None:
    own = link.strip("/").split("/")[-1]
    assert client.post(link.replace(own, default_token_generator.make_token(ada))).status_code == 410
    assert not default_token_generator.check_token(ada, own)


def test_a_forged_form_is_refused(link: str) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post(link).status_code == 403
    assert client.get(link).status_code == 200


def test_a_person_who_is_signed_in_is_told_so(client: Client, ada: User, link: str) -> None:
    bob = User.objects.create_user("bob")
    client.force_login(bob)
    assert "Signing in as ada signs bob out" in client.get(link).content.decode()
    client.post(link)
    assert signed_in(client) == str(ada.pk)
    assert "You are signed in as ada. <a" in client.get(link).content.decode()


def test_a_link_stays_unused_where_its_person_is_signed_in(client: Client, ada: User) -> None:
    client.force_login(ada)
    ada.refresh_from_db()
    page = client.get(urlsplit(sign_in_links.make_link(ada, "http://testserver")).path).content.decode()
    assert "You are signed in as ada already" in page


def test_a_hostile_name_stays_text(client: Client, db: None) -> None:
    mallory = User.objects.create_user(HOSTILE[:150])
    page = client.get(urlsplit(sign_in_links.make_link(mallory, "http://testserver")).path).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_it_rejects_other_methods(client: Client, link: str, method: str) -> None:
    assert getattr(client, method)(link).status_code == 405


def test_the_page_takes_one_query(client: Client, link: str, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        client.get(link)


# The command


def printed(*args: str) -> str:
    out = StringIO()
    call_command("sign_in_link", *args, stdout=out)
    return out.getvalue()


def test_the_command_prints_a_link_that_works(client: Client, ada: User) -> None:
    link = printed("ada", "--base-url", "https://neurons.example.org/")
    assert link.startswith("https://neurons.example.org/accounts/link/")
    client.post(urlsplit(link.strip()).path)
    assert signed_in(client) == str(ada.pk)


def test_without_a_name_it_takes_the_only_superuser(client: Client, ada: User) -> None:
    with pytest.raises(CommandError, match="no active superuser"):
        printed()
    root = User.objects.create_superuser("root")
    User.objects.create_superuser("gone", is_active=False)
    client.post(urlsplit(printed().strip()).path)
    assert signed_in(client) == str(root.pk)
    User.objects.create_superuser("second")
    with pytest.raises(CommandError, match=r"several superusers \(root, second\)"):
        printed()


def test_the_command_says_whom_it_cannot_sign_in(ada: User) -> None:
    with pytest.raises(CommandError, match="no account called 'nobody'"):
        printed("nobody")
    switch_off(ada)
    with pytest.raises(CommandError, match="'ada' is switched off"):
        printed("ada")


@pytest.mark.parametrize("base", ["", "neurons.example.org", "ftp://x", "https://", "javascript:alert(1)"])
def test_the_command_wants_a_web_address(ada: User, base: str) -> None:
    with pytest.raises(CommandError, match="is not an address"):
        printed("ada", "--base-url", base)
