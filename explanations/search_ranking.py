"""How well an explanation matches a query, alike on every database.

All of a query must match, so what tells matches apart is how often its words occur for the length of the text: BM25's
saturation and length normalisation, without the rarity of words, which is the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from explanations.search_query import Query, Term, split_words, stem

SATURATION, LENGTH_WEIGHT = 1.2, 0.75
"""BM25's k1 and b, as they are usually set."""
USUAL_LENGTH = 15
"""Words in an explanation, about."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")


def rank(texts: Iterable[tuple[int, str, float | None]], query: Query) -> list[int]:
    """Return the ids of (id, text, score), the most relevant first; equals by score, the highest first."""
    counters = [_counter(term) for term in query.terms if not term.is_excluded]
    scored = [(-_relevance(_words(text), counters), score is None, -(score or 0.0), pk) for pk, text, score in texts]
    scored.sort()
    return [pk for *_, pk in scored]


_Counter = Callable[[list[str]], int]
"""Says how often something occurs among words."""


def _relevance(words: list[str], counters: Iterable[_Counter]) -> float:
    """Return how well a text of these words matches: the higher, the better."""
    damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * len(words) / USUAL_LENGTH)
    counts = [count(words) for count in counters]
    return sum(n / (n + damping) for n in counts)


def _words(text: str) -> list[str]:
    """Return the text's folded words; nearly every text is ASCII, whose words are found ten times as fast."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [word for _, _, word in split_words(text)]


class _Forms(dict[str, bool]):
    """Whether words are what is looked for, each asked once: a thousand texts have some hundred words."""

    def __init__(self, is_form: Callable[[str], bool]) -> None:
        self._is_form = is_form

    def __missing__(self, word: str) -> bool:
        self[word] = found = self._is_form(word)
        return found


def _forms(word: str, *, is_prefix: bool, is_stemmed: bool) -> _Forms:
    if is_prefix:
        return _Forms(lambda other: other.startswith(word))
    wanted = stem(word)
    return _Forms((lambda other: stem(other) == wanted) if is_stemmed else word.__eq__)


def _counter(term: Term) -> _Counter:
    *before, last = term.words
    forms = [_forms(word, is_prefix=False, is_stemmed=not term.is_prefix) for word in before]
    forms.append(_forms(last, is_prefix=term.is_prefix, is_stemmed=True))
    if not before:
        return lambda words: sum(map(forms[0].__getitem__, words))
    return lambda words: sum(
        all(form[word] for form, word in zip(forms[1:], words[start:], strict=False))
        for start in range(1, len(words) - len(before) + 1)
        if forms[0][words[start - 1]]
    )
