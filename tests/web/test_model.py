"""A model's page."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from explanations.models import Neuron, SubjectModel
from explanations.statistics import refresh_statistics
from tests.world import World


def test_it_shows_the_models_facts(client: Client, world: World) -> None:
    SubjectModel.objects.update(source="https://example.org/data", license="MIT", tokenizer="bpe", description="Small.")
    page = client.get("/tiny/").content.decode()
    for fact in (
        "2 layers of 4 neurons: 8 in all",
        "5 neurons, 3 of them explained, with 4 explanations",
        "bpe",
        "MIT",
    ):
        assert fact in page
    assert 'href="https://example.org/data"' in page
    assert "made up" not in page


def test_it_says_where_data_is_made_up(client: Client, world: World) -> None:
    SubjectModel.objects.update(is_synthetic=True)
    assert "The data of this model is made up" in client.get("/tiny/").content.decode()


def test_it_lists_every_layer(client: Client, world: World) -> None:
    page = client.get("/tiny/").content.decode()
    assert page.count('<a href="/tiny/layers/0/">0</a>') == 2, "in the table of layers and in the chart's"
    assert '<td class="number">4 <span class="muted">of 4</span></td>' in page
    assert '<a href="/tiny/layers/1/?sort=score">0.90</a>' in page


def test_it_shows_the_command_that_brings_missing_layers(client: Client, world: World) -> None:
    SubjectModel.objects.update(layers=9)
    Neuron.objects.filter(layer=1).update(layer=4)
    refresh_statistics(world.model.pk)
    page = client.get("/tiny/").content.decode()
    assert "import_dataset SOURCE --model tiny --layers 1-3</code>" in page
    assert "import_dataset SOURCE --model tiny --layers 5-8</code>" in page
    assert '<a href="/tiny/layers/4/">4</a>' in page


def test_it_shows_one_simulators_scores_at_a_time(client: Client, world: World) -> None:
    Neuron.objects.filter(layer=0, index=2).update(headline_score=-0.5, headline_simulator="a & b", explanation_count=1)
    refresh_statistics(world.model.pk)
    page = client.get("/tiny/").content.decode()
    assert "Scores by toy-simulator" in page
    assert 'href="?simulator=a+%26+b"' in page
    page = client.get("/tiny/", {"simulator": "a & b"}).content.decode()
    assert "Scores by a &amp; b" in page
    assert "mean −0.50" in page


def test_an_unknown_simulator_is_named(client: Client, world: World) -> None:
    page = client.get("/tiny/", {"simulator": "<none>"}).content.decode()
    assert "No headline score of this model is by “&lt;none&gt;”." in page
    assert "Scores by toy-simulator" in page


def test_a_model_without_data_is_shown(client: Client, db: None) -> None:
    model = SubjectModel.objects.create(slug="empty", name="Empty", layers=3, neurons_per_layer=2)
    assert "have not been counted yet" in client.get("/empty/").content.decode()
    refresh_statistics(model.pk)
    page = client.get("/empty/?simulator=x").content.decode()
    assert "--layers 0-2</code>" in page
    assert "no scores" in page
    assert "plotly" not in page


def test_an_unknown_model_gives_a_page_with_links(client: Client, db: None) -> None:
    response = client.get("/nothing/")
    assert response.status_code == 404
    assert "There is no model “nothing” here." in response.content.decode()
    assert 'href="/"' in response.content.decode()


def test_it_costs_two_queries(client: Client, world: World, django_assert_num_queries: Any) -> None:
    SubjectModel.objects.update(highlights=[{"layer": 0, "neuron": 0, "label": "one"}])
    client.get("/tiny/")
    with django_assert_num_queries(2):
        client.get("/tiny/")


@pytest.mark.parametrize("address", ["/", "/tiny/", "/tiny/layers/0/"])
def test_there_is_no_inline_style_or_script(client: Client, world: World, address: str) -> None:
    page = client.get(address).content.decode()
    assert " style=" not in page
    assert "<style" not in page
    assert "onclick" not in page
    assert page.count("<script>") == 0


def test_it_has_no_part_of_its_own_for_htmx(client: Client, world: World) -> None:
    response = client.get("/tiny/", headers={"HX-Request": "true"})
    assert response.status_code == 200
    assert "<title>" in response.content.decode()
