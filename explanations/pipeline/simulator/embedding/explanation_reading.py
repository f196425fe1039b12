"""What an explanation says, taken apart: which words, pieces or kinds of token, after what, before what, within what.

No grammar is known here but a few dozen English markers ("such as", "after", "followed by"). What the rules do not
understand stays in the text that is embedded whole, so that a strange explanation loses little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from explanations.pipeline.simulator.embedding.english import FUNCTION_WORDS, GENERIC
from explanations.pipeline.simulator.embedding.word_classes import Test, named_classes

FOCUS, LIKE, AFTER, BEFORE, WITHIN = "focus", "like", "after", "before", "within"
SECTIONS = (FOCUS, LIKE, AFTER, BEFORE, WITHIN)
PHRASE = "phrase"
"""The role of "as in": it gives an example whatever stands before it."""

MARKERS = {
    **dict.fromkeys(("after", "following", "preceded by", "follows", "follow"), AFTER),
    **dict.fromkeys(("before", "followed by", "preceding", "introducing", "precedes", "modifying", "precede"), BEFORE),
    **dict.fromkeys(
        ("such as", "including", "for example", "like", "especially", "e.g.", "mostly", "particularly", "for instance"),
        LIKE,
    ),
    **dict.fromkeys(("in", "within", "inside", "when", "where", "between", "at", "joining", "from"), WITHIN),
    "as in": PHRASE,
}
MARKER = re.compile(rf"\b({'|'.join(re.escape(m) for m in sorted(MARKERS, key=len, reverse=True))})(?!\w)", re.I)
PART = re.compile(r"(?:,|;)\s+(?:and|or|plus|as well as|and also)\s+|;\s+|\.\s+(?=[A-Z])| plus ")
QUOTED = re.compile(r"(?<!\w)(?:'([^']{1,40}?)'|\"([^\"]{1,60}?)\"|‘([^’]{1,40})’|“([^”]{1,60})”|`([^`]{1,60})`)(?!\w)")
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
MASK = re.compile(r"\x01(\d+)\x02")
"""What stands for a quotation while markers are looked for: the words in it mark nothing."""

SUFFIXES = "ations ation ments ment ingly ings ing edly ies ied ers est ed es er ly s e y".split(" ")  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Words:
    """The words, phrases and classes that one section names."""

    text: str
    quoted: frozenset[str]
    """single words or pieces between quotation marks, lower case"""
    phrases: tuple[tuple[str, ...], ...]
    """quoted runs of several words, lower case"""
    named: frozenset[str]
    """stems of the other content words"""
    capitals: frozenset[str]
    """capitalised words without quotation marks, lower case"""
    classes: tuple[Test, ...]

    @property
    def quotes(self) -> bool:
        return bool(self.quoted or self.phrases)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the things that an explanation joins by 'and': what fires, and where."""

    text: str
    focus: Words
    """what fires"""
    like: Words
    """examples of it"""
    after: Words
    before: Words
    within: Words


def read_explanation(text: str) -> tuple[Part, ...]:
    """Return the parts of an explanation; one part at least, for the empty text too."""
    masked, quotes = _mask(" ".join(re.sub(r"[\x01\x02]", " ", text).split()))
    pieces = [p for p in PART.split(masked) if p.strip()] or [masked]
    return tuple(_part(piece, quotes) for piece in pieces)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the word without its commonest endings, so that 'painted' and 'paints' meet."""
    word = word.lower()
    for ending in SUFFIXES:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word.removesuffix("i") if len(word) > 3 else word


def _mask(text: str) -> tuple[str, list[str]]:
    quotes: list[str] = []

    def keep(match: re.Match[str]) -> str:
        quotes.append(next(group for group in match.groups() if group is not None))
        return f"\x01{len(quotes) - 1}\x02"

    return QUOTED.sub(keep, text), quotes


def _unmask(masked: str, quotes: list[str]) -> str:
    return MASK.sub(lambda match: quotes[int(match[1])], masked).strip(" ,;.")


def _part(masked: str, quotes: list[str]) -> Part:
    bounds = list(MARKER.finditer(masked))
    ends = [*(b.start() for b in bounds[1:]), len(masked)][: len(bounds)]
    role = FOCUS
    sections: dict[str, list[str]] = {section: [] for section in SECTIONS}
    sections[role].append(masked[: bounds[0].start()] if bounds else masked)
    for match, end in zip(bounds, ends, strict=True):
        role = _role(MARKERS[match[1].lower()], role, comma=masked[: match.start()].rstrip().endswith(","))
        sections[role].append(masked[match.end() : end])
    return Part(_unmask(masked, quotes), *(_words(" ".join(sections[section]), quotes) for section in SECTIONS))


def _role(marker: str, present: str, *, comma: bool) -> str:
    # "after nouns such as 'x'" gives examples of what stands before; after a comma they are examples of what fires.
    if marker == PHRASE:
        return LIKE
    if marker == LIKE:
        return present if present in (AFTER, BEFORE) and not comma else LIKE
    return marker


def _words(masked: str, quotes: list[str]) -> Words:
    shown = [quotes[int(i)].strip() for i in MASK.findall(masked)]
    bare = MASK.sub(" ", masked)
    found = WORD.findall(bare)
    content = [w for w in found if w.lower() not in FUNCTION_WORDS and w.lower() not in GENERIC and len(w) > 1]
    return Words(
        text=_unmask(masked, quotes),
        quoted=frozenset(q.lower() for q in shown if len(q.split()) == 1),
        phrases=tuple(tuple(q.lower().split()) for q in shown if len(q.split()) > 1),
        named=frozenset(stem(w) for w in content),
        capitals=frozenset(w.lower() for i, w in enumerate(found) if i and w[0].isupper()),
        classes=named_classes(bare),
    )
