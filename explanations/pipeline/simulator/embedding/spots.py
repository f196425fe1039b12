"""Tokens where they stand: of which word each is a piece, what is beside it, where sentences and quotations begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

HALF_A_CHARACTER = "\ufffd"
QUOTATION_MARKS = frozenset('"“”')
SENTENCE_ENDS = frozenset(["", ".", "!", "?"])


@dataclass(frozen=True, slots=True)
class Spot:
    """One token in its excerpt."""

    token: str
    word: str
    """the whole word that the token is a piece of, stripped, lower case"""
    shape: str
    """the same word in its own case"""
    first: bool
    """the token begins its word"""
    last: bool
    """the token ends its word"""
    pos: int
    before: str
    """the word before, stripped, lower case; empty at the start"""
    after: str
    repeated: bool
    """the word stood earlier in the excerpt"""
    opening: bool
    """the word begins a sentence"""
    quoted: bool
    """an odd number of quotation marks stands before"""


def excerpt_spots(tokens: Sequence[str]) -> tuple[Spot, ...]:
    """Return every token with its word, its neighbours and its place."""
    spans = [span for span, _ in groupby(word_spans(tokens))]
    shapes = ["".join(tokens[start:end]).strip() for start, end in spans]
    before, after = _nearest(shapes), _nearest(shapes[::-1])[::-1]
    spots: list[Spot] = []
    seen: set[str] = set()
    marks = 0
    for i, ((start, end), shape) in enumerate(zip(spans, shapes, strict=True)):
        word = shape.lower()
        opening = before[i] in SENTENCE_ENDS or (start > 0 and "\n" in tokens[start - 1])
        for pos in range(start, end):
            first, last = pos == start, pos == end - 1
            quoted = marks % 2 == 1
            spots.append(
                Spot(tokens[pos], word, shape, first, last, pos, before[i], after[i], word in seen, opening, quoted)
            )
            marks += shape in QUOTATION_MARKS
        seen.add(word)
    return tuple(spots)


def _nearest(shapes: Sequence[str]) -> list[str]:
    """Return for every word the last one before it that is not blank, in lower case; empty where there is none."""
    found: list[str] = []
    last = ""
    for shape in shapes:
        found.append(last)
        last = shape.lower() or last
    return found


def word_spans(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return for every token where its word begins and ends. A word's further tokens begin with a letter, no space."""
    spans: list[tuple[int, int]] = []
    while len(spans) < len(tokens):
        start = len(spans)
        end = start + 1
        goes_on = _continues(tokens[start].strip())
        while goes_on and end < len(tokens) and goes_on(tokens[end]):
            end += 1
        spans += [(start, end)] * (end - start)
    return spans


def _continues(text: str) -> Callable[[str], bool] | None:
    """Return the test of whether a token goes on with the word that `text` begins; None where nothing can."""
    if text.isdigit():
        return str.isdigit
    if text and (text[-1].isalpha() or text[-1] == HALF_A_CHARACTER):
        return lambda token: token[:1].isalpha() or token[:1] == HALF_A_CHARACTER
    return None


def is_punctuation(spot: Spot) -> bool:
    return bool(spot.word) and not any(c.isalnum() or c == HALF_A_CHARACTER for c in spot.word)
