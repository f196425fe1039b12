"""How well an explanation matches a query, alike on every database.

All of a query must match, so what tells matches apart is how often its words occur for the length of the text: BM25's
saturation and length normalisation, without the rarity of words, which is the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from explanations.search_query import Query, Term, split_words, stem

SATURATION, LENGTH_WEIGHT = 1.2, 0.75
"""BM25's k1 and b, as they are usually set."""
USUAL_LENGTH = 15
"""Words in an explanation, about."""

_ASCII_WORD = re.compile(r"[a-z0-9]+")


def rank(texts: Iterable[tuple[int, str, float | None]], query: Query) -> list[int]:
    """Return the ids of (id, text, score), the most relevant first; equals by score, the highest first."""
    scored = [(relevance(text, query), score, pk) for pk, text, score in texts]
    scored.sort(key=lambda hit: (-hit[0], hit[1] is None, -(hit[1] or 0.0), hit[2]))
    return [pk for _, _, pk in scored]


def relevance(text: str, query: Query) -> float:
    """Return how well a text matches: the higher, the better."""
    words = _words(text)
    stems = [stem(word) for word in words]
    damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * len(words) / USUAL_LENGTH)
    counts = (_count(words if t.is_prefix else stems, t) for t in query.terms if not t.is_excluded)
    return sum(n / (n + damping) for n in counts)


def _words(text: str) -> list[str]:
    """Return the text's folded words; nearly every text is ASCII, whose words are found ten times as fast."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [word for _, _, word in split_words(text)]


def _count(words: Sequence[str], term: Term) -> int:
    """Return how often a term occurs among words, which are stems unless it is a prefix."""
    wanted = term.words if term.is_prefix else tuple(stem(word) for word in term.words)
    *before, last = wanted
    if not before:
        return sum(word.startswith(last) for word in words) if term.is_prefix else list(words).count(last)
    ends = range(len(before), len(words))
    return sum(
        (words[end].startswith(last) if term.is_prefix else words[end] == last)
        and list(words[end - len(before) : end]) == before
        for end in ends
    )
