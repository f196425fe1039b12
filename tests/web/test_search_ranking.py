"""Ranking many texts together gives what ranking them one by one gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from explanations.search_query import Term, parse_query, split_words, stem
from explanations.search_ranking import LENGTH_WEIGHT, SATURATION, USUAL_LENGTH, rank

_PIECES = [
    "day",
    "Days",
    "week",
    "weekly",
    "ΐ",
    "é",
    "E\u0301",
    "über",
    "_",
    "-",
    "<b>",
    "’",
    "\n",
    "\u00a0",
    "1st",
    "2",
]
_TEXTS = st.lists(st.sampled_from([*_PIECES, " "]), max_size=12).map("".join)
_QUERIES = ["day", "days week", '"day week"', "wee*", '"day wee*"', "e -week", '"2 day 1st"', "über day"]


def _occurrences(term: Term, words: list[str]) -> int:
    wanted = list(term.words) if term.is_prefix else [stem(word) for word in term.words]
    written = words if term.is_prefix else [stem(word) for word in words]
    size = len(wanted)
    parts = [written[start : start + size] for start in range(len(written) - size + 1)]
    if term.is_prefix:
        return sum(part[:-1] == wanted[:-1] and part[-1].startswith(wanted[-1]) for part in parts)
    return sum(part == wanted for part in parts)


def _relevance(text: str, terms: tuple[Term, ...]) -> float:
    words = [word for *_, word in split_words(text)]
    damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * len(words) / USUAL_LENGTH)
    counts = [_occurrences(term, words) for term in terms if not term.is_excluded]
    return sum(count / (count + damping) for count in counts)


@given(
    st.lists(st.tuples(_TEXTS, st.one_of(st.none(), st.sampled_from([-0.5, 0.0, 0.25]))), max_size=6),
    st.sampled_from(_QUERIES),
)
def test_the_order_is_that_of_the_formula(texts: list[tuple[str, float | None]], typed: str) -> None:
    terms = parse_query(typed).terms
    rows = [(pk, text, score) for pk, (text, score) in enumerate(texts, start=7)]
    expected = sorted(rows, key=lambda row: (-_relevance(row[1], terms), row[2] is None, -(row[2] or 0.0), row[0]))
    assert rank(rows, parse_query(typed)) == [pk for pk, *_ in expected]
