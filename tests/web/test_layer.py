"""A layer's page: order, filters, pages, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from explanations.models import Neuron, SubjectModel
from explanations.statistics import refresh_statistics
from tests.planning import forbid
from tests.world import World

LAYER = "/big/layers/0/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def big(db: None) -> SubjectModel:
    """A layer of 120 neurons: every fifth without explanation, every seventh of the others with an undefined score."""
    model = SubjectModel.objects.create(slug="big", name="Big", layers=3, neurons_per_layer=200)

    def neuron(index: int) -> Neuron:
        explained = index % 5 != 0
        scored = explained and index % 7 != 0
        return Neuron(
            model=model,
            layer=0,
            index=index,
            headline_text=f"words of group {index % 4}, 100% Sure" if explained else "",
            headline_score=(index * 37 % 100) / 100 if scored else None,
            headline_simulator="toy" if scored else "",
            explanation_count=int(explained),
            open_flag_count=index % 3 if explained else 0,
            max_activation=None if index % 11 == 0 else float(index * 53 % 97),
            kurtosis=float(index * 29 % 101),
        )

    Neuron.objects.bulk_create(neuron(index) for index in range(120))
    refresh_statistics(model.pk)
    return model


def shown(page: str) -> list[int]:
    return [int(index) for index in re.findall(r'href="/big/layers/0/neurons/(\d+)/"', page)]


def get(client: Client, query: str = "", **headers: str) -> str:
    response = client.get(LAYER + query, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def follow(client: Client, query: str, rel: str = "next") -> list[list[int]]:
    """Return the neurons of each page from this one on, by its own links."""
    pages = []
    while True:
        page = get(client, query)
        pages.append(shown(page))
        link = re.search(rf'rel="{rel}" href="{LAYER}(\?[^"]*)"', page)
        if link is None:
            return pages
        query = link[1].replace("&amp;", "&")


def ranked(field: str, down: bool) -> list[int]:
    rows = list(Neuron.objects.order_by("index"))
    known = sorted((-getattr(n, field), n.index) for n in rows if getattr(n, field) is not None)
    return [i for _, i in (known if down else known[::-1])] + [n.index for n in rows if getattr(n, field) is None]


@pytest.mark.parametrize(
    ("sort", "field"),
    [("score", "headline_score"), ("max", "max_activation"), ("kurtosis", "kurtosis"), ("flags", "open_flag_count")],
)
@pytest.mark.parametrize("down", [True, False])
def test_it_is_ordered_both_ways_over_all_pages(
    client: Client, big: SubjectModel, sort: str, field: str, down: bool
) -> None:
    pages = follow(client, f"?sort={'' if down else '-'}{sort}")
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [index for page in pages for index in page] == ranked(field, down)


def test_it_is_ordered_by_index_unless_told(client: Client, big: SubjectModel) -> None:
    assert [i for page in follow(client, "") for i in page] == list(range(120))
    assert [i for page in follow(client, "?sort=-index") for i in page] == list(range(119, -1, -1))
    assert "neurons of layer 0, by index." in get(client)


def test_previous_leads_back_over_the_same_pages(client: Client, big: SubjectModel) -> None:
    query, pages = "?sort=score", []
    page = get(client, query)
    while link := re.search(rf'rel="next" href="{LAYER}(\?[^"]*)"', page):
        query = link[1].replace("&amp;", "&")
        pages.append(shown(page))
        page = get(client, query)
    assert follow(client, query, rel="prev")[1:] == pages[::-1]


@pytest.mark.parametrize(
    ("query", "passes", "sentence"),
    [
        (
            "min_score=0.5",
            lambda n: n.headline_score is not None and n.headline_score >= 0.5,
            "with score at least 0.5,",
        ),
        (
            "max_score=0.5",
            lambda n: n.headline_score is not None and n.headline_score <= 0.5,
            "with score at most 0.5,",
        ),
        (
            "min_score=0.25&max_score=0.5",
            lambda n: n.headline_score is not None and 0.25 <= n.headline_score <= 0.5,
            "with score from 0.25 to 0.5,",
        ),
        ("text=GROUP+3", lambda n: "group 3" in n.headline_text, "whose explanation contains “GROUP 3”,"),
        ("text=%25+sure", lambda n: bool(n.headline_text), "whose explanation contains “% sure”,"),
        ("text=%25s", lambda _: False, "whose explanation contains “%s”,"),
        ("flagged=on", lambda n: n.open_flag_count > 0, "with an open flag,"),
        ("unexplained=on", lambda n: n.explanation_count == 0, "without an explanation,"),
        (
            "flagged=on&text=group+1",
            lambda n: n.open_flag_count > 0 and "group 1" in n.headline_text,
            "whose explanation contains “group 1” and with an open flag,",
        ),
    ],
)
def test_it_is_filtered_and_says_how(
    client: Client, big: SubjectModel, query: str, passes: Callable[[Neuron], bool], sentence: str
) -> None:
    wanted = [n.index for n in Neuron.objects.order_by("index") if passes(n)]
    page = get(client, f"?{query}")
    assert shown(page) == wanted[:50]
    assert f"<strong>{len(wanted)}</strong> neuron" in page
    assert sentence in page
    assert [i for part in follow(client, f"?{query}") for i in part] == wanted


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("min_score=x", "A score is a number from -1 to 1."),
        ("min_score=nan", "A score is a number from -1 to 1."),
        ("max_score=7", "A score is never above 1."),
        ("min_score=-2", "A score is never below -1."),
        ("min_score=0.5&max_score=0.1", "The lowest score is above the highest."),
        ("sort=colour", "There is no order “colour”"),
        ("text=a%00b", "A null character is in no explanation."),
        ("text=" + "x" * 201, "At most 200 characters."),
        ("page=nonsense", "This page address is damaged"),
        ("page=after:1e999:3", "This page address is damaged"),
        ("page=after:999999", "There is nothing on that page any more"),
        ("sort=flags&page=after:-:3", "This page address is damaged"),
    ],
)
def test_bad_input_is_named_and_left_out(client: Client, big: SubjectModel, query: str, answer: str) -> None:
    page = get(client, f"?{query}")
    assert answer in page
    assert len(shown(page)) > 0


def test_lone_surrogates_and_odd_bytes_are_no_error(client: Client, big: SubjectModel) -> None:
    assert "<strong>0</strong> neurons" in get(client, "?text=%ed%a0%80%ff")


def test_a_row_shows_what_is_known(client: Client, world: World) -> None:
    page = client.get("/tiny/layers/0/").content.decode()
    assert "days of the week, especially Tuesday" in page
    assert page.count("no explanation</p>") == 2, "one never had an explanation, one was retired"
    assert "undefined" in page
    assert 'class="tokens strip"' in page
    assert "class=p10" in page
    assert "by toy-simulator" in page.split("<table")[0], "said once, above the table"
    assert "toy-simulator" not in page.split("<table")[1]


def test_scores_of_several_simulators_are_named_in_each_row(client: Client, world: World) -> None:
    Neuron.objects.filter(layer=0, index=1).update(headline_score=0.1, headline_simulator="other")
    table = client.get("/tiny/layers/0/").content.decode().split("<table")[1]
    assert "by other" in table
    assert "by toy-simulator" in table


def test_hostile_text_is_escaped(client: Client, world: World) -> None:
    page = client.get("/tiny/layers/1/", {"text": "<script>alert(1)"}).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_htmx_gets_the_results_alone_and_a_clean_address(client: Client, big: SubjectModel) -> None:
    response = client.get(LAYER + "?text=group+1&min_score=&max_score=&sort=score", headers=HTMX)
    fragment = response.content.decode()
    assert fragment.lstrip().startswith('<section id="results"')
    assert "<html" not in fragment
    assert response.headers["HX-Push-Url"] == LAYER + "?text=group+1&sort=score"
    assert "HX-Request" in response.headers["Vary"]
    whole = get(client, "?text=group+1&sort=score", **HTMX, **{"HX-History-Restore-Request": "true"})
    assert "<html" in whole


def test_headers_say_the_order_and_turn_it_round_and_drop_the_page(client: Client, big: SubjectModel) -> None:
    page = get(client, "?sort=score&text=group&page=after:0.5:3")
    assert '<th scope="col" aria-sort="descending" class="number"><a href="?text=group&amp;sort=-score"' in page
    assert '<a href="?text=group&amp;sort=kurtosis"' in page
    assert '<a href="?text=group&amp;sort=index"' in page
    form = page.split('<form class="filters"')[1].split("</form>")[0]
    assert 'name="page"' not in form
    assert '<option value="score" selected>' in form


def test_layers_lead_to_their_neighbours(client: Client, big: SubjectModel) -> None:
    first, middle, last = (client.get(f"/big/layers/{n}/").content.decode() for n in range(3))
    assert ("Layer 1 →" in first, "← " in first) == (True, False)
    assert ("← Layer 0" in middle, "Layer 2 →" in middle) == (True, True)
    assert ("← Layer 1" in last, " →" in last) == (True, False)


def test_an_empty_layer_says_how_to_fill_it(client: Client, big: SubjectModel) -> None:
    page = client.get("/big/layers/2/").content.decode()
    assert "import_dataset SOURCE --model big --layers 2</code>" in page


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("/none/layers/0/", "There is no model “none” here."),
        ("/big/layers/3/", "Big has no layer 3. Its layers are 0 to 2."),
        (f"/big/layers/{10**30}/", "Its layers are 0 to 2."),
    ],
)
def test_an_unknown_layer_gives_a_page_that_says_so(
    client: Client, big: SubjectModel, address: str, answer: str
) -> None:
    response = client.get(address)
    assert response.status_code == 404
    assert answer in response.content.decode()


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 3), ("?sort=score", 3), ("?sort=score&page=after:0.05:57", 4), ("?text=group&flagged=on", 3)],
)
def test_a_page_costs_four_queries_at_most(
    client: Client, big: SubjectModel, django_assert_num_queries: Any, query: str, count: int
) -> None:
    with django_assert_num_queries(count):
        client.get(LAYER + query)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("?sort=score&min_score=0.2", "neuron_by_score"),
        ("?sort=-score&page=after:0.5:3", "neuron_by_score"),
        ("?sort=-max&text=group", "neuron_by_max"),
        ("?sort=kurtosis", "neuron_by_kurtosis"),
        ("?sort=flags&flagged=on", "neuron_by_flags"),
    ],
)
def test_an_index_orders_the_rows(client: Client, big: SubjectModel, query: str, index: str) -> None:
    queries: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        queries.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        get(client, query)
    forbid("seqscan", "bitmapscan", "sort")
    with connection.cursor() as cursor:
        explain = "EXPLAIN (COSTS OFF) " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
        for sql, params in queries:
            if "LIMIT" in sql and '"peak"' in sql:
                cursor.execute(explain + sql, params)
                plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
                assert index in plan
                assert "Seq Scan" not in plan
                assert "TEMP B-TREE" not in plan
                break
        else:
            pytest.fail("no query reads the rows")
