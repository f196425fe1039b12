"""How well an explanation matches a query, alike on every database.

All of a query must match, so what tells matches apart is how often its words occur for the length of the text: BM25's
saturation and length normalisation, without the rarity of words, which is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from explanations.search_query import Query, Term, form_tests, split_words

SATURATION, LENGTH_WEIGHT = 1.2, 0.75
"""BM25's k1 and b, as they are usually set."""
USUAL_LENGTH = 15
"""Words in an explanation, about."""

_BLANK = ord(" ")
_FOLDED = bytes(ord(chr(c).lower()) if chr(c).isalnum() else _BLANK for c in range(128)) + bytes(range(128, 256))
"""UTF-8 with its ASCII in lower case, and a blank for each character of it that is part of no word."""

Numbers: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]


def rank(texts: Iterable[tuple[int, str, float | None]], query: Query) -> list[int]:
    """Return the ids of (id, text, score), the most relevant first; equals by score, the highest first."""
    rows = list(texts)
    words, lengths = _words([text for _, text, _ in rows])
    counts = _counts([term for term in query.terms if not term.is_excluded], words, lengths)
    ids = np.array([pk for pk, *_ in rows], dtype=np.int64)
    scores = np.array([np.nan if score is None else score for *_, score in rows], dtype=np.float64)
    # The last of the keys decides first; an undefined score comes last.
    found: list[int] = ids[np.lexsort((ids, -scores, -_relevance(counts, lengths)))].tolist()
    return found


def _relevance(counts: Iterable[Numbers], lengths: Numbers) -> Doubles:
    """Return how well texts match [text], the higher, the better: `counts` [text] are how often each term occurs."""
    damping = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * lengths / USUAL_LENGTH)
    return sum((count / (count + damping) for count in counts), start=np.zeros(len(lengths)))


def _words(texts: Sequence[str]) -> tuple[list[str], Numbers]:
    """Return all texts' folded words, one after the other, and how many each text has [text].

    Nearly every text is ASCII: all of these are folded and split together, in a fifth of the time.
    """
    parts = [(text if text.isascii() else " ".join(word for *_, word in split_words(text))).encode() for text in texts]
    # A blank ends each, so that no word runs into the next text.
    folded = b"".join([part + b" " for part in parts]).translate(_FOLDED)
    is_word = np.frombuffer(folded, np.uint8) != _BLANK  # [byte]
    ends = np.flatnonzero(is_word[:-1] & ~is_word[1:])  # [word]
    blanks = np.cumsum([len(part) + 1 for part in parts], dtype=np.int64) - 1  # [text]
    return folded.decode().split(), np.diff(np.searchsorted(ends, blanks), prepend=0)


def _counts(terms: Iterable[Term], words: Sequence[str], lengths: Numbers) -> list[Numbers]:
    """Return how often each term occurs in each text [term][text], given `_words`."""
    texts = np.repeat(np.arange(len(lengths)), lengths)  # [word]
    # A thousand texts have some hundred different words, asked once each.
    different = set(words)
    counts = []
    for term in terms:
        forms = [set(filter(is_form, different)) for is_form in form_tests(term)]
        counts.append(np.bincount(texts[_starts(forms, words, texts)], minlength=len(lengths)))
    return counts


def _starts(forms: Sequence[set[str]], words: Sequence[str], texts: Numbers) -> Numbers:
    """Return the places of words from which on words of these forms follow one another in one text."""
    starts: Numbers = np.arange(len(words) - len(forms) + 1)
    starts = starts[texts[starts] == texts[starts + len(forms) - 1]]
    for place, known in enumerate(forms):
        is_form = np.fromiter(map(known.__contains__, words), np.bool_, len(words))
        starts = starts[is_form[starts + place]]
    return starts
