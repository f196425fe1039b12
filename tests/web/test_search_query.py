from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanations.search_query import (
    MAX_LENGTH,
    UNCLOSED,
    Query,
    Term,
    find_marks,
    fold,
    has_stem,
    parse_query,
    split_marks,
    split_words,
    stem,
)


def said(text: str) -> list[str]:
    """Return the query's terms as people would write them."""
    return [
        ("-" if t.is_excluded else "")
        + (f'"{" ".join(t.words)}"' if len(t.words) > 1 else t.words[0])
        + ("*" if t.is_prefix else "")
        for t in parse_query(text).terms
    ]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("days", ["days"]),
        ("Days  WEEK\n", ["days", "week"]),
        ('"days of the week"', ['"days of the week"']),
        ("univers*", ["univers*"]),
        ("city -French", ["city", "-french"]),
        ('city -"New York"', ["city", '-"new york"']),
        ("city -fren*", ["city", "-fren*"]),
        ("“days of” week", ['"days of"', "week"]),
        ("long-term", ['"long term"']),
        ("long-ter*", ['"long ter"*']),
        ('"days of wee*"', ['"days of wee"*']),
        ('"days of wee"*', ['"days of wee"*']),
        ("don't", ['"don t"']),
        ("(univers*)", ["univers*"]),
        ("days, weeks; months.", ["days", "weeks", "months"]),
        ("days - weeks", ["days", "weeks"]),
        ("--days weeks", ["-days", "weeks"]),
        ("days days", ["days"]),
        ('days"of the"week', ["days", '"of the"', "week"]),
        ('foo-"bar baz"', ["foo", '"bar baz"']),
        ("café CAFE\u0301", ["cafe"]),
        ("the of is", ["the", "of", "is"]),
        ("NEAR(days AND weeks) OR x:y", ['"near days"', "and", "weeks", "or", '"x y"']),
        ("42 3rd", ["42", "3rd"]),
        ("Λόγος", ["λόγος"]),
        ("a_b", ['"a b"']),
        ("\0days\ud800week", ['"days week"']),
    ],
)
def test_a_query_is_understood(text: str, terms: list[str]) -> None:
    assert said(text) == terms
    assert parse_query(text).problems == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-French", "only excludes"),
        ('-"New York" -x', "only excludes"),
        ("!!! ... -", "no word"),
        ('""', "no word"),
        ("un*verse", "can only end a word"),
        ("days un*verse", "“un*verse”"),
        ("*verse", "letters come before it"),
        ("*", "letters come before it"),
        ("days *", "letters come before it"),
        ("a*", "at least 2 letters"),
        ("days of a-b*", "at least 2 letters"),
        ("x" * (MAX_LENGTH + 1), "at most 200"),
    ],
)
def test_a_query_that_cannot_be_searched_for_says_why(text: str, problem: str) -> None:
    query = parse_query(text)
    assert query.terms == ()
    assert len(query.problems) == 1
    assert problem in query.problems[0]


def test_a_blank_query_is_neither_wrong_nor_anything() -> None:
    assert parse_query(" \n\t ") == Query()


def test_a_phrase_that_is_not_closed_runs_to_the_end_and_says_so() -> None:
    query = parse_query('city "days of')
    assert query.terms == (Term(("city",)), Term(("days", "of")))
    assert query.notes == (UNCLOSED,)


def test_a_closed_phrase_has_no_note() -> None:
    assert parse_query('"days of"').notes == ()


@given(st.text(max_size=MAX_LENGTH + 20) | st.text(alphabet="ab \"*-\\'():^“", max_size=40))
def test_nothing_that_is_typed_raises(text: str) -> None:
    query = parse_query(text)
    assert bool(query.terms) != bool(query.problems) or not text.strip()
    for term in query.terms:
        assert term.words
        assert all(word == fold(word) and not re.search(r"[\s'\"\\*:&|!()]", word) for word in term.words)


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("the days of the week", "day", "the [days] of the week"),
        ("weeks, days, Days!", "day week", "[weeks], [days], [Days]!"),
        ("days of the week", '"day of"', "[days of] the week"),
        ("week of the days", '"day of"', "week of the days"),
        ("the university", "universit*", "the [university]"),
        ("the university", "universal", "the [university]"),
        ("running from runt", "run*", "[running] from [runt]"),
        ("running from runt", "runs", "[running] from runt"),
        ("cities but not French", "city -french", "[cities] but not French"),
        ("a long-term plan", "long-ter*", "a [long-term] plan"),
        ("Café au lait", "cafe", "[Café] au lait"),
        ("Cafe\u0301 au lait", "café", "[Cafe\u0301] au lait"),
        ("one two three", '"one two" "two three"', "[one two three]"),
        ("as a whole", "a", "as [a] whole"),
        ("technological", "technology", "[technological]"),
        ("<b>days</b>", "b day", "<[b]>[days]</[b]>"),
        ("", "day", ""),
    ],
)
def test_what_matches_is_marked(text: str, query: str, marked: str) -> None:
    pieces = split_marks(text, parse_query(query))
    assert "".join(f"[{piece}]" if is_match else piece for piece, is_match in pieces) == marked


@given(st.text(max_size=60), st.text(max_size=30))
def test_marks_never_change_the_text(text: str, query: str) -> None:
    parsed = parse_query(query)
    assert "".join(piece for piece, _ in split_marks(text, parsed)) == text
    marks = find_marks(text, parsed)
    assert marks == sorted(marks)
    assert all(0 <= start < end <= len(text) for start, end in marks)


def test_words_carry_their_places() -> None:
    assert split_words("Zoë’s 42") == [(0, 3, "zoe"), (4, 5, "s"), (6, 8, "42")]


@pytest.mark.parametrize(("word", "stemmed"), [("universities", "univers"), ("is", "is"), ("possibly", "possibl")])
def test_words_lose_their_endings(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed


_ENDINGS = ["s", "ed", "ing", "y", "ly", "ational", "izer", "enci", "abli", "logi", "biliti", "iviti", "fulness"]


@given(st.text("abcdehilostuvyé1", min_size=1, max_size=6), st.lists(st.sampled_from(_ENDINGS), max_size=3))
def test_a_word_is_known_by_its_stem(beginning: str, endings: list[str]) -> None:
    word = beginning + "".join(endings)
    assert has_stem(word, stem(word))
    assert not has_stem(word, stem(word) + "s")
