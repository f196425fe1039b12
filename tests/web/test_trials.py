"""The pages on which people try texts."""

from __future__ import annotations

import re
import shutil
from typing import Any

import numpy as np
import pytest
from django.test import Client

from explanations.forms.trial import MOST_CHARACTERS
from explanations.models import ActivationSet, Explanation, Neuron, SubjectModel, Trial
from explanations.tokens import written_values
from tests.pipeline.fake_subject import FakeSubject
from tests.web.test_jobs import get, text_of
from tests.web.trying_site import TEXT, ask, ask_model, run, subject, tried
from tests.world import HOSTILE, World, person

__all__ = ["subject"]
pytestmark = pytest.mark.usefixtures("subject")
HTMX = {"HX-Request": "true"}
NEURON_URL = "/tiny/layers/0/neurons/0/"
TRY_URL = NEURON_URL + "try/"
FIRE_URL = "/tiny/fire/"
REAL = written_values(np.array([0, 0, 0, 3, 0, 0, 0, 0]))


@pytest.fixture
def signed_in(client: Client, world: World) -> Client:
    client.force_login(world.reader)
    return client


# The form


def test_the_neurons_page_offers_the_form_to_who_is_signed_in_and_says_the_limits(signed_in: Client) -> None:
    page = get(signed_in, NEURON_URL)
    assert f'action="{TRY_URL}"' in page
    assert f'hx-post="{TRY_URL}"' in page
    assert f'maxlength="{MOST_CHARACTERS}"' in page
    assert "At most 256 tokens (2,000 characters); 60 texts an hour." in text_of(page)
    assert '<a href="#try">Try a text</a>' in page
    assert "#kept" not in page


def test_others_are_led_to_sign_in(client: Client, world: World) -> None:
    for url in (NEURON_URL, TRY_URL, FIRE_URL):
        page = get(client, url)
        assert "Sign in to try one" in page
        assert "<textarea" not in page
    response = client.post(TRY_URL, {"text": TEXT})
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/sign-in/")
    response = client.post(TRY_URL, {"text": TEXT}, headers=HTMX)
    assert response["HX-Redirect"].startswith("/accounts/sign-in/")
    assert not Trial.objects.exists()


def test_a_model_without_folder_shows_nothing_of_it(signed_in: Client, settings: Any) -> None:
    settings.NEURONVIEWER_SUBJECTS = {}
    page = get(signed_in, NEURON_URL)
    assert 'id="try"' not in page
    assert "#try" not in page
    assert "fire/" not in get(signed_in, "/tiny/")
    for url in (TRY_URL, FIRE_URL):
        assert "NEURONVIEWER_SUBJECTS</code> names no folder" in get(signed_in, url)
        assert "names no folder" in signed_in.post(url, {"text": TEXT}).content.decode()
    assert not Trial.objects.exists()


def test_a_folder_that_is_not_there_is_said_and_nothing_is_queued(signed_in: Client, settings: Any) -> None:
    shutil.rmtree(settings.NEURONVIEWER_SUBJECTS["tiny"])
    for url in (NEURON_URL, TRY_URL, FIRE_URL):
        page = get(signed_in, url)
        assert "No text can be tried at the moment. The folder that NEURONVIEWER_SUBJECTS names" in text_of(page)
        assert str(settings.NEURONVIEWER_SUBJECTS["tiny"]) not in page
        assert "<textarea" not in page
    assert "is not there" in signed_in.post(TRY_URL, {"text": TEXT}).content.decode()
    assert not Trial.objects.exists()


def test_the_models_page_leads_to_the_neurons_that_fire(client: Client, world: World) -> None:
    assert f'href="{FIRE_URL}"' in get(client, "/tiny/")


# Asking


@pytest.mark.parametrize("url", [TRY_URL, FIRE_URL])
def test_asking_leads_to_the_texts_own_address(signed_in: Client, world: World, url: str) -> None:
    response = signed_in.post(url, {"text": TEXT})
    trial = Trial.objects.get()
    assert (response.status_code, response["Location"]) == (302, trial.get_absolute_url())
    assert (trial.model, trial.neuron, trial.author) == (
        world.model,
        world.neuron if url == TRY_URL else None,
        world.reader,
    )
    page = get(signed_in, trial.get_absolute_url())
    assert "Queued" in page
    assert f'href="{trial.get_absolute_url()}">Refresh</a>' in page


@pytest.mark.parametrize("url", [TRY_URL, FIRE_URL])
def test_htmx_gets_the_section_with_the_text_and_what_is_being_done(signed_in: Client, url: str) -> None:
    response = signed_in.post(url, {"text": TEXT}, headers=HTMX)
    fragment = response.content.decode()
    assert fragment.strip().startswith('<section id="try"')
    assert "HX-Request" in response["Vary"]
    assert TEXT in fragment
    assert f'hx-get="{Trial.objects.get().get_absolute_url()}" hx-trigger="load delay:300ms"' in fragment


def test_line_breaks_are_one_character_and_blanks_in_front_stay(signed_in: Client) -> None:
    signed_in.post(TRY_URL, {"text": " one\r\ntwo\n "})
    assert Trial.objects.get().text == " one\ntwo\n "


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Type a text first."),
        ("x" * 2001, "At most 2000 characters; these are 2001."),
        ("a\0b", "A null character cannot be part of a text."),
    ],
)
def test_a_bad_text_is_refused_kindly_and_not_lost(
    signed_in: Client, text: str, message: str, headers: dict[str, str]
) -> None:
    response = signed_in.post(TRY_URL, {"text": text}, headers=headers)
    page = response.content.decode()
    assert response.status_code == 200
    assert message in page
    assert text.replace("\0", "") in page.replace("\0", "")
    assert not Trial.objects.exists()


def test_too_many_texts_are_refused_with_the_limit(signed_in: Client, settings: Any) -> None:
    settings.TRIES_PER_HOUR = 1
    signed_in.post(TRY_URL, {"text": "one"})
    page = signed_in.post(FIRE_URL, {"text": "two"}).content.decode()
    assert "You have tried 1 texts within an hour, and 1 is the limit here." in page
    assert ">\ntwo</textarea>" in page
    assert Trial.objects.count() == 1


@pytest.mark.parametrize("url", ["/tiny/layers/1/neurons/1/try/", "/none/layers/0/neurons/0/try/", "/none/fire/"])
def test_what_is_not_there_is_not_found(signed_in: Client, url: str) -> None:
    assert signed_in.get(url).status_code == 404
    assert signed_in.post(url, {"text": TEXT}).status_code == 404


def test_a_form_from_another_site_asks_nothing(world: World) -> None:
    trial = tried(world)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.reader)
    for url in (TRY_URL, FIRE_URL, f"/tries/{trial.pk}/keep/", f"/tries/{trial.pk}/delete/"):
        assert strict.post(url, {"text": TEXT}).status_code == 403
    trial.refresh_from_db()
    assert (Trial.objects.count(), trial.is_kept, trial.state) == (1, False, "done")


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("put", TRY_URL),
        ("delete", FIRE_URL),
        ("post", "/tries/{}/"),
        ("get", "/tries/{}/keep/"),
        ("get", "/tries/{}/delete/"),
    ],
)
def test_other_methods_are_refused(signed_in: Client, world: World, method: str, url: str) -> None:
    trial = tried(world)
    assert getattr(signed_in, method)(url.format(trial.pk)).status_code == 405


# What came of it


def test_real_stands_beside_simulated_with_each_simulator_named(signed_in: Client, world: World) -> None:
    Neuron.objects.filter(pk=world.neuron.pk).update(max_activation=6.0)
    trial = tried(world)
    page = get(signed_in, trial.get_absolute_url())
    seen = text_of(page)
    assert "Highest on this text: 3 at “ Tuesday ” , 50 % of the highest recorded, 6." in seen
    assert "simulated by embedding-1 (all-MiniLM-L6-v2)" in seen
    assert "simulated by token lookup" in seen
    assert page.count('<div class="pair">') == 2
    assert page.count("<b class=p5> Tuesday</b>") == 2
    assert page.count(f'data-real="{REAL}"') == 2
    assert "hx-trigger" not in page
    assert "correlation" in seen


def test_the_overlay_is_another_view_of_the_same_address(signed_in: Client, world: World) -> None:
    trial = tried(world)
    page = get(signed_in, trial.get_absolute_url() + "?view=overlay", headers=HTMX)
    assert '<div class="overlay">' in page
    assert '<div class="pair">' not in page
    assert 'id="trial-overlay"' in page
    assert get(signed_in, trial.get_absolute_url() + "?view=nonsense").count('<div class="pair">') == 2


def test_a_constant_side_has_no_correlation_and_says_why(signed_in: Client, world: World) -> None:
    seen = text_of(get(signed_in, tried(world, "nothing of that sort").get_absolute_url()))
    assert "correlation undefined: neither the real nor the simulated activations vary" in seen
    assert "the neuron does not fire" in seen


def test_more_than_ever_recorded_is_said(signed_in: Client, world: World) -> None:
    Neuron.objects.filter(pk=world.neuron.pk).update(max_activation=1.5)
    seen = text_of(get(signed_in, tried(world).get_absolute_url()))
    assert "200 % of the highest recorded, 1.5: more than in any recorded excerpt" in seen


@pytest.mark.parametrize("maximum", [None, 0.0, -1.0])
def test_without_a_known_maximum_the_text_is_its_own_scale(
    signed_in: Client, world: World, maximum: float | None
) -> None:
    Neuron.objects.filter(pk=world.neuron.pk).update(max_activation=maximum)
    page = get(signed_in, tried(world).get_absolute_url())
    assert "No positive maximum of this neuron is known" in page
    assert "<b class=p10> Tuesday</b>" in page


def test_a_failed_simulation_gives_its_reason_and_the_real_values_are_shown(signed_in: Client, world: World) -> None:
    ActivationSet.objects.all().delete()
    Explanation.objects.filter(pk=world.explanation.pk).update(state="retired")
    page = get(signed_in, tried(world).get_absolute_url())
    assert "It could not be simulated: No excerpts of this neuron are stored" in page
    assert page.count(f'data-real="{REAL}"') == 1


def test_a_neuron_without_explanation_shows_its_real_activations(signed_in: Client, world: World) -> None:
    page = get(signed_in, tried(world, neuron=Neuron.objects.get(layer=0, index=2)).get_absolute_url())
    assert "has no current explanation" in page
    assert page.count('class="excerpt"') == 1


def test_the_result_stays_when_its_explanations_go(signed_in: Client, world: World) -> None:
    trial = tried(world)
    Explanation.objects.all().delete()
    assert "days of the week, especially Tuesday" in get(signed_in, trial.get_absolute_url())


def test_a_failed_text_says_why_and_can_be_changed(signed_in: Client, world: World, settings: Any) -> None:
    settings.TRY_MAX_TOKENS = 2
    trial = ask(world)
    run(trial)
    page = get(signed_in, trial.get_absolute_url())
    assert "at most 2 can be tried" in page
    assert "Keep and share" not in page
    again = f"{TRY_URL}?text_of={trial.pk}"
    assert f'href="{again}"' in page
    assert TEXT in get(signed_in, again)


def test_a_text_that_runs_says_what_is_done(signed_in: Client, world: World) -> None:
    trial = ask(world)
    Trial.objects.filter(pk=trial.pk).update(
        state="running", lease_until="2100-01-01T00:00Z", stage="running the model"
    )
    assert "running the model" in get(signed_in, trial.get_absolute_url(), headers=HTMX)


def test_a_text_that_waits_for_long_is_asked_for_less_often(signed_in: Client, world: World) -> None:
    trial = ask(world)
    Trial.objects.filter(pk=trial.pk).update(created_at="2020-01-01T00:00Z")
    page = get(signed_in, trial.get_absolute_url())
    assert 'hx-trigger="load delay:2s"' in page
    assert "manage.py db_worker" in page


@pytest.mark.parametrize("text", [HOSTILE, "\u202e</p><b onclick=x>", "\n\n"])
def test_hostile_texts_are_escaped_everywhere(signed_in: Client, world: World, text: str) -> None:
    trial = tried(world, text, neuron=world.hostile, keep=True)
    firing = ask_model(world, text)
    run(firing)
    Trial.objects.filter(pk=firing.pk).update(is_kept=True)
    hostile_url = "/tiny/layers/1/neurons/0/"
    for url in (
        *(trial.get_absolute_url(), firing.get_absolute_url(), hostile_url, hostile_url + "try/", FIRE_URL),
        f"{TRY_URL}?text_of={trial.pk}",
    ):
        page = get(signed_in, url)
        assert "<script>alert" not in page
        assert "<b onclick" not in page
    for url in (trial.get_absolute_url(), firing.get_absolute_url(), hostile_url):
        assert "\u202e" not in get(signed_in, url)


# Who may see what


def test_only_its_author_opens_a_text_that_is_not_kept(client: Client, world: World) -> None:
    url = tried(world).get_absolute_url()
    assert client.get(url).status_code == 404
    client.force_login(world.explainer)
    response = client.get(url)
    assert response.status_code == 404
    assert "Its author has not kept it, or has deleted it." in response.content.decode()
    assert TEXT not in get(client, f"{TRY_URL}?text_of={Trial.objects.get().pk}")
    client.force_login(world.reader)
    assert "Only you can open this address" in text_of(get(client, url))


def test_a_kept_text_is_opened_by_anybody_and_listed_on_the_neurons_page(client: Client, world: World) -> None:
    trial = tried(world)
    client.force_login(world.reader)
    response = client.post(f"/tries/{trial.pk}/keep/", follow=True)
    assert "Anybody can open this address" in response.content.decode()
    client.logout()
    page = get(client, trial.get_absolute_url())
    assert "Tried by reader" in text_of(page)
    assert "Delete" not in page
    assert "Keep and share" not in page
    for url in (NEURON_URL, TRY_URL):
        listed = get(client, url)
        assert "Texts that people kept" in listed
        assert f'href="{trial.get_absolute_url()}"' in listed
        assert "by reader" in text_of(listed)
    assert 'id="kept"' not in get(client, "/tiny/layers/0/neurons/1/")


def test_kept_texts_are_shown_where_no_folder_is_configured_any_more(
    client: Client, world: World, settings: Any
) -> None:
    tried(world, keep=True)
    settings.NEURONVIEWER_SUBJECTS = {}
    page = get(client, NEURON_URL)
    assert "Texts that people kept" in page
    assert '<a href="#kept">Kept texts</a>' in page
    assert "#try" not in page


def test_others_neither_keep_nor_delete(client: Client, world: World) -> None:
    trial = tried(world, keep=True)
    client.force_login(world.explainer)
    for verb in ("keep", "delete"):
        response = client.post(f"/tries/{trial.pk}/{verb}/")
        assert response.status_code == 403
        assert "by the person who tried it" in response.content.decode()
    client.logout()
    assert client.post(f"/tries/{trial.pk}/delete/").status_code == 302
    trial.refresh_from_db()
    assert trial.is_kept


def test_its_author_deletes_a_text_and_its_address_is_gone(signed_in: Client, world: World) -> None:
    trial = tried(world, keep=True)
    assert f'action="/tries/{trial.pk}/delete/"' in get(signed_in, trial.get_absolute_url())
    response = signed_in.post(f"/tries/{trial.pk}/delete/", follow=True)
    assert response.redirect_chain == [(NEURON_URL, 302)]
    assert "The text and its result are deleted." in response.content.decode()
    assert signed_in.get(trial.get_absolute_url()).status_code == 404
    assert 'id="kept"' not in get(signed_in, NEURON_URL)


def test_a_moderator_deletes_what_others_kept(client: Client, world: World) -> None:
    trial = tried(world, keep=True)
    client.force_login(person("moderator", "delete_trial"))
    assert "Delete" in get(client, trial.get_absolute_url())
    client.post(f"/tries/{trial.pk}/delete/")
    trial.refresh_from_db()
    assert trial.state == "deleted"


def test_what_is_not_done_is_not_kept(signed_in: Client, world: World) -> None:
    trial = ask(world)
    page = signed_in.post(f"/tries/{trial.pk}/keep/", follow=True).content.decode()
    assert "Only a text with a result can be kept." in page


@pytest.mark.parametrize("number", [999, 10**30])
def test_a_text_that_never_was_is_not_found(client: Client, world: World, number: int) -> None:
    assert client.get(f"/tries/{number}/").status_code == 404


def test_kept_texts_are_paged(client: Client, world: World) -> None:
    trial = tried(world, keep=True)
    Trial.objects.bulk_create(
        Trial(
            model=world.model, neuron=world.neuron, author=world.reader, state="done", is_kept=True,
            finished_at=trial.finished_at, result=trial.result, text=TEXT,
        )
        for _ in range(14)
    )  # fmt: skip
    assert get(client, NEURON_URL).count("Real and simulated</a>") == 3 + 1
    assert f'href="{TRY_URL}#kept">All of them</a>' in get(client, NEURON_URL)
    first = get(client, TRY_URL)
    following = re.search(r'rel="next" href="([^"]*)"', first)
    assert following is not None
    second = get(client, following.group(1).replace("&amp;", "&"))
    assert (first.count("Real and simulated</a>"), second.count("Real and simulated</a>")) == (10, 5)
    assert "This page address is damaged" in get(client, f"{TRY_URL}?page=%00")


# Which neurons fire


def test_neurons_that_fire_are_listed_with_what_they_are_said_to_do(signed_in: Client, world: World) -> None:
    Neuron.objects.filter(pk=world.neuron.pk).update(max_activation=6.0)
    trial = ask_model(world)
    run(trial)
    page = get(signed_in, trial.get_absolute_url())
    seen = text_of(page)
    assert "5 neurons compared on 8 tokens" in seen
    assert "3 more have no recorded positive maximum, so they are left out." in seen
    assert 'href="/tiny/layers/0/neurons/0/">0:0</a>' in page
    assert "days of the week, especially Tuesday" in seen
    assert "<b class=p5> Tuesday</b>" in page
    assert "50 %" in seen
    assert "Layer 0" in seen
    assert "Layer 1" in seen
    assert f'href="{TRY_URL}?text_of={trial.pk}"' in page
    assert 'href="/tiny/layers/1/neurons/1/"' not in page


def test_a_neuron_that_is_gone_since_is_said_to_be(signed_in: Client, world: World) -> None:
    trial = ask_model(world)
    run(trial)
    Neuron.objects.filter(pk=world.neuron.pk).delete()
    assert "not imported any more" in get(signed_in, trial.get_absolute_url())


def test_nothing_known_is_said(signed_in: Client, world: World) -> None:
    Neuron.objects.update(max_activation=None)
    trial = ask_model(world)
    run(trial)
    seen = text_of(get(signed_in, trial.get_absolute_url()))
    assert "0 neurons compared" in seen
    assert "8 more have no recorded positive maximum" in seen
    assert "None of them is active on this text." in seen


def test_kept_texts_of_the_model_are_listed_with_its_form(client: Client, world: World) -> None:
    trial = ask_model(world)
    run(trial)
    Trial.objects.update(is_kept=True)
    page = get(client, FIRE_URL)
    assert f'href="{trial.get_absolute_url()}"' in page
    assert "Texts that people kept" in page
    assert 'id="kept"' not in get(client, NEURON_URL)


# Addresses and queries


def test_no_model_may_be_called_tries() -> None:
    assert "tries" in str(SubjectModel._meta.constraints)


def test_a_fragment_is_the_part_alone_and_is_never_cached(signed_in: Client, world: World) -> None:
    response = signed_in.get(tried(world).get_absolute_url(), headers=HTMX)
    assert re.match(r'\s*<section id="trial"', response.content.decode())
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("count", [1, 30])
def test_queries_do_not_grow(client: Client, world: World, django_assert_num_queries: Any, count: int) -> None:
    trial = tried(world, keep=True)
    firing = ask_model(world)
    run(firing)
    Trial.objects.update(is_kept=True)
    rows = [
        Trial(
            model=world.model, neuron=neuron, author=world.reader, state="done", is_kept=True,
            finished_at=trial.finished_at, result=result, text=TEXT,
        )
        for neuron, result in ((world.neuron, trial.result), (None, firing.result))
        for _ in range(count)
    ]  # fmt: skip
    Trial.objects.bulk_create(rows)
    with django_assert_num_queries(2):  # the neuron, the texts
        client.get(TRY_URL)
    with django_assert_num_queries(2):
        client.get(FIRE_URL)
    with django_assert_num_queries(1):
        client.get(trial.get_absolute_url())
    with django_assert_num_queries(2):  # the text, the neurons
        client.get(firing.get_absolute_url())


def test_a_poll_takes_three_queries(signed_in: Client, world: World, django_assert_num_queries: Any) -> None:
    trial = ask(world)
    with django_assert_num_queries(3):  # session, person, text
        signed_in.get(trial.get_absolute_url(), headers=HTMX)


def test_the_subject_model_is_never_opened_by_a_page(signed_in: Client, world: World, subject: FakeSubject) -> None:
    signed_in.post(TRY_URL, {"text": TEXT})
    get(signed_in, NEURON_URL)
    assert subject.asked == []
