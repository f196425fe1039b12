"""A neuron's excerpts: as part of its page, and as tables of exact values."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client
from msgspec import structs
from pytest_django import DjangoAssertNumQueries

from explanations import store
from explanations.models import ActivationSet, Excerpt
from explanations.pipeline import packing
from explanations.pipeline.records import Kind
from tests.web.attributes import read_values
from tests.world import World

PAGE = "/tiny/layers/0/neurons/0/"
URL = PAGE + "excerpts/"
HTMX = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{PAGE}"}


def part(client: Client, query: str = "", current: str = "") -> str:
    headers = {**HTMX, "HX-Current-URL": f"http://testserver{PAGE}{current}"}
    response = client.get(URL + query, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.mark.parametrize(
    ("query", "shown", "total", "about"),
    [
        ("", 5, 20, "The excerpts in which the neuron was most active, best first."),
        ("?excerpts=top&shown=20", 20, 20, "most active, best first"),
        ("?excerpts=random&shown=7", 7, 20, "An independent random sample"),
        ("?excerpts=q0", 5, 5, "between the 0 % and 50 % quantile"),
        ("?excerpts=q3", 5, 5, "between the 99 % and 99.9 % quantile"),
    ],
)
def test_htmx_gets_the_part(client: Client, world: World, query: str, shown: int, total: int, about: str) -> None:
    text = part(client, query)

    assert text.lstrip().startswith('<section id="excerpts"')
    assert "<html" not in text
    assert text.count('class="excerpt"') == shown
    assert f"{shown} of {total} shown" in text
    assert about in words(text)


def test_more_excerpts_are_a_link_until_all_are_shown(client: Client, world: World) -> None:
    link = re.search(r'id="excerpts-more" href="([^"]*)" hx-get="([^"]*)"', part(client, current="?view=overlay"))
    assert link
    assert unescape(link[1]) == f"{PAGE}?view=overlay&shown=20#excerpts"
    assert link[2] == f"{URL}?shown=20"
    assert "Show " not in part(client, "?shown=20")


def test_another_group_starts_again_and_keeps_the_rest(client: Client, world: World) -> None:
    response = client.get(
        URL + "?excerpts=q2&shown=",
        headers={**HTMX, "HX-Current-URL": f"http://testserver{PAGE}?view=overlay&excerpts=top&shown=20"},
    )

    assert response["HX-Push-Url"] == f"{PAGE}?view=overlay&excerpts=q2"
    assert "HX-Current-URL" in response["Vary"]


def test_without_htmx_the_address_leads_to_the_page(client: Client, world: World) -> None:
    response = client.get(URL + "?excerpts=q1&shown=20")

    assert response.status_code == 302
    assert response["Location"] == f"{PAGE}?excerpts=q1&shown=20#excerpts"


def test_the_page_shows_the_same_excerpts_without_htmx(client: Client, world: World) -> None:
    page = client.get(PAGE + "?excerpts=random&shown=20").content.decode()

    assert page[page.index('<section id="excerpts"') :].count('class="excerpt"') == 20


def test_each_excerpt_has_its_maximum_and_its_values(client: Client, world: World) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None

    text = part(client)

    best = record.top[0].activations
    assert f"Top 1 maximum {best.max():.3g}" in words(text)
    values = re.findall(r'data-real="([^"]*)"', text)
    assert read_values(values[0], len(best)).tolist() == best.tolist()


def test_excerpts_are_shaded_by_the_neurons_maximum(client: Client, world: World) -> None:
    assert part(client).count("class=p10") == 1
    assert "class=n" in part(client)
    assert "class=p10" not in part(client, "?excerpts=q0")


def test_boundaries_that_are_activations_are_shown_as_such(client: Client, world: World) -> None:
    records, _ = store.read_packed_records(world.neuron)
    data = packing.pack_records(records, (-0.25, 0.5, 1.5, 2.25, 7.0))
    ActivationSet.objects.filter(pk=world.neuron.pk).update(data=data)

    text = words(part(client, "?excerpts=q1"))

    assert "between the 50 % and 90 % quantile of all excerpts. The range is 0.5 to 1.5." in text


def test_ranges_without_boundaries_are_numbered(client: Client, world: World) -> None:
    records, _ = store.read_packed_records(world.neuron)
    data = packing.pack_records([r for r in records if r.kind < Kind.QUANTILE + 2], None)
    ActivationSet.objects.filter(pk=world.neuron.pk).update(data=data)

    text = words(part(client, "?excerpts=q1"))

    assert "Range 1 5 Range 2 5" in text
    assert "quantile range 2 of 2" in text
    assert "The maxima of those recorded here run from" in text


def test_the_lowest_excerpts_are_a_side_of_their_own(client: Client, world: World) -> None:
    records, boundaries = store.read_packed_records(world.neuron)
    lowest = [structs.replace(r, kind=int(Kind.BOTTOM), activations=-r.activations) for r in records[:6]]
    ActivationSet.objects.filter(pk=world.neuron.pk).update(data=packing.pack_records([*records, *lowest], boundaries))

    page = part(client, "?excerpts=bottom")

    assert "Lowest 6" in words(page)
    assert f"Lowest 1 minimum \u2212{records[0].activations.max():.3g}" in words(page)
    assert "class=n10" in page
    lowest_of_all = max(r.activations.max() for r in records[:6])
    assert f"tenths of the size of the minimum, {lowest_of_all:.3g}:" in words(page)
    assert "maximum " in words(part(client))


def test_an_excerpt_whose_text_is_not_stored_is_named(client: Client, world: World) -> None:
    records, _ = store.read_packed_records(world.neuron)
    Excerpt.objects.filter(key=records[0].key).delete()

    text = part(client)

    assert "The text of this excerpt is not stored" in text
    assert text.count('class="excerpt"') == 5


@pytest.mark.parametrize("query", ["?excerpts=q7", "?excerpts=<script>", "?shown=-1", "?shown=1e9", "?shown=abc"])
def test_bad_queries_are_named(client: Client, world: World, query: str) -> None:
    text = part(client, query)

    assert 'class="notice warn"' in text
    assert "<script" not in text
    assert text.count('class="excerpt"') == 5


def test_hostile_addresses_from_the_browser_are_only_read(client: Client, world: World) -> None:
    response = client.get(URL + "?excerpts=q1", headers={**HTMX, "HX-Current-URL": "https://evil.example/?view=<x>"})

    assert response.status_code == 200
    assert response["HX-Push-Url"] == f"{PAGE}?excerpts=q1"
    assert "<x>" not in response.content.decode()


def test_values_can_be_read_in_tables(client: Client, world: World) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None

    page = client.get(URL + "?values=excerpts&excerpts=q1").content.decode()

    assert page.count("<table") == 5
    assert page.count("<tr><td") == 5 * 12
    assert f">{float(record.by_quantile[1][0].activations[0]):.5g}</td>" in page


def test_values_of_a_simulation_stand_beside_the_real_ones(client: Client, world: World) -> None:
    page = client.get(URL + f"?values=simulation&explanation={world.baseline.pk}").content.decode()

    assert page.count("<table") == 10
    assert page.count("<tr><td") == 10 * 12
    assert "Simulation of tokens such as" in words(page)


def test_there_are_no_values_of_what_was_not_simulated(client: Client, world: World) -> None:
    url = "/tiny/layers/0/neurons/2/excerpts/?values=simulation"

    assert "There is no simulation of this neuron" in client.get(url).content.decode()


def test_hostile_tokens_are_escaped_in_tables(client: Client, world: World) -> None:
    for query in ("?values=excerpts", "?values=simulation"):
        page = client.get(f"/tiny/layers/1/neurons/0/excerpts/{query}").content.decode()
        assert "<script>alert" not in page
        assert r"\ud800" in page


def test_a_neuron_that_is_not_there_has_no_excerpts(client: Client, world: World) -> None:
    assert client.get("/tiny/layers/1/neurons/3/excerpts/").status_code == 404
    assert client.get("/tiny/layers/7/neurons/3/excerpts/?values=excerpts").status_code == 404


def test_it_only_reads(client: Client, world: World) -> None:
    assert client.post(URL).status_code == 405


@pytest.mark.parametrize("query", ["?shown=5", "?shown=20"])
def test_the_part_takes_two_queries(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries, query: str
) -> None:
    with django_assert_num_queries(2):
        part(client, query)
