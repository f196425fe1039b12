"""What can be seen of an explanation and an excerpt without a model: quoted words, named classes, what stands where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from explanations.pipeline.simulator.embedding.english import FUNCTION_WORDS
from explanations.pipeline.simulator.embedding.explanation_reading import Part, Words, stem
from explanations.pipeline.simulator.embedding.spots import Spot

Singles: TypeAlias = npt.NDArray[np.float32]

FOCUS_STRENGTH: Mapping[str, float] = {
    "token_quoted": 1.0,
    "word_quoted": 1.0,
    "stem_quoted": 0.7,
    "affix_quoted": 0.7,
    "in_phrase": 0.8,
    "capital_named": 0.7,
    "class_named": 1.0,
}
"""How surely a feature says that a token is what the explanation speaks of."""


def literal_features(part: Part, spots: Sequence[Spot]) -> dict[str, Singles]:
    """Return the features of one part of an explanation, `focus` among them: [pos] each."""
    values = {name: np.array(row, dtype=np.float32) for name, row in _rows(part, spots).items()}
    focus = np.max([np.float32(weight) * values[name] for name, weight in FOCUS_STRENGTH.items()], axis=0)
    after = _stands_after(part.after, spots)
    within = _stands_within(part.within, spots)
    return values | {
        "focus": focus,
        "after_named": after,
        "focus_after": focus * after,
        "focus_within": focus * within,
    }


def _rows(part: Part, spots: Sequence[Spot]) -> dict[str, list[float]]:
    quoted = part.focus.quoted | part.like.quoted
    stems = {stem(q) for q in quoted if len(q) > 2}
    phrases = part.focus.phrases + part.like.phrases
    capitals = part.focus.capitals | part.like.capitals
    # "the first name 'Bob'" means Bob, not every name.
    class_strength = 0.2 if part.focus.quotes else 1.0
    return {
        "token_quoted": [float(s.token.strip().lower() in quoted) for s in spots],
        "word_quoted": [float(s.word in quoted) for s in spots],
        "stem_quoted": [float(is_content(s) and s.word not in quoted and stem(s.word) in stems) for s in spots],
        "affix_quoted": [max((_affix(q, s) for q in quoted), default=0.0) for s in spots],
        "in_phrase": [max((_in_phrase(p, s) for p in phrases), default=0.0) for s in spots],
        "word_of_phrase": [_of_phrases(phrases, s) for s in spots],
        "capital_named": [float(s.word in capitals) for s in spots],
        "example_named": [float(is_content(s) and stem(s.word) in part.like.named) for s in spots],
        "class_named": [class_strength * any(test(s) for test in part.focus.classes) for s in spots],
        "class_of_examples": [float(any(test(s) for test in part.like.classes)) for s in spots],
    }


def is_content(spot: Spot) -> bool:
    return bool(spot.word) and spot.word not in FUNCTION_WORDS


def _affix(quote: str, spot: Spot) -> float:
    """Return how well a token is the quoted beginning or ending of its word; 'un-' and '-er' say which they are."""
    core, prefix, suffix = quote.strip("-"), quote.endswith("-"), quote.startswith("-")
    if not core or len(spot.word) <= len(core):
        return 0.0
    if spot.token.strip().lower() == core:
        return 1.0 if (prefix and spot.first) or (suffix and spot.last) else 0.5
    starts = spot.first and spot.word.startswith(core)
    ends = spot.last and spot.word.endswith(core) and (suffix or len(core) > 1)
    return max(starts * (1.0 if prefix else 0.5), ends * (1.0 if suffix else 0.5))


def _in_phrase(phrase: tuple[str, ...], spot: Spot) -> float:
    """Return the share of the phrase's neighbouring words that stand beside the token as in the phrase."""
    if spot.word not in phrase:
        return 0.0
    place = phrase.index(spot.word)
    has_before, has_after = place > 0, place < len(phrase) - 1
    there = (has_before and spot.before == phrase[place - 1]) + (has_after and spot.after == phrase[place + 1])
    return there / (has_before + has_after)


def _of_phrases(phrases: Sequence[tuple[str, ...]], spot: Spot) -> float:
    if not any(spot.word in phrase for phrase in phrases):
        return 0.0
    return 1.0 if is_content(spot) else 0.3


def _names(words: Words, spot: Spot) -> float:
    """Return how surely a section names a token."""
    exact = spot.word in words.quoted or spot.token.strip().lower() in words.quoted or spot.word in words.capitals
    if exact or any(test(spot) for test in words.classes):
        return 1.0
    alike = is_content(spot) and (
        stem(spot.word) in words.named or any(stem(spot.word) == stem(q) for q in words.quoted)
    )
    return 0.8 if alike or any(spot.word == phrase[-1] for phrase in words.phrases) else 0.0


def _stands_after(words: Words, spots: Sequence[Spot]) -> Singles:
    """Return how surely the word before each token is what the section names; two before counts less. [pos]"""
    named = [_names(words, s) if words.text else 0.0 for s in spots]
    values, start = np.zeros(len(spots), dtype=np.float32), 0
    for i, spot in enumerate(spots):
        start = i if spot.first else start
        one = named[start - 1] if start >= 1 else 0.0
        further = 0.4 if start >= 1 and spots[start - 1].word else 0.7
        two = named[start - 2] * further if start >= 2 else 0.0
        values[i] = max(one, two)
    return values


def _stands_within(words: Words, spots: Sequence[Spot]) -> Singles:
    """Return how surely one of the three tokens on either side is what the section names. [pos]"""
    named = np.array([_names(words, s) if words.text else 0.0 for s in spots], dtype=np.float32)
    values = np.zeros_like(named)
    for distance in (1, 2, 3):
        weight = np.float32(1 - 0.25 * (distance - 1))
        values[distance:] = np.maximum(values[distance:], weight * named[:-distance])
        values[:-distance] = np.maximum(values[:-distance], weight * named[distance:])
    return values
