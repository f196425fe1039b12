"""What people type into the search box: words, "phrases", prefix*, -word, -"phrase".

All must match; anything else is punctuation. The grammar is ours, so that both databases answer alike and nothing that
is typed reaches either one's own query language. Matches are marked here too, by the rules of the indexes
(migration 0002): case and accents folded, stemmed by Porter's algorithm, no stop words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from snowballstemmer.porter_stemmer import PorterStemmer

MAX_LENGTH = 200
"""Characters in a query."""
MIN_PREFIX = 2
"""Letters before a star: one letter would match nearly everything."""

_ACCENTS = "\u0300-\u036f"
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_ACCENTS}])*")
_ACCENTED = re.compile(rf"([a-z])[{_ACCENTS}]+")
_PART = re.compile(r'(?P<minus>-?)"(?P<phrase>[^"]*)(?P<close>"?)(?P<star>\*?)|(?P<bare>[^\s"]+)')


# Words


@lru_cache(maxsize=50_000)
def fold(word: str) -> str:
    """Return the word as the indexes hold it before stemming: lower case, Latin letters without accents."""
    plain = _ACCENTED.sub(r"\1", unicodedata.normalize("NFD", word.lower()))
    return unicodedata.normalize("NFC", plain)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the stem of a folded word, by Porter's algorithm with its author's later rules for -logy and -bly.

    Words of one or two letters have no ending to lose.
    """
    if len(word) < 3:
        return word
    # A stemmer holds the word that it works on, so threads cannot share one.
    stemmed: str = PorterStemmer().stemWord(word)
    return stemmed[:-1] if stemmed.endswith(("logi", "bli")) else stemmed


def has_stem(word: str, wanted: str) -> bool:
    """Return whether this is the stem of a folded word.

    A stem, but for its last letter, begins each of its words. So hardly any word has to be stemmed, which takes 30
    microseconds, and a thousand texts hold a thousand different words.
    """
    return word.startswith(wanted[:-1]) and stem(word) == wanted


def split_words(text: str) -> list[tuple[int, int, str]]:
    """Return (start, end, folded word) of each word in the text."""
    return [(m.start(), m.end(), fold(m.group())) for m in _WORD.finditer(text)]


# Queries


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that an explanation must hold, or must not."""

    words: tuple[str, ...]
    """folded, at least one; several must follow one another"""
    is_prefix: bool = False
    """the last word is the beginning of a word, and none is stemmed"""
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody typed, understood."""

    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()
    """why it cannot be searched for, in words; then `terms` is empty"""
    notes: tuple[str, ...] = ()
    """what was taken otherwise than it was typed"""

    def chosen(self, *, is_prefix: bool, is_excluded: bool) -> list[Term]:
        return [t for t in self.terms if t.is_prefix == is_prefix and t.is_excluded == is_excluded]


UNCLOSED = "A quotation mark is not closed; the phrase was taken to run to the end."


def parse_query(text: str) -> Query:
    """Return the query that `text` says; an empty one where it is blank. Never raises."""
    text = text.strip().translate(str.maketrans("“”„«»", '"""""'))
    if not text:
        return Query()
    if len(text) > MAX_LENGTH:
        return Query(problems=(f"The query has {len(text):,} characters; at most {MAX_LENGTH} are searched for.",))
    terms: dict[Term, None] = {}
    problems: list[str] = []
    for part in _PART.finditer(text):
        term = _parse_part(part, problems)
        if term is not None:
            terms[term] = None
    if not problems and not terms:
        problems.append("There is no word in the query: only letters and digits are searched for.")
    elif not problems and all(t.is_excluded for t in terms):
        problems.append("The query only excludes. Add a word to look for: “city -French”.")
    notes = (UNCLOSED,) if text.count('"') % 2 else ()
    return Query(problems=tuple(dict.fromkeys(problems))) if problems else Query(tuple(terms), notes=notes)


def _parse_part(part: re.Match[str], problems: list[str]) -> Term | None:
    """Return the term of one part of a query; None, with or without a problem added, where it holds none."""
    if part["bare"] is not None:
        is_excluded, body = part["bare"].startswith("-"), part["bare"]
    else:
        is_excluded, body = bool(part["minus"]), part["phrase"].rstrip() + part["star"]
    shown = body.strip().lstrip("-")
    words = tuple(word for _, _, word in split_words(body))
    # Punctuation may follow a star, as it may follow any word: "(univers*)".
    before_star, star, after_star = body.partition("*")
    if not star:
        return Term(words, is_excluded=is_excluded) if words else None
    if not words or not split_words(before_star):
        problems.append("A star stands for the end of a word, so letters come before it: “univers*”.")
    elif split_words(after_star):
        problems.append(f"A star can only end a word: “univers*”, not “{shown}”.")
    elif len(words[-1]) < MIN_PREFIX:
        problems.append(f"Give at least {MIN_PREFIX} letters before a star, not “{shown}”.")
    else:
        return Term(words, is_prefix=True, is_excluded=is_excluded)
    return None


# Marks


def form_tests(term: Term) -> list[Callable[[str], bool]]:
    """Return what tells, for each of a term's words, whether a folded word is a form of it."""
    if not term.is_prefix:
        return [partial(has_stem, wanted=stem(word)) for word in term.words]
    *before, last = term.words
    return [*(word.__eq__ for word in before), lambda word: word.startswith(last)]


def find_marks(text: str, query: Query) -> list[tuple[int, int]]:
    """Return (start, end) of what the query matches in the text, in order, none overlapping."""
    words = split_words(text)
    spans = (span for term in query.terms if not term.is_excluded for span in _find_term(words, term))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _find_term(words: Sequence[tuple[int, int, str]], term: Term) -> Iterable[tuple[int, int]]:
    tests = form_tests(term)
    for i in range(len(words) - len(tests) + 1):
        here = words[i : i + len(tests)]
        if all(is_form(word) for is_form, (_, _, word) in zip(tests, here, strict=True)):
            yield here[0][0], here[-1][1]


def split_marks(text: str, query: Query) -> list[tuple[str, bool]]:
    """Return the text in pieces, each with whether the query matches it."""
    pieces: list[tuple[str, bool]] = []
    at = 0
    for start, end in find_marks(text, query):
        pieces += [(text[at:start], False), (text[start:end], True)]
        at = end
    return [piece for piece in [*pieces, (text[at:], False)] if piece[0]]
