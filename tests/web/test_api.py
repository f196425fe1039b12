from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any, NoReturn

import pytest
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explanations import store
from explanations.models import Excerpt, Explanation, Neuron, Simulation, SubjectModel
from explanations.pipeline.records import ScoredExplanation, Split, split_records
from tests.world import HOSTILE, World, add_neuron, make_simulation

API = "/api/v1"
NEURON = f"{API}/models/tiny/layers/0/neurons/0"


def refuse_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} in JSON")


def get(client: Client, path: str, status: int = 200, **data: Any) -> Any:
    """Return the JSON at an address, which holds neither NaN nor Infinity."""
    response = client.get(path if path.startswith("/api") else API + path, data)
    assert response.status_code == status, response.content
    assert response["Content-Type"].startswith("application/json")
    return json.loads(response.content, parse_constant=refuse_constant)


def test_models_are_listed(client: Client, world: World) -> None:
    (model,) = get(client, "/models")["models"]
    assert (model["slug"], model["layers"], model["neurons_per_layer"], model["page"]) == ("tiny", 2, 4, "/tiny/")
    assert get(client, "/models/tiny") == model


def test_no_model_is_an_empty_list(client: Client, db: None) -> None:
    assert get(client, "/models") == {"models": []}


def test_a_layers_neurons_come_in_pages(client: Client, world: World) -> None:
    first = get(client, "/models/tiny/layers/0/neurons", limit=3)
    assert [neuron["index"] for neuron in first["neurons"]] == [0, 1, 2]
    assert first["previous"] is None
    second = get(client, first["next"])
    assert [neuron["index"] for neuron in second["neurons"]] == [3]
    assert second["next"] is None
    assert get(client, second["previous"]) == first


def test_an_undefined_score_is_null(client: Client, world: World) -> None:
    neurons = get(client, "/models/tiny/layers/0/neurons")["neurons"]
    said = [(neuron["explanation"], neuron["score"], neuron["simulator"]) for neuron in neurons]
    assert said == [
        ("days of the week, especially Tuesday", 0.4, "toy-simulator"),
        ("French cities", None, None),
        (None, None, None),
        (None, None, None),
    ]


def test_a_neuron_comes_with_its_explanations_and_scores(client: Client, world: World) -> None:
    neuron = get(client, NEURON)
    assert neuron["page"] == world.neuron.get_absolute_url()
    assert neuron["kurtosis"] == 3.0
    assert neuron["max_activation"] == world.neuron.max_activation
    best, other = neuron["explanations"]
    assert (best["id"], best["source"], best["is_headline"]) == (world.baseline.pk, "baseline", False)
    assert (other["id"], other["is_headline"], other["explainer"]) == (world.explanation.pk, True, "toy-explainer")
    (simulation,) = other["simulations"]
    assert simulation["ev_correlation"] == simulation["top_only"] == 0.4
    assert simulation["random_only"] is None
    assert simulation["excerpt_count"] == 10
    assert "sequences" not in simulation


def test_current_explanations_come_before_retired_ones_and_undefined_scores_last(client: Client, world: World) -> None:
    for text, score, state in [("a", 0.9, "retired"), ("b", None, "current"), ("c", 0.1, "current")]:
        Explanation.objects.create(neuron=world.neuron, text=text, score=score, state=state, source="human")
    texts = [explanation["text"] for explanation in get(client, NEURON)["explanations"]]
    assert texts[2:] == ["c", "b", "a"]


def test_statistics_that_are_not_known_are_null(client: Client, world: World) -> None:
    Neuron.objects.filter(pk=world.neuron.pk).update(kurtosis=None, max_activation=None)
    neuron = get(client, NEURON)
    assert neuron["kurtosis"] is neuron["max_activation"] is None


def test_activation_records_are_what_was_stored(client: Client, world: World) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None
    answer = get(client, f"{NEURON}/activations", kind="top", limit=100)
    assert answer["kinds"] == {"top": 20, "random": 20, "q0": 5, "q1": 5, "q2": 5, "q3": 5}
    assert answer["quantile_boundaries"] == [0.0, 0.5, 0.9, 0.99, 0.999]
    assert [tuple(r["tokens"]) for r in answer["records"]] == [r.tokens for r in record.top]
    assert [r["activations"] for r in answer["records"]] == [list(r.activations) for r in record.top]


def test_activation_records_come_in_pages(client: Client, world: World) -> None:
    seen: list[str] = []
    path: str | None = f"{NEURON}/activations?limit=25"
    while path:
        answer = get(client, path)
        seen += [record["kind"] for record in answer["records"]]
        path = answer["next"]
    assert len(seen) == 60
    assert seen == ["top"] * 20 + ["random"] * 20 + ["q0"] * 5 + ["q1"] * 5 + ["q2"] * 5 + ["q3"] * 5
    last = get(client, f"{NEURON}/activations?limit=25&page=50")
    assert last["previous"].endswith("page=25")


def test_a_page_beyond_the_records_is_empty(client: Client, world: World) -> None:
    assert get(client, f"{NEURON}/activations", page=1000)["records"] == []


def test_a_neuron_without_activations_has_no_records(client: Client, world: World) -> None:
    Neuron.objects.create(model=world.model, layer=1, index=3)
    answer = get(client, "/models/tiny/layers/1/neurons/3/activations")
    assert (answer["records"], answer["kinds"], answer["quantile_boundaries"]) == ([], {}, None)


def test_a_simulation_stands_beside_the_real_values(client: Client, world: World) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None
    expected = split_records(record, Split.VALID)
    answer = get(client, f"/explanations/{world.explanation.pk}/simulation")
    assert answer["explanation"] == world.explanation.pk
    assert answer["ev_correlation"] == 0.4
    assert [s["kind"] for s in answer["sequences"]] == ["top"] * 5 + ["random"] * 5
    assert [s["real"] for s in answer["sequences"]] == [list(r.activations) for _, r in expected]
    assert [tuple(s["tokens"]) for s in answer["sequences"]] == [r.tokens for _, r in expected]
    simulated = make_simulation(record, 0.4, "toy-simulator").sequences
    assert [s["simulated"] for s in answer["sequences"]] == [list(s.simulated) for s in simulated]
    assert answer["failures"] == []


def test_failed_excerpts_are_told(client: Client, world: World) -> None:
    Simulation.objects.filter(explanation=world.explanation).update(failures=[[3, "too short"]])
    answer = get(client, f"/explanations/{world.explanation.pk}/simulation")
    assert answer["failures"] == [{"excerpt": 3, "reason": "too short"}]


def test_what_is_not_stored_is_null(client: Client, world: World) -> None:
    Excerpt.objects.all().delete()
    assert get(client, f"{NEURON}/activations")["records"][0]["tokens"] is None
    world.neuron.activation_set.delete()  # type: ignore[attr-defined]
    sequence = get(client, f"/explanations/{world.explanation.pk}/simulation")["sequences"][0]
    assert sequence["tokens"] is sequence["real"] is None
    assert len(sequence["simulated"]) == 12


def test_hostile_tokens_survive(client: Client, world: World) -> None:
    answer = get(client, "/models/tiny/layers/1/neurons/0/activations", limit=100)
    tokens = {token for record in answer["records"] for token in record["tokens"]}
    assert {"\ud800", "\0", "", "\r\n", "</span>", HOSTILE} <= tokens
    response = client.get(f"{API}/models/tiny/layers/1/neurons/0/activations", {"limit": 100})
    assert rb"\ud800" in response.content
    assert response["X-Content-Type-Options"] == "nosniff"


def test_search_finds_what_the_page_finds(client: Client, world: World) -> None:
    answer = get(client, "/search", q="tuesday", sort="score")
    assert (answer["count"], answer["count_is_exact"], answer["is_cut"]) == (2, True, False)
    best, other = answer["explanations"]
    assert (best["score"], other["score"]) == (0.7, 0.4)
    assert (other["model"], other["layer"], other["neuron"]) == ("tiny", 0, 0)
    ((start, end),) = other["marks"]
    assert other["text"][start:end] == "Tuesday"


def test_search_comes_in_pages(client: Client, world: World) -> None:
    for sort in ("relevance", "score", "lowest"):
        first = get(client, "/search", q="tuesday", limit=1, sort=sort)
        second = get(client, first["next"])
        ids = {first["explanations"][0]["id"], second["explanations"][0]["id"]}
        assert ids == {world.explanation.pk, world.baseline.pk}
        assert second["next"] is None
        assert get(client, second["previous"])["explanations"] == first["explanations"]


def test_search_filters(client: Client, world: World) -> None:
    answer = get(client, "/search", model="tiny", layer="1", min_score="0.5")
    assert [hit["text"] for hit in answer["explanations"]] == [HOSTILE]
    assert answer["explanations"][0]["marks"] == []


def test_an_unclosed_phrase_is_noted(client: Client, world: World) -> None:
    assert "not closed" in get(client, "/search", q='"days of')["notes"][0]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/models/none", "There is no model “none” here."),
        ("/models/%00", "There is no model"),
        ("/models/none/layers/0/neurons", "There is no model"),
        ("/models/tiny/layers/2/neurons", "Its layers are 0 to 1."),
        ("/models/tiny/layers/-1/neurons", "Its layers are 0 to 1."),
        ("/models/tiny/layers/99999999999999999999999/neurons", "Its layers are 0 to 1."),
        ("/models/tiny/layers/0/neurons/4", "they are 0 to 3"),
        ("/models/tiny/layers/1/neurons/3", "has not been imported"),
        ("/models/tiny/layers/1/neurons/3/activations", "has not been imported"),
        ("/explanations/9223372036854775807/simulation", "There is no explanation"),
        ("/nothing", "There is no “v1/nothing” here"),
        ("/models/", "There is no “v1/models/” here"),
    ],
)
def test_what_there_is_not_is_told_in_words(client: Client, world: World, path: str, words: str) -> None:
    assert words in get(client, path, 404)["error"]


def test_an_explanation_that_nobody_simulated_says_so(client: Client, world: World) -> None:
    row = Explanation.objects.get(text="French cities")
    assert "has not been simulated" in get(client, f"/explanations/{row.pk}/simulation", 404)["error"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/models/tiny/layers/x/neurons", "layer"),
        ("/models/tiny/layers/0/neurons?limit=0", "limit"),
        ("/models/tiny/layers/0/neurons?limit=101", "limit"),
        ("/models/tiny/layers/0/neurons?limit=x", "limit"),
        ("/models/tiny/layers/0/neurons?page=x", "page"),
        ("/models/tiny/layers/0/neurons/0/activations?kind=q9", "kind"),
        ("/models/tiny/layers/0/neurons/0/activations?page=-1", "page"),
        ("/models/tiny/layers/0/neurons/0/activations?page=99999999999999999999", "page"),
        ("/explanations/0/simulation", "explanation_id"),
        ("/explanations/99999999999999999999/simulation", "explanation_id"),
        ("/search?q=-x", "q"),
        ("/search?q=%00", "q"),
        ("/search?q=x&layer=a", "layer"),
        ("/search?q=x&model=none", "model"),
        ("/search?q=x&min_score=nan", "min_score"),
        ("/search?q=x&page=x", "page"),
        ("/search?q=x&limit=1000", "limit"),
    ],
)
def test_a_wrong_parameter_is_named(client: Client, world: World, path: str, field: str) -> None:
    answer = get(client, path, 422)
    assert field in answer["fields"]
    assert answer["error"]


def test_search_for_nothing_says_so(client: Client, world: World) -> None:
    assert "Nothing is asked for" in get(client, "/search", 422)["error"]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("path", ["/models", "/search", "/models/tiny/layers/0/neurons/0"])
def test_it_only_reads(client: Client, world: World, method: str, path: str) -> None:
    response = getattr(client, method)(API + path)
    assert response.status_code == 405
    assert "only reads" in response.json()["error"]
    assert response["Allow"] == "GET, HEAD"


def test_head_is_answered_as_get(client: Client, world: World) -> None:
    assert client.head(f"{API}/models").status_code == 200


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        ("/models", 1),
        ("/models/tiny", 1),
        ("/models/tiny/layers/0/neurons", 2),
        ("/models/tiny/layers/0/neurons/0", 4),
        ("/models/tiny/layers/0/neurons/0/activations", 4),
        ("/explanations/{pk}/simulation", 3),
        ("/search?q=tuesday", 4),
        ("/search?q=tuesday&sort=score", 5),
    ],
)
def test_its_queries_are_few(
    client: Client, world: World, django_assert_num_queries: Callable[[int], Any], path: str, queries: int
) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None
    for i in range(3):
        scored = ScoredExplanation(f"tuesday {i}", make_simulation(record, 0.5, "toy"))
        store.save_explanation(neuron=world.neuron, scored=scored, source="human")  # type: ignore[arg-type]
    # Only SQLite counts in a query of its own.
    queries -= connection.vendor != "sqlite" and "sort=score" in path
    with django_assert_num_queries(queries):
        get(client, path.format(pk=world.explanation.pk))


@given(q=st.text(max_size=40), page=st.text(max_size=12), layer=st.text(max_size=6), score=st.text(max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_search_answers_whatever_is_asked(
    client: Client, world: World, q: str, page: str, layer: str, score: str
) -> None:
    data = {"q": q, "page": page, "layer": layer, "min_score": score}
    encoded = {name: value.encode("utf-8", "replace") for name, value in data.items()}
    response = client.get(f"{API}/search", encoded)
    assert response.status_code in (200, 422)
    json.loads(response.content, parse_constant=refuse_constant)


# For people, and for programs


def test_the_docs_list_every_address(client: Client, world: World) -> None:
    html = unescape(client.get("/api/docs").content.decode())
    schema = get(client, "/api/openapi.json")
    assert len(schema["paths"]) == 7
    for path in schema["paths"]:
        assert f"GET {path}" in html
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|//cdn", html)


def test_every_address_to_try_works(client: Client, world: World) -> None:
    html = unescape(client.get("/api/docs").content.decode())
    tries = re.findall(r'Try <a href="([^"]+)"', html)
    assert len(tries) == 7
    for path in tries:
        get(client, path)
    for name in re.findall(r'href="#(\w+)"', html):
        if name != "main":
            assert f'id="{name}"' in html


def test_the_docs_need_no_data(client: Client, db: None) -> None:
    html = client.get("/api/docs").content.decode()
    assert "/api/v1/models/{slug}" in html
    assert "Try" not in html.replace('Try <a href="/api/v1/models"', "").replace('Try <a href="/api/v1/search', "")


def test_the_docs_only_answer_get(client: Client, db: None) -> None:
    assert client.post("/api/docs").status_code == 405


def test_the_root_leads_to_the_docs(client: Client, db: None) -> None:
    assert client.get("/api/")["Location"] == "/api/docs"


def test_a_model_cannot_take_the_apis_address(world: World) -> None:
    assert not SubjectModel.objects.filter(slug="api").exists()
    other = SubjectModel.objects.create(slug="api-2", name="A", layers=1, neurons_per_layer=1)
    assert add_neuron(other, 0, 0).get_absolute_url() == "/api-2/layers/0/neurons/0/"
