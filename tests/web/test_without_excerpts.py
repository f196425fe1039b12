"""A neuron with statistics, explanation and score, whose excerpts are not stored: most neurons of a small sample."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from explanations import store
from explanations.import_commands import BUNDLED, BUNDLED_CORPUS, BUNDLED_NUMBERS
from explanations.models import ActivationSet, Excerpt, Neuron, Simulation, SubjectModel
from explanations.pipeline import packing
from tests.web.test_jobs import get, text_of
from tests.web.test_neuron import relate
from tests.world import World

HTMX = {"HX-Request": "true"}
URL = "/tiny/layers/0/neurons/0/"
COMMAND = "python manage.py collect --subject FOLDER --corpus FILE --model tiny --layers 0"


@pytest.fixture
def bare(world: World) -> World:
    """Take away what a small sample leaves out: records, their texts, simulated values."""
    ActivationSet.objects.all().delete()
    Excerpt.objects.all().delete()
    Simulation.objects.update(data=packing.pack_sequences([]), top_only=None)
    return world


def test_the_page_shows_what_is_known_and_the_command_that_brings_the_excerpts(client: Client, bare: World) -> None:
    page = get(client, URL)
    seen = text_of(page)
    assert "days of the week, especially Tuesday" in seen
    assert "0.40" in seen
    assert f"Maximum {bare.neuron.max_activation:.3g}" in seen
    assert "No activation records of this neuron are stored, so there is no histogram." in seen
    assert "No excerpts of this neuron are stored, only what was counted over them." in seen
    assert COMMAND in page
    assert "The score rests on 10 excerpts, of which nothing is stored here" in seen
    for empty in ("All values in tables", "Side by side", "tenths of"):
        assert empty not in seen


def test_the_text_around_its_maximum_stays(client: Client, bare: World) -> None:
    peak = get(client, URL).partition('<p class="tokens peak">')[2]
    tokens = [token for token, _ in store.unpack_peak(bare.neuron.peak)]
    assert len(re.findall(r"<b[^>]*>", peak.partition("</p>")[0])) == len(tokens)
    assert "class=p10" in peak


def test_without_a_peak_there_is_no_empty_line(client: Client, bare: World) -> None:
    Neuron.objects.update(peak=b"")
    assert "The text around its highest activation" not in get(client, URL)


def test_a_model_whose_source_is_known_is_imported_instead(client: Client, bare: World) -> None:
    SubjectModel.objects.update(data_address="https://example.org/neurons")
    page = get(client, URL)
    assert "import_dataset https://example.org/neurons --model tiny --layers 0 --neurons 0" in page
    assert "manage.py collect" not in page


def test_the_bundled_models_corpus_and_numbers_of_excerpts_are_named(
    client: Client, bare: World, settings: Any
) -> None:
    SubjectModel.objects.update(slug=BUNDLED)
    page = get(client, URL.replace("tiny", BUNDLED))
    assert f"--corpus {BUNDLED_CORPUS} --model {BUNDLED} --layers 0 {BUNDLED_NUMBERS}" in page
    assert "in FILE" not in page
    assert BUNDLED_NUMBERS in (settings.BASE_DIR / "fixtures" / "README.md").read_text()


@pytest.mark.parametrize("query", ["?view=overlay", "?excerpts=top", "?shown=20", "?excerpts=bottom"])
def test_every_state_of_the_page_and_its_parts_shows(client: Client, bare: World, query: str) -> None:
    assert COMMAND in get(client, URL + query)
    assert "The score rests on 10 excerpts" in get(client, URL + query, headers=HTMX)
    assert COMMAND in get(client, f"{URL}excerpts/{query}", headers=HTMX)


def test_the_tables_of_values_say_what_is_missing(client: Client, bare: World) -> None:
    assert COMMAND in get(client, URL + "excerpts/?values=excerpts")
    assert get(client, URL + "excerpts/?values=simulation")


def test_an_undefined_score_does_not_pretend_that_nothing_was_simulated(client: Client, bare: World) -> None:
    Simulation.objects.update(ev_correlation=None)
    bare.explanation.score = None
    bare.explanation.save(update_fields=["score"])
    store.refresh_headlines([bare.neuron.pk])
    seen = text_of(get(client, URL))
    assert "The score is undefined: the excerpts that would tell why are not stored." in seen
    assert "no excerpt was simulated" not in seen


def test_simulated_values_without_their_texts_are_one_sentence(client: Client, world: World) -> None:
    Excerpt.objects.all().delete()
    seen = text_of(get(client, URL))
    assert seen.count("of which nothing is stored here") == 1
    assert "import the neuron's activations again" not in seen.partition("Explanations Explanation")[0]


def test_a_neuron_that_nobody_explained_does_not_point_to_excerpts(client: Client, bare: World) -> None:
    page = get(client, "/tiny/layers/0/neurons/2/")
    assert "Nobody has explained this neuron." in page
    assert "show what it does" not in page


def test_the_layers_page_shows_it_like_others(client: Client, bare: World) -> None:
    Neuron.objects.update(peak=b"")
    seen = text_of(get(client, "/tiny/layers/0/"))
    assert "days of the week, especially Tuesday" in seen


def test_it_can_be_flagged(client: Client, bare: World) -> None:
    client.force_login(bare.reader)
    url = f"/explanations/{bare.explanation.pk}/flag/"
    get(client, url)
    client.post(url, {"reason": "vague", "note": ""})
    assert "Flagged as" in get(client, URL)


@pytest.mark.parametrize("form", ["re-explain/", "explain/"])
def test_explaining_it_is_refused_with_the_command(client: Client, bare: World, form: str) -> None:
    client.force_login(bare.explainer)
    page = get(client, URL + form)
    assert "Neuron 0:0 has no activation records, so there is nothing to explain." in page
    assert COMMAND in page
    assert '<form method="post" action="' + URL not in page


def test_the_api_says_what_there_is(client: Client, bare: World) -> None:
    def read(path: str, status: int = 200) -> Any:
        response = client.get(f"/api/v1/{path}")
        assert response.status_code == status
        return response.json()

    neuron = read("models/tiny/layers/0/neurons/0")
    assert neuron["max_activation"] == bare.neuron.max_activation
    found = read("models/tiny/layers/0/neurons/0/activations")
    assert (found["records"], found["kinds"]) == ([], {})
    assert "It has: none." in read("models/tiny/layers/0/neurons/0/activations?kind=top", 422)["error"]
    simulation = read(f"explanations/{bare.explanation.pk}/simulation")
    assert (simulation["sequences"], simulation["ev_correlation"]) == ([], 0.4)


def test_it_takes_no_more_queries_than_others(client: Client, bare: World, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(7):  # the neuron, its peak, explanations, simulations, texts, jobs, kept texts
        client.get(URL)


def test_a_gated_models_pages_say_whose_weights_are_meant(client: Client, world: World) -> None:
    relate(world.neuron)
    assert "gate" not in get(client, URL)
    SubjectModel.objects.update(is_gated=True)
    assert "the gate’s weights stand for the incoming ones (c_fc)" in get(client, URL)
