"""Flagging an explanation."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from explanations import review
from explanations.models import Explanation, Flag, Neuron
from explanations.review import AlreadyFlagged, ReviewError
from tests.world import HOSTILE, World

HTMX = {"HX-Request": "true"}


def address(explanation: Explanation) -> str:
    return reverse("flag", args=[explanation.pk])


@pytest.fixture
def reader(client: Client, world: World) -> Client:
    client.force_login(world.reader)
    return client


def open_flags(neuron: Neuron) -> int:
    neuron.refresh_from_db()
    return neuron.open_flag_count


def test_the_page_shows_the_explanation_its_neuron_and_the_form(reader: Client, world: World) -> None:
    page = reader.get(address(world.explanation)).content.decode()
    assert world.explanation.text in page
    assert f'href="{world.neuron.get_absolute_url()}"' in page
    assert "toy-simulator" in page
    assert page.count('type="radio"') == 5
    assert "<html" in page


def test_htmx_gets_the_form_alone(reader: Client, world: World) -> None:
    response = reader.get(address(world.explanation), headers=HTMX)
    page = response.content.decode()
    assert page.count('type="radio"') == 5
    assert "<html" not in page
    assert f'action="{address(world.explanation)}"' in page
    assert "HX-Request" in response["Vary"]


def test_filing_stores_the_flag_its_event_and_the_count(reader: Client, world: World) -> None:
    response = reader.post(address(world.explanation), {"reason": "too_broad", "note": " any day\r\nat all "})
    assert response.status_code == 302
    assert response["Location"] == world.neuron.get_absolute_url()
    flag = Flag.objects.get()
    assert (flag.explanation, flag.reporter, flag.reason) == (world.explanation, world.reader, "too_broad")
    assert (flag.note, flag.state) == ("any day\nat all", "open")
    assert list(flag.events.values_list("action", "actor", "reason")) == [
        ("flagged", world.reader.pk, "any day\nat all")
    ]
    assert open_flags(world.neuron) == 1


def test_after_filing_a_message_leads_to_the_flag(reader: Client, world: World) -> None:
    reader.post(address(world.explanation), {"reason": "wrong"})
    page = reader.get(address(world.baseline)).content.decode()
    assert "waits for a reviewer" in page
    assert f'<a href="{Flag.objects.get().get_absolute_url()}">' in page


def test_htmx_goes_back_to_the_page_that_opened_the_form(reader: Client, world: World) -> None:
    here = world.neuron.get_absolute_url() + "?view=overlay"
    headers = {**HTMX, "HX-Current-URL": f"http://testserver{here}"}
    form = reader.get(address(world.explanation), headers=headers).content.decode()
    assert f'name="next" value="{here}"' in form
    response = reader.post(address(world.explanation), {"reason": "wrong", "next": here}, headers=headers)
    assert response.status_code == 200
    assert response["HX-Redirect"] == here


@pytest.mark.parametrize(
    "outside", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "\\\\evil.example"]
)
def test_it_goes_on_to_no_other_site(reader: Client, world: World, outside: str) -> None:
    response = reader.post(address(world.explanation), {"reason": "wrong", "next": outside})
    assert response["Location"] == world.neuron.get_absolute_url()


@pytest.mark.parametrize("method", ["get", "post"])
def test_others_are_sent_to_sign_in_and_back(client: Client, world: World, method: str) -> None:
    here = address(world.explanation)
    response = getattr(client, method)(here, headers={"Referer": f"http://testserver{here}"})
    assert response.status_code == 302
    assert response["Location"] == f"{reverse('sign_in')}?next={here.replace('/', '%2F')}"
    assert not Flag.objects.exists()


def test_htmx_leaves_the_page_to_sign_in(client: Client, world: World) -> None:
    response = client.get(address(world.explanation), headers=HTMX)
    assert response["HX-Redirect"].startswith(reverse("sign_in"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "Choose what is wrong with it."),
        ({"reason": "ugly"}, "ugly is not one of the available choices"),
        ({"reason": "other"}, "Say in a few words"),
        ({"reason": "other", "note": "  \n "}, "Say in a few words"),
        ({"reason": "wrong", "note": "x" * 2001}, "at most 2000 characters"),
        ({"reason": "wrong", "note": "a\0b"}, "Null characters are not allowed"),
    ],
)
def test_it_says_what_is_wrong_with_the_form(reader: Client, world: World, data: dict[str, str], words: str) -> None:
    for headers in ({}, HTMX):
        page = reader.post(address(world.explanation), data, headers=headers)
        assert page.status_code == 200
        assert words in page.content.decode()
    assert not Flag.objects.exists()


def test_a_long_note_counts_a_line_break_once(reader: Client, world: World) -> None:
    reader.post(address(world.explanation), {"reason": "wrong", "note": "\r\n".join(["x"] * 1000)})
    assert len(Flag.objects.get().note) == 1999


def test_a_second_flag_shows_the_first(reader: Client, world: World) -> None:
    reader.post(address(world.explanation), {"reason": "vague", "note": "first"})
    flag = Flag.objects.get()
    for response in (
        reader.get(address(world.explanation)),
        reader.post(address(world.explanation), {"reason": "wrong", "note": "second"}),
    ):
        page = response.content.decode()
        assert "You flagged this explanation on" in page
        assert flag.get_absolute_url() in page
        assert 'type="radio"' not in page
    assert Flag.objects.get().note == "first"


def test_the_constraint_is_the_judge(world: World) -> None:
    fields: dict[str, Any] = {"explanation": world.explanation, "reporter": world.reader, "reason": "wrong", "note": ""}
    first = review.file_flag(**fields)
    with pytest.raises(AlreadyFlagged) as error:
        review.file_flag(**fields)
    assert error.value.flag == first
    assert first.events.count() == 1


def test_another_integrity_error_is_not_swallowed(world: World) -> None:
    with pytest.raises(IntegrityError, match="flag_reason_is_known"):
        review.file_flag(explanation=world.explanation, reporter=world.reader, reason="ugly", note="")


def test_a_decided_flag_leaves_room_for_another(reader: Client, world: World) -> None:
    reader.post(address(world.explanation), {"reason": "wrong"})
    flag = Flag.objects.get()
    review.claim_flag(flag=flag, reviewer=world.reviewer)
    seen = flag.events.last()
    assert seen is not None
    review.decide_flag(flag=flag, reviewer=world.reviewer, decision="kept", reason="it is right", seen=seen.pk)
    page = reader.get(address(world.explanation)).content.decode()
    assert "Your flags of this explanation" in page
    assert reader.post(address(world.explanation), {"reason": "vague"}).status_code == 302
    assert Flag.objects.count() == 2


def test_a_retired_explanation_cannot_be_flagged(reader: Client, world: World) -> None:
    retired = Explanation.objects.get(state="retired")
    for response in (reader.get(address(retired)), reader.post(address(retired), {"reason": "wrong"})):
        assert response.status_code == 200
        assert "has been retired" in response.content.decode()
    with pytest.raises(ReviewError, match="retired"):
        review.file_flag(explanation=retired, reporter=world.reader, reason="wrong", note="")
    assert not Flag.objects.exists()


def test_the_baseline_can_be_flagged_too(reader: Client, world: World) -> None:
    reader.post(address(world.baseline), {"reason": "wrong"})
    assert open_flags(world.neuron) == 1


def test_hostile_text_stays_text(reader: Client, world: World) -> None:
    explanation = world.hostile.explanations.get()
    page = reader.post(address(explanation), {"reason": "", "note": HOSTILE}).content.decode()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


@pytest.mark.parametrize("pk", [0, 999_999, 2**63, 10**30])
def test_an_unknown_explanation_is_not_found(reader: Client, world: World, pk: int) -> None:
    assert reader.get(f"/explanations/{pk}/flag/").status_code == 404


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_it_rejects_other_methods(reader: Client, world: World, method: str) -> None:
    assert getattr(reader, method)(address(world.explanation)).status_code == 405


def test_looking_changes_nothing(reader: Client, world: World) -> None:
    assert reader.get(address(world.explanation), {"reason": "wrong", "note": "x"}).status_code == 200
    assert reader.head(address(world.explanation)).status_code == 200
    assert not Flag.objects.exists()


def test_the_page_takes_a_bounded_number_of_queries(
    reader: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # session, account, two of permissions, explanation, own flags
    with django_assert_num_queries(6):
        reader.get(address(world.explanation))


def test_what_there_is_not_is_said_without_the_databases_words(client: Client, world: World) -> None:
    client.force_login(world.reader)
    response = client.get("/explanations/999999/flag/")
    assert response.status_code == 404
    assert "matches the given query" not in response.content.decode()
    assert "/explanations/999999/flag/" in response.content.decode()
