from __future__ import annotations

import math
import re
from collections.abc import Callable
from html import unescape
from importlib import import_module

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explanations import results as results_module
from explanations import search, store
from explanations.models import Explanation, Neuron, SubjectModel
from explanations.results import Results, find_explanations
from explanations.search import Criteria
from explanations.search_query import Query, parse_query
from tests.world import HOSTILE, World

search_migration = import_module("explanations.migrations.0002_search")

URL = "/search/"
HTMX = {"HX-Request": "true"}


def add(world: World, text: str, score: float | None = None, **fields: object) -> Explanation:
    """Store an explanation, without a simulation, of tiny 0:2."""
    neuron = Neuron.objects.get(model=world.model, layer=0, index=2)
    return Explanation.objects.create(
        neuron=neuron,
        text=text,
        score=score,
        **{"source": "published", **fields},  # type: ignore[arg-type]
    )


WALKED = {"results.FEW": 0}
ROW_BY_ROW = {"search_scope.SHORT": 0, "search_scope.MEASURED": 0, "search_scope.LEADING": 0}
LOOKED_UP = {"search.SAMPLED": 1, "search.COMMON": 0}
SAMPLED = {"search.SAMPLES": ((1, 10**9),), "search.DEVIATIONS": -(10**6), "search.EXPECTED": 0}
EACH = {"search.READ": 10**9, "search.SELDOM": 0}
LEADING = {"search_scope.LEADING": 10**9}
CHECKED = {"search_scope.LEADING": 0}
WAYS: tuple[dict[str, object], ...] = (
    {},
    WALKED,
    SAMPLED,
    EACH,
    ROW_BY_ROW,
    WALKED | ROW_BY_ROW,
    LOOKED_UP,
    WALKED | LOOKED_UP,
    LEADING,
    CHECKED,
)
"""What depends on how much there is: whether matches are sorted or met on a walk, and filters listed or checked, or on
PostgreSQL each row is looked at."""


def found(text: str, **criteria: object) -> set[str]:
    """Return the texts that match; the same by every way to find them, and however they are ordered."""
    query = parse_query(text)
    assert query.problems == ()
    answers = []
    for sort in ("relevance", "score", "lowest") if query.terms else ("score", "lowest"):
        for way in WAYS:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in way.items():
                    patch.setattr(f"explanations.{name}", value)
                results = find_explanations(Criteria(query=query, sort=sort, **criteria), "")  # type: ignore[arg-type]
            answers.append({row.text for row in results.page.rows})
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def texts(results: Results) -> list[str]:
    return [row.text for row in results.page.rows]


def body(client: Client, query: str = "", **headers: str) -> str:
    response = client.get(URL + query, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def visible(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", html)))


# The index


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("day", True),
        ("DAYS", True),
        ("week days", True),
        ('"days of the week"', True),
        ('"week of days"', False),
        ("days month", False),
        ("tues*", True),
        ("tuesda", False),
        ("especial*", True),
        ("especially -french", True),
        ("days -tuesday", False),
        ('days -"of the"', False),
        ("days -tues*", False),
        ("tues* -week", False),
        ("tues* -month", True),
        ("tues* wee* -mon*", True),
        ("the", True),
        ('"days of the we*"', True),
        ("-cat tues*", True),
    ],
)
def test_explanations_are_found(world: World, query: str, matches: bool) -> None:
    assert ("days of the week, especially Tuesday" in found(query)) is matches


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Universities of Köln", "university koln"),
        ("Universities of Köln", "universit*"),
        ("Universities of Ko\u0308ln", "köln"),
        ("and/or, e.g. foo.bar.com or a@b.example", "or foo bar com example"),
        ("paths /usr/local/bin, 3.14 and -5", '"usr local" 14 5'),
        ("<b>bold</b> tags &amp; entities", "b bold amp"),
        ("snake_case and camelCase", '"snake case" camelcase'),
        ("“quoted” words — dashed…", "quoted dashed"),
        ("don't stop", "don't"),
        ("1e5 and 3rd", "1e5 3rd"),
        ("Λόγος καὶ", "λόγος"),
        ("word \u202ereversed", "reversed"),
        ("this is as it was", "is as it"),
    ],
)
def test_both_databases_split_words_alike(world: World, text: str, query: str) -> None:
    add(world, text)
    assert text in found(query)


def test_the_index_follows_every_way_to_write(world: World) -> None:
    row = add(world, "aardvarks")
    Explanation.objects.bulk_create(
        [Explanation(neuron=row.neuron, text="aardvarks too", source="human") for _ in range(3)]
    )
    assert len(Explanation.objects.filter(text__startswith="aardvarks")) == 4
    assert found("aardvark") == {"aardvarks", "aardvarks too"}
    Explanation.objects.filter(pk=row.pk).update(text="zebras")
    assert found("zebra") == {"zebras"}
    assert found("aardv*") == {"aardvarks too"}
    row.text = "gnus"
    row.save()
    assert found("zebra") == set()
    assert found("gnu") == {"gnus"}
    row.delete()
    assert found("gnu") == set()
    SubjectModel.objects.all().delete()
    assert found("aardvark") == set()


def test_an_index_entry_changes_with_an_upsert(world: World) -> None:
    row = add(world, "aardvarks", dataset_position=0)
    Explanation.objects.bulk_create(
        [Explanation(neuron=row.neuron, text="gnus", source="published", dataset_position=0)], ignore_conflicts=True
    )
    assert found("gnus") == set()
    Explanation.objects.bulk_create(
        [Explanation(pk=row.pk, neuron=row.neuron, text="zebras", source="published")],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["text"],
    )
    assert found("aardvarks") == set()
    assert found("zebra") == {"zebras"}


def test_a_very_long_explanation_is_stored_and_found(world: World) -> None:
    text = "needle " + " ".join(f"word{i}" for i in range(40_000))
    add(world, text)
    assert found("needle") == {text}


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="FTS5 sees words alone")
@pytest.mark.parametrize("config", sorted(set(search_migration.POSTGRES_COLUMNS.values())))
def test_postgresql_sees_the_words_of_ascii_alone(db: None, config: str) -> None:
    marks = [chr(code) for code in range(1, 128) if not chr(code).isalnum()]
    frames = ("a%sb", "a %sb", "1%s2", "www.a%scom/x", "<a%sb>", "a@b%sc", "&a%s;", "e%s9e-1%s")
    pairs = [mark + other for mark in marks for other in ["", *marks]]
    texts = [frame.replace("%s", pair) for frame in frames for pair in pairs]
    words, bare = (
        f"to_tsvector('{config}', {made})" for made in (search_migration.POSTGRES_WORDS, search_migration._ANY_WORDS)
    )
    with connection.cursor() as cursor:
        # The patterns hold no percent sign, so they can stand in a statement with parameters.
        cursor.execute(f"SELECT text FROM unnest(%s::text[]) AS text WHERE {words} <> {bare}", [texts])
        assert cursor.fetchall() == []


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="the index of SQLite is kept by triggers")
def test_the_triggers_outlive_all_migrations(db: None) -> None:
    # A migration that makes SQLite rebuild the table drops them: it must run 0002's create_triggers again.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'explanations_explanation'"
        )
        names = {name for (name,) in cursor.fetchall()}
    # Beside them are those that tell a browser's copy of a page from the present one: test_unchanged.py.
    searching = {name for name in names if "_search_" in name}
    assert searching == {"explanations_search_insert", "explanations_search_delete", "explanations_search_update"}
    # It drops the index of what searches filter by as well: 0012's make_again.
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = 'explanations_filters'")
        assert cursor.fetchone()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="FTS5 checks its own index")
def test_the_index_agrees_with_the_texts(world: World) -> None:
    Explanation.objects.filter(pk=world.explanation.pk).update(text="something else")
    world.baseline.delete()
    with connection.cursor() as cursor:
        for table in ("explanations_stems", "explanations_words"):
            cursor.execute(f"INSERT INTO {table}({table}, rank) VALUES ('integrity-check', 1)")


@pytest.mark.django_db(transaction=True)
def test_the_index_can_be_taken_away_and_made_again() -> None:
    model = SubjectModel.objects.create(slug="m", name="M", layers=1, neurons_per_layer=1)
    neuron = Neuron.objects.create(model=model, layer=0, index=0)
    Explanation.objects.create(neuron=neuron, text="zebras", source="human")
    try:
        call_command("migrate", "explanations", "0001", verbosity=0)
        # Without the index, rows are still written.
        with connection.cursor() as cursor:
            cursor.execute("UPDATE explanations_explanation SET text = 'gnus'")
    finally:
        call_command("migrate", verbosity=0)
    assert found("gnu") == {"gnus"}
    assert found("zebra") == set()


@pytest.mark.django_db(transaction=True)
def test_a_migration_gives_explanations_the_place_of_their_neurons() -> None:
    model = SubjectModel.objects.create(slug="m", name="M", layers=9, neurons_per_layer=1)
    places = {}
    for layer in (3, 8):
        neuron = Neuron.objects.create(model=model, layer=layer, index=0)
        places[Explanation.objects.create(neuron=neuron, text=f"zebra {layer}", source="human").pk] = (model.pk, layer)
    try:
        call_command("migrate", "explanations", "0011", verbosity=0)
        with connection.cursor() as cursor:
            columns = {
                c.name for c in connection.introspection.get_table_description(cursor, "explanations_explanation")
            }
            # The index still follows what is written.
            cursor.execute("UPDATE explanations_explanation SET text = 'gnu 3' WHERE text = 'zebra 3'")
    finally:
        call_command("migrate", verbosity=0)
    assert columns.isdisjoint({"model_id", "layer"})
    assert {pk: place for pk, *place in Explanation.objects.values_list("pk", "model", "layer")} == {
        pk: list(place) for pk, place in places.items()
    }
    assert found("gnu", layers=(3, 3)) == {"gnu 3"}
    assert found("zebra") == {"zebra 8"}
    assert found("zebra", model=model, layers=(3, 3)) == set()


@given(text=st.text(max_size=60) | st.text(alphabet="ab \"*-\\'():^&|!<>%_", max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_typed_breaks_the_database(db: None, text: str) -> None:
    query = parse_query(text)
    if not query.terms:
        return
    for sort in ("relevance", "score"):
        assert find_explanations(Criteria(query=query, sort=sort), "").count == 0


@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_can_be_indexed(world: World, text: str) -> None:
    row = add(world, "needle " + text)
    assert row.text in found("needle")
    row.delete()


# Filters, order, pages


def test_retired_explanations_are_found_only_when_asked_for(world: World) -> None:
    vague = "something vague about words"
    assert found("vague") == set()
    assert found("vague", state="retired") == {vague}
    assert found("vague", state="any") == {vague}
    assert found("days", state="retired") == set()


def test_explanations_are_filtered(world: World) -> None:
    other = SubjectModel.objects.create(slug="other", name="Other", layers=1, neurons_per_layer=1)
    neuron = Neuron.objects.create(model=other, layer=0, index=0)
    Explanation.objects.create(neuron=neuron, text="days elsewhere", source="human", score=-0.5)
    days = "days of the week, especially Tuesday"
    assert found("days") == {days, "days elsewhere"}
    assert found("days", model=world.model) == {days}
    assert found("days", model=other) == {"days elsewhere"}
    assert found("days", source="human") == {"days elsewhere"}
    assert found("days", min_score=0) == {days}
    assert found("days", max_score=-0.5) == {"days elsewhere"}
    assert found("days", layers=(1, 1)) == set()
    assert found("", layers=(1, 1)) == {HOSTILE}
    assert found("days", layers=(0, 0)) == found("days", layers=(0, 1)) == {days, "days elsewhere"}
    assert found("days", model=other, layers=(0, 0)) == {"days elsewhere"}
    assert found("days", model=other, layers=(0, 1), min_score=-1, source="human") == {"days elsewhere"}
    assert found("", model=world.model, layers=(0, 1), min_score=0.7, max_score=0.9) == {
        HOSTILE,
        "tokens such as ' Tuesday', ' cat'",
    }


def test_an_undefined_score_passes_no_score_filter(world: World) -> None:
    assert found("cities") == {"French cities"}
    assert found("cities", min_score=-1) == set()


def test_the_best_match_comes_first_and_equals_by_score(world: World) -> None:
    add(world, "zebra words among very many other words that say nothing of the matter at all", 0.9)
    add(world, "zebra", 0.1)
    add(world, "zebra", 0.2)
    add(world, "zebra", None)
    results = find_explanations(Criteria(query=parse_query("zebra"), sort="relevance"), "")
    assert [row.score for row in results.page.rows] == [0.2, 0.1, None, 0.9]


def test_scores_order_with_the_undefined_last(world: World) -> None:
    for score in (0.3, None, -0.2, 0.8):
        add(world, "zebra", score)
    best = find_explanations(Criteria(query=parse_query("zebra"), sort="score"), "")
    assert [row.score for row in best.page.rows] == [0.8, 0.3, -0.2, None]
    lowest = find_explanations(Criteria(query=parse_query("zebra"), sort="lowest"), "")
    assert [row.score for row in lowest.page.rows] == [-0.2, 0.3, 0.8, None]


@pytest.mark.parametrize("counted", [10_000, 3])
@pytest.mark.parametrize("sort", ["relevance", "score", "lowest"])
def test_pages_hold_every_match_once(world: World, monkeypatch: pytest.MonkeyPatch, sort: str, counted: int) -> None:
    monkeypatch.setattr(results_module, "COUNTED", counted)
    monkeypatch.setattr(results_module, "RANKED", counted)
    for i in range(7):
        add(world, "zebra", None if i == 3 else i / 10)
    criteria = Criteria(query=parse_query("zebra"), sort=sort)
    shown: list[int] = []
    token: str | None = ""
    previous = []
    while token is not None:
        results = find_explanations(criteria, token, size=2)
        assert results.page.problem == ""
        shown += [row.pk for row in results.page.rows]
        previous.append(results.page.previous)
        token = results.page.next
    expected = 3 if sort == "relevance" and counted == 3 else 7
    assert len(shown) == len(set(shown)) == expected
    assert previous[0] is None
    assert all(previous[1:])
    assert results.is_cut is (expected == 3)
    assert (results.count, results.is_counted) == ((7, True) if counted > 7 else (3, False))


@pytest.mark.parametrize("sort", ["score", "lowest"])
def test_matches_are_paged_alike_sorted_and_walked(world: World, monkeypatch: pytest.MonkeyPatch, sort: str) -> None:
    rows = [add(world, "zebra", score) for score in (0.5, None, 0.0, 0.5, -0.0, None, -0.25, 0.5)]
    values = [*(row.score for row in rows), 0.1]
    ties = [*(row.pk for row in rows), 0]
    tokens = [f"{way}:{'-' if v is None else v}:{t}" for way in ("before", "after") for v in set(values) for t in ties]
    criteria = Criteria(query=parse_query("zebra"), sort=sort)
    seen = []
    for few in (10_000, 0):
        monkeypatch.setattr(results_module, "FEW", few)
        pages = [find_explanations(criteria, token, size=3).page for token in ("", *tokens)]
        seen.append([([row.pk for row in p.rows], p.previous, p.next, p.problem) for p in pages])
    for token, page, walked in zip(("", *tokens), *seen, strict=True):
        assert page == walked, token


@pytest.mark.parametrize("token", ["x", "-1", "after:0.1", "99999999", "1e3", "٣", "after:nan:1", "before:-:0", "\0"])
@pytest.mark.parametrize("sort", ["relevance", "score"])
def test_a_damaged_page_token_gives_the_first_page(world: World, token: str, sort: str) -> None:
    results = find_explanations(Criteria(query=parse_query("days"), sort=sort), token)
    assert texts(results) == ["days of the week, especially Tuesday"]
    assert results.page.problem or token == "before:-:0"


def test_a_page_beyond_the_last_says_so(world: World) -> None:
    results = find_explanations(Criteria(query=parse_query("days"), sort="relevance"), "50")
    assert "nothing on that page" in results.page.problem


def test_a_query_without_words_finds_all_that_pass(world: World) -> None:
    results = find_explanations(Criteria(query=Query(), sort="score"), "")
    assert [row.score for row in results.page.rows] == [0.9, 0.7, 0.4, None]


# The page


def test_the_page_without_a_query_helps(client: Client, world: World) -> None:
    html = body(client)
    assert "How to search" in html
    assert 'id="results"' in html
    for href in re.findall(r'href="(/search/\?[^"]+)"', html):
        response = client.get(unescape(href))
        assert response.status_code == 200
        assert "explanation" in visible(response.content.decode())
        assert 'class="errorlist"' not in response.content.decode()


def test_the_page_shows_hits_with_their_matches_marked(client: Client, world: World) -> None:
    html = body(client, "?q=tuesday")
    assert "days of the week, especially <mark>Tuesday</mark>" in html
    assert f'href="{world.neuron.get_absolute_url()}' in html
    assert "2 explanations that match tuesday, best match first." in visible(html)
    assert "0.40" in html
    assert "toy-simulator" in html
    assert "toy-explainer" in html


def test_a_hit_links_to_itself_on_its_neurons_page(client: Client, world: World) -> None:
    html = body(client, "?q=tuesday")
    address = world.neuron.get_absolute_url()
    assert f'href="{address}"' in html, "the headline"
    assert f'href="{address}?explanation={world.baseline.pk}"' in html
    row = add(world, "zebra")
    assert f"#explanation-{row.pk}" in body(client, "?q=zebra")


def test_the_filter_is_stated_as_a_sentence(client: Client, world: World) -> None:
    html = body(
        client, "?q=day*&model=tiny&layer=0-1&min_score=-0.5&max_score=0.5&source=published&state=any&sort=lowest"
    )
    assert (
        "1 explanation that matches day*, of Tiny, in layers 0 to 1, with score from \u22120.5 to 0.5, published,"
        " current and retired, lowest score first." in visible(html)
    )


def test_more_than_can_be_counted_is_said_so(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "COUNTED", 1)
    monkeypatch.setattr(results_module, "RANKED", 1)
    monkeypatch.setattr("explanations.views.search.RANKED", 1)
    text = visible(body(client, "?q=tuesday"))
    assert "More than 1 explanation" in text
    assert "Ranked among the first 1 matches" in text
    text = visible(body(client, "?q=tuesday&sort=score"))
    assert "More than 1 explanation" in text
    assert "Ranked among" not in text


@pytest.mark.parametrize("smaller", [1, 10, 100, 1000])
@pytest.mark.parametrize(("part", "most"), search.SAMPLES)
def test_a_sample_hardly_ever_errs(part: float, most: int, smaller: int) -> None:
    """Were there 10,000 matches on as many pages, so few samples would hold the pages that are taken for more."""
    matches, share = results_module.COUNTED, part / smaller
    tail = sum(
        math.exp(
            math.lgamma(matches + 1) - math.lgamma(pages + 1) - math.lgamma(matches - pages + 1)
            + pages * math.log(share) + (matches - pages) * math.log1p(-share)
        )
        for pages in range(math.ceil(search._enough(matches, share)), matches + 1)
    )  # fmt: skip
    assert tail < 1e-14
    assert search._enough(matches, share) < most


ON_POSTGRES = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL samples its tables")


def add_striped_horses(world: World) -> None:
    """Store 400 explanations with a phrase, on some fifteen pages of the table."""
    neuron = Neuron.objects.get(model=world.model, layer=0, index=2)
    Explanation.objects.bulk_create(
        Explanation(
            neuron=neuron, model=world.model, layer=0, text=f"striped horses {i}", source="published", score=0.5
        )
        for i in range(400)
    )


@ON_POSTGRES
@pytest.mark.parametrize("typed", ['"striped horses"', "horses"])
@pytest.mark.parametrize("sort", ["relevance", "score", "lowest"])
def test_a_sample_tells_that_matches_are_many(
    world: World, monkeypatch: pytest.MonkeyPatch, sort: str, typed: str
) -> None:
    add_striped_horses(world)
    for name, value in {"SAMPLES": ((1, 10**9),), "DEVIATIONS": 1, "EXPECTED": 0}.items():
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr(results_module, "COUNTED", 5)
    monkeypatch.setattr(results_module, "RANKED", 5)
    criteria = Criteria(query=parse_query(typed), sort=sort, min_score=0.2)
    with CaptureQueriesContext(connection) as asked:
        results = find_explanations(criteria, "", size=3)
    assert (results.count, results.is_counted) == (5, False)
    assert len(results.page.rows) == 3
    assert all("striped horses" in text for text in texts(results))
    statements = [query["sql"] or "" for query in asked.captured_queries]
    assert any("TABLESAMPLE" in sql for sql in statements)
    assert not any("LIMIT 6" in sql for sql in statements), "counted, though the sample had told"
    token = results.page.next
    assert token is not None
    following = find_explanations(criteria, token, size=3).page
    assert len(following.rows) == (2 if sort == "relevance" else 3)
    assert {row.pk for row in following.rows}.isdisjoint(row.pk for row in results.page.rows)


@ON_POSTGRES
def test_what_a_small_sample_cannot_tell_a_larger_one_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_striped_horses(world)
    for name, value in {"SAMPLES": ((1e-9, 10**9), (1, 10**9)), "DEVIATIONS": 1, "EXPECTED": 0}.items():
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr(results_module, "COUNTED", 5)
    with CaptureQueriesContext(connection) as asked:
        results = find_explanations(Criteria(query=parse_query("horses"), sort="score"), "")
    assert (results.count, results.is_counted) == (5, False)
    assert sum("TABLESAMPLE" in (query["sql"] or "") for query in asked.captured_queries) == 2


@ON_POSTGRES
@pytest.mark.parametrize(
    ("typed", "changes", "is_read"),
    [
        ('"striped horses"', {}, True),
        ('tuesday -"striped horses"', {"SELDOM": 0}, True),
        ("striped horses", {}, False),
        ('"striped horses"', {"READ": 100}, False),
        ('"striped zebras"', {}, False),
    ],
)
def test_a_phrase_is_looked_for_in_few_rows_of_which_many_have_it(
    world: World, monkeypatch: pytest.MonkeyPatch, typed: str, changes: dict[str, int], is_read: bool
) -> None:
    add_striped_horses(world)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE explanations_explanation")
    for name, value in changes.items():
        monkeypatch.setattr(search, name, value)
    for sort in ("relevance", "score"):
        with CaptureQueriesContext(connection) as asked:
            find_explanations(Criteria(query=parse_query(typed), sort=sort, model=world.model), "")
        assert any("ts_match_vq" in (query["sql"] or "") for query in asked.captured_queries) == is_read


@ON_POSTGRES
@pytest.mark.parametrize(
    "query", ['"striped horses"', '"striped hor*"', '"horses striped"', 'horses -"striped horses"', "striped"]
)
def test_what_a_sample_cannot_tell_is_counted(world: World, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    add_striped_horses(world)
    monkeypatch.setattr(search, "EXPECTED", 0)
    for sort in ("relevance", "score"):
        results = find_explanations(Criteria(query=parse_query(query), sort=sort), "")
        assert (results.count, results.is_counted) == (400 if query.lstrip('"').startswith("striped") else 0, True)


def test_scores_by_different_simulators_are_not_compared(client: Client, world: World) -> None:
    assert "by different simulators" in body(client, "?q=tuesday")
    html = body(client, "?q=days")
    assert "by different simulators" not in html
    assert "by toy-simulator" in visible(html)


def test_an_undefined_score_is_shown_as_undefined(client: Client, world: World) -> None:
    assert "undefined" in visible(body(client, "?q=cities"))


def test_retired_hits_are_named_so(client: Client, world: World) -> None:
    assert '<span class="tag">retired</span>' in body(client, "?q=vague&state=retired")


def test_nothing_found_suggests_what_to_do(client: Client, world: World) -> None:
    text = visible(body(client, "?q=days+zebra&layer=1&min_score=0.1"))
    assert "0 explanations that match days zebra" in text
    assert "try fewer" in text
    assert "Search without the filters" in text
    assert "Search retired explanations as well" in text
    assert "score is undefined" in text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("q=-french", "only excludes"),
        ("q=***", "letters come before it"),
        ("q=%00", "null character"),
        ("q=" + "x" * 201, "at most 200"),
        ("model=gpt-9", "There is no model “gpt-9” here"),
        ("layer=x", "Layers are one number, or two such as 3-7."),
        ("layer=7-3", "write 3-7"),
        ("layer=0-9&model=tiny", "Tiny has layers 0 to 1."),
        ("layer=" + "9" * 30, "Layers are one number"),
        ("layer=-1", "Layers are one number"),
        ("min_score=x", "A score is a number from -1 to 1."),
        ("min_score=nan", "A score is a number from -1 to 1."),
        ("max_score=1e400", "A score is a number from -1 to 1."),
        ("max_score=2", "A score is never above 1."),
        ("min_score=0.5&max_score=0.4", "The lowest score is above the highest."),
        ("source=x", "There is no source “x”"),
        ("state=x", "There is no state “x”"),
        ("sort=x", "There is no order “x”"),
    ],
)
def test_a_bad_value_is_named_beside_its_field(client: Client, world: World, query: str, message: str) -> None:
    assert message in unescape(body(client, "?" + query))
    fragment = unescape(body(client, "?" + query, **HTMX))
    assert message in fragment
    assert 'hx-swap-oob="true"' in fragment


def test_an_unclosed_phrase_is_searched_for_with_a_note(client: Client, world: World) -> None:
    text = visible(body(client, "?q=%22days+of"))
    assert "quotation mark is not closed" in text
    assert "1 explanation that matches" in text


def test_words_that_cannot_be_searched_for_find_nothing(client: Client, world: World) -> None:
    html = body(client, "?q=-french&min_score=0.1")
    assert "<table" not in html
    assert "Nothing was searched for" in html


def test_best_match_without_words_is_best_score(client: Client, world: World) -> None:
    assert "best score first" in visible(body(client, "?sort=relevance"))


def test_the_fragment_is_the_results_alone(client: Client, world: World) -> None:
    response = client.get(URL + "?q=days&model=&layer=&sort=", headers=HTMX)
    html = response.content.decode()
    assert "<html" not in html
    assert html.count('id="results"') == 1
    assert "<form" not in html
    assert "HX-Request" in response["Vary"]
    assert response["HX-Push-Url"] == "/search/?q=days"


def test_a_restored_page_is_whole(client: Client, world: World) -> None:
    assert "<html" in body(client, "?q=days", **HTMX, **{"HX-History-Restore-Request": "true"})


def test_hostile_text_stays_text(client: Client, world: World) -> None:
    html = body(client, "?q=script+alert")
    assert "&lt;<mark>script</mark>&gt;<mark>alert</mark>(1)" in html
    assert "<script>alert" not in html
    assert "49" not in visible(html), "{{ 7|add:7 }} is not a template here"
    query = client.get(URL, {"q": '"><script>alert(1)</script>', "model": "<b>x", "layer": "'\"><i>"}).content.decode()
    assert "<script>alert" not in query
    assert "<b>x" not in query
    assert "<i>" not in query


def test_it_keeps_the_content_security_policy(client: Client, world: World) -> None:
    html = body(client, "?q=days")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", html)


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_it_only_answers_get(client: Client, world: World, method: str) -> None:
    send: Callable[[str], object] = getattr(client, method)
    response = send(URL)
    assert response.status_code == 405  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("query", "queries"),
    [
        # With words, SQLite asks how many explanations are retired, and in order of scores it counts first.
        ("", 1),
        ("?q=-x", 1),
        ("?q=tuesday", 4),
        ("?q=tuesday&sort=score", 5),
        ("?model=tiny&min_score=0.1", 5),
        ("?q=zebra", 3),
        # PostgreSQL asks how many matches its planner expects, and for a phrase how many rows the filters leave.
        ("?q=%22tuesday 1%22", 4),
    ],
)
def test_its_queries_are_few(
    client: Client, world: World, django_assert_num_queries: Callable[[int], object], query: str, queries: int
) -> None:
    for i in range(5):
        add(world, f"tuesday {i}", 0.5)
    if connection.vendor == "postgresql":
        queries += ("%22" in query) - ("q=tuesday&sort=score" in query)
    with django_assert_num_queries(queries):  # type: ignore[attr-defined]
        client.get(URL + query)


def test_pages_are_linked_and_filters_kept(client: Client, world: World) -> None:
    for i in range(60):
        add(world, "zebra", i / 100)
    for sort in ("relevance", "score"):
        first = body(client, f"?q=zebra&sort={sort}&min_score=0.05")
        href = unescape(re.search(r'rel="next" href="([^"]+)"', first)[1])  # type: ignore[index]
        assert "min_score=0.05" in href
        second = client.get(href).content.decode()
        assert first.count("<mark>zebra</mark>") == 50
        assert second.count("<mark>zebra</mark>") == 5
        assert 'rel="prev"' in second


def test_the_address_is_that_of_the_design() -> None:
    assert reverse("search") == URL


def test_a_new_explanation_is_found_at_once(client: Client, world: World) -> None:
    from explanations.pipeline.records import ScoredExplanation

    store.save_explanation(neuron=world.neuron, scored=ScoredExplanation("zebra crossings", None), source="human")  # type: ignore[arg-type]
    assert "<mark>zebra</mark> crossings" in body(client, "?q=zebras")
