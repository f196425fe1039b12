"""The front page, the jump to a neuron and the random neuron."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from explanations.forms.go import parse_place
from explanations.models import Neuron, SubjectModel
from explanations.pipeline.records import NeuronId
from tests.planning import forbid
from tests.world import HOSTILE, World

pytestmark = pytest.mark.django_db


def text_of(client: Client, address: str, **headers: str) -> str:
    response = client.get(address, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def test_without_a_model_it_says_how_to_get_one(client: Client) -> None:
    page = text_of(client, "/")
    assert "manage.py load_sample" in page
    assert "manage.py import_dataset" in page
    assert "plotly" not in page


def test_it_shows_models_with_exact_counts(client: Client, world: World) -> None:
    page = text_of(client, "/")
    assert 'href="/tiny/"' in page
    assert "2 layers × 4" in page
    assert '5 <span class="muted">of 8</span>' in page
    assert '<td data-label="Explanations" class="number">4</td>' in page
    assert "correlation, by toy-simulator, over 2 neurons" in page
    assert "made-up" not in page


def test_it_says_where_data_is_made_up(client: Client, world: World) -> None:
    SubjectModel.objects.update(is_synthetic=True)
    assert "made-up data" in text_of(client, "/")


def test_it_draws_charts_only_where_there_are_scores(client: Client, world: World) -> None:
    page = text_of(client, "/")
    assert "plotly.min.js" in page
    assert page.count('class="drawing linked"') == 2
    assert "<style" not in page
    assert "style=" not in page
    Neuron.objects.update(headline_score=None)
    SubjectModel.objects.update(statistics={})
    assert "plotly" not in text_of(client, "/")


def test_it_says_when_a_model_was_never_counted(client: Client, world: World) -> None:
    SubjectModel.objects.update(statistics={}, statistics_at=None)
    assert "not counted yet" in text_of(client, "/")


def test_it_lists_interesting_neurons(client: Client, world: World) -> None:
    highlights = [
        {"layer": 0, "neuron": 0, "label": "weekdays"},
        {"layer": 1, "neuron": 3, "label": "far away"},
        {"layer": 1, "neuron": 0, "label": HOSTILE},
        {"layer": 0, "neuron": 1, "label": "no score"},
    ]
    SubjectModel.objects.update(highlights=highlights)
    page = text_of(client, "/")
    assert "weekdays" in page
    assert "days of the week, especially Tuesday" in page
    assert 'href="/tiny/layers/1/neurons/3/"' in page
    assert "not imported" in page
    assert "undefined" in page
    assert HOSTILE not in page


@pytest.mark.parametrize(
    "highlights",
    [
        "text",
        {"a": 1},
        [1],
        [{"layer": 0}],
        [{"layer": "0", "neuron": 1}],
        [{"layer": True, "neuron": 1}],
        [{"layer": 99, "neuron": 1}],
    ],
)
def test_a_damaged_list_of_interesting_neurons_is_left_out(client: Client, world: World, highlights: Any) -> None:
    SubjectModel.objects.update(highlights=highlights)
    assert "Interesting neurons" not in text_of(client, "/")


def test_it_costs_two_queries_for_any_number_of_models(
    client: Client, world: World, django_assert_num_queries: Any
) -> None:
    for number in range(4):
        SubjectModel.objects.create(
            slug=f"m{number}", name=f"M{number}", layers=2, neurons_per_layer=2, highlights=[{"layer": 0, "neuron": 1}]
        )
    SubjectModel.objects.update(highlights=[{"layer": 0, "neuron": 1, "label": "one"}])
    client.get("/")
    with django_assert_num_queries(2):
        client.get("/")


def test_hostile_text_is_escaped(client: Client, world: World) -> None:
    SubjectModel.objects.update(name=HOSTILE, highlights=[{"layer": 1, "neuron": 0, "label": HOSTILE}])
    Neuron.objects.filter(headline_score__isnull=False).update(headline_simulator="</script>" + HOSTILE)
    world.model.refresh_from_db()
    for address in ("/", "/tiny/", "/tiny/layers/1/"):
        page = text_of(client, address)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize("address", ["/", "/go/", "/random/", "/tiny/", "/tiny/layers/0/"])
def test_it_rejects_other_methods(client: Client, world: World, address: str) -> None:
    assert client.post(address).status_code == 405


# Jumping


@pytest.mark.parametrize(
    "text", ["12:340", "12/340", "12 340", "L12N340", "12_340", "l12n340", " 12 : 340 ", "L12 N340", "12,340", "12-340"]
)
def test_a_place_may_be_written_in_many_ways(text: str) -> None:
    assert parse_place(text) == NeuronId(12, 340)


@pytest.mark.parametrize("text", ["", "12", "12340", "a:b", "-1:3", "1:2:3", "1:-2", "1.5:3:2", "١:٢", "9" * 30 + ":1"])
def test_anything_else_is_no_place(text: str) -> None:
    assert parse_place(text) is None


def test_go_leads_to_the_neuron(client: Client, world: World) -> None:
    assert client.get("/go/", {"model": "tiny", "neuron": "1:3"}).headers["Location"] == "/tiny/layers/1/neurons/3/"
    assert client.get("/go/", {"neuron": "1 3"}).headers["Location"] == "/tiny/layers/1/neurons/3/", "the only model"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (
            {"neuron": "2:0", "model": "tiny"},
            "Tiny has no neuron 2:0. Its layers are 0 to 1, the neurons of each 0 to 3.",
        ),
        ({"neuron": "0:4", "model": "tiny"}, "Tiny has no neuron 0:4."),
        ({"neuron": "<b>", "model": "tiny"}, "“&lt;b&gt;” is not a layer and a neuron."),
        ({"neuron": "", "model": "tiny"}, "Write a layer and a neuron, such as 12:340."),
        ({"model": "tiny"}, "Write a layer and a neuron, such as 12:340."),
        ({"neuron": "0:0", "model": "none"}, "There is no model “none” here."),
        ({"neuron": "0:0\0", "model": "tiny"}, "Null characters are not allowed."),
        ({"neuron": "1" * 300, "model": "tiny"}, "That is too long"),
    ],
)
def test_go_comes_back_and_says_what_is_wrong(client: Client, world: World, asked: dict[str, str], answer: str) -> None:
    for origin, page in (("", "/"), ("http://testserver/tiny/layers/0/", "/tiny/"), ("http://evil/tiny/", "/")):
        response = client.get("/go/", asked, headers={"Referer": origin})
        assert response.headers["Location"].split("?")[0] == page
        if asked.get("model") != "none" or page == "/":
            assert answer in client.get(response.headers["Location"]).content.decode()


def test_go_asks_for_a_model_where_there_are_several(client: Client, world: World) -> None:
    SubjectModel.objects.create(slug="other", name="Other", layers=1, neurons_per_layer=1)
    page = client.get("/go/", {"neuron": "0:0"}, follow=True).content.decode()
    assert "Choose a model." in page
    assert '<option value="other">Other</option>' in page
    page = client.get("/go/", {"neuron": "9:9", "model": "other"}, follow=True).content.decode()
    assert '<option value="other" selected>Other</option>' in page
    assert 'value="9:9"' in page


# By chance


def test_random_leads_to_an_explained_neuron_and_is_never_kept(client: Client, world: World) -> None:
    explained = {f"/tiny/layers/{layer}/neurons/{index}/" for layer, index in ((0, 0), (0, 1), (1, 0))}
    seen = set()
    for _ in range(60):
        response = client.get("/random/", {"model": "tiny"})
        assert response.status_code == 302
        assert "no-store" in response.headers["Cache-Control"]
        seen.add(response.headers["Location"])
    assert seen <= explained
    assert len(seen) > 1


def test_random_without_a_model_takes_any_that_has_one(client: Client, world: World) -> None:
    SubjectModel.objects.create(slug="empty", name="Empty", layers=1, neurons_per_layer=1)
    for _ in range(8):
        assert client.get("/random/").headers["Location"].startswith("/tiny/layers/")


def test_random_costs_four_queries(client: Client, world: World, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(4):
        client.get("/random/", {"model": "tiny"})


@pytest.mark.parametrize(
    ("slug", "answer"),
    [("none", "There is no model “none” here."), ("empty", "No neuron of empty has an explanation yet.")],
)
def test_random_says_why_it_finds_nothing(client: Client, db: None, slug: str, answer: str) -> None:
    SubjectModel.objects.create(slug="empty", name="Empty", layers=1, neurons_per_layer=1)
    response = client.get("/random/", {"model": slug})
    assert response.status_code == 404
    assert answer in response.content.decode()


def test_random_seeks_in_the_index_of_explained_neurons(world: World) -> None:
    forbid("seqscan", "sort")
    plan = Neuron.objects.filter(model=world.model).explained().filter(id__gte=2).order_by("id")[:1].explain()
    assert "neuron_explained" in plan
    assert "TEMP B-TREE" not in plan


# Errors


def test_an_unknown_address_gives_a_page_with_links(client: Client, db: None) -> None:
    response = client.get("/some/where/else/")
    assert response.status_code == 404
    assert "/some/where/else/" in response.content.decode()
    assert f'href="{reverse("search")}"' in response.content.decode()


def test_the_error_pages_need_no_database(django_assert_num_queries: Any) -> None:
    from django.template.loader import render_to_string

    for name in ("500.html", "400.html"):
        with django_assert_num_queries(0):
            assert "<h1>" in render_to_string(name)


def test_a_failure_gives_the_error_page(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("explanations.views.overview.read_highlights", fail)
    client.raise_request_exception = False
    response = client.get("/")
    assert response.status_code == 500
    assert "Something went wrong on our side" in response.content.decode()
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize("address", ["/%00/", "/%00/layers/0/", "/Tiny/layers/0/neurons/0/", "/random/?model=%00"])
def test_what_cannot_be_a_model_is_not_found(client: Client, world: World, address: str) -> None:
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    "address", ["/", "/tiny/", "/tiny/layers/0/", "/tiny/layers/0/neurons/0/", "/search/", "/jobs/"]
)
def test_a_page_answers_head(client: Client, world: World, address: str) -> None:
    assert client.head(address).status_code == 200


def test_it_has_no_part_of_its_own_for_htmx(client: Client, world: World) -> None:
    assert "<title>" in text_of(client, "/", **{"HX-Request": "true"})
