"""Search against one plain statement that gives the same matches, and how long searches of every kind take."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from django.db import connection

from explanations.results import COUNTED, find_explanations
from explanations.search import Criteria
from explanations.search_query import parse_query
from tests.benchmarks.pages import milliseconds, percentile, visitor
from tests.benchmarks.protocol import Bench, Pair, figure, ratio
from tests.benchmarks.synthetic import EVERYWHERE, PLANTED

FREQUENT = next(iter(PLANTED))
"""The word in one explanation of thirty: 20,000 matches at full size."""
SEARCHES, QUICK_SEARCHES = 200, 20
FILTERS = ("", "&sort=score", "&sort=lowest", "&layer=5", "&layer=5&sort=score", "&min_score=0.5", "&source=model")
WORDS = (
    *PLANTED,
    EVERYWHERE,
    f"{EVERYWHERE} {FREQUENT}",
    f"{FREQUENT} -seldom",
    "univ*",
    '"words such"',
    "the",
    "days",
)


def plain(word: str) -> None:
    """Rank all matches of a word by the database's own ranking, take fifty, and count to the same limit."""
    with connection.cursor() as cursor:
        for sql in _statements():
            cursor.execute(sql, {"word": word} if connection.vendor == "postgresql" else {"word": f'"{word}"'})
            cursor.fetchall()


def _statements() -> Sequence[str]:
    table = "explanations_explanation"
    if connection.vendor == "postgresql":
        query = "to_tsquery('neuronviewer_stems', %(word)s)"
        matching = f"FROM {table} WHERE search_stems @@ {query} AND state = 'current'"
        best = f"SELECT id, text, score {matching} ORDER BY ts_rank(search_stems, {query}, 1) DESC LIMIT 50"
    else:
        matching = (
            f"FROM explanations_stems s JOIN {table} e ON e.id = s.rowid"
            " WHERE explanations_stems MATCH %(word)s AND e.state = 'current'"
        )
        best = f"SELECT e.id, e.text, e.score {matching} ORDER BY s.rank LIMIT 50"
    return best, f"SELECT count(*) FROM (SELECT 1 {matching} LIMIT {COUNTED + 1}) found"


@ratio(
    "search, best match",
    subject="a word in one explanation of thirty, the best fifty and the count",
    floor="the same by two plain statements that rank every match",
    at_most=1.5,
)
def best_match(bench: Bench) -> Iterator[Pair]:
    criteria = Criteria(query=parse_query(FREQUENT), sort="relevance")
    yield Pair(floor=lambda: plain(FREQUENT), subject=lambda: find_explanations(criteria, ""))


@ratio(
    "search, deep page",
    subject="the twentieth page by score of a word in one explanation of thirty",
    floor="its first page",
    at_most=1.5,
)
def deep_page(bench: Bench) -> Iterator[Pair]:
    criteria = Criteria(query=parse_query(FREQUENT), sort="score")
    token = ""
    for _ in range(3 if bench.is_quick else 19):
        following = find_explanations(criteria, token).page.next
        if following is None:
            break
        token = following
    yield Pair(floor=lambda: find_explanations(criteria, ""), subject=lambda: find_explanations(criteria, token))


@figure("search, p95", what="95 of 100 search pages of every kind take at most, one visitor", unit="ms", at_most=50.0)
def search_times(bench: Bench) -> float:
    rng = random.Random(4)
    with visitor() as client:
        asked = [
            f"/search/?q={rng.choice(WORDS)}{rng.choice(FILTERS)}".replace(" ", "+")
            for _ in range(QUICK_SEARCHES if bench.is_quick else SEARCHES)
        ]
        # Templates are compiled at the first page, as for a neuron's.
        milliseconds(client, asked[0])
        return percentile([milliseconds(client, address) for address in asked])
