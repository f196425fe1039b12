"""Activations that a language model wrote as JSON, read from its answer, finished or not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec
import numpy as np

from explanations.pipeline.language_models import Completion
from explanations.pipeline.prompts import readable_token
from explanations.pipeline.prompts.simulating import written
from explanations.pipeline.records import LEVELS, Floats
from explanations.pipeline.simulator.protocol import SimulationError

_BEGINNING = re.compile(r'\s*(?:```\w*\s*)?(?:\{\s*"activations"\s*:\s*)?\[\s*(?=\[)')
_PAIR = re.compile(r'\[\s*"(?:[^"\\]|\\.)*"\s*,[^][",]*\]\s*,?\s*')


def has_mistake(text: str, tokens: Sequence[str]) -> bool:
    """Return whether an answer that begins so can no longer become right. Where it is hard to tell, it still can."""
    try:
        _check_pairs(text, tokens)
    except SimulationError:
        return True
    return False


def read_levels(answer: Completion, tokens: Sequence[str]) -> Floats:
    """Return the level of each token in a model's answer [pos].

    SimulationError where the answer is not JSON, cut off, too short or long, for other tokens, or out of range.
    """
    pairs = _pairs_in(answer, tokens)
    asked = written(tokens)
    if len(pairs) != len(asked):
        raise SimulationError(f"the answer has activations for {len(pairs)} tokens, not {len(asked)}")
    return np.array([_level(place, pair, asked[place]) for place, pair in enumerate(pairs)], dtype=np.float64)


def _pairs_in(answer: Completion, tokens: Sequence[str]) -> list[object]:
    try:
        value = msgspec.json.decode(_without_fence(answer.text))
    except (ValueError, RecursionError):
        _check_pairs(answer.text, tokens)
        if answer.is_cut_off:
            raise SimulationError("the answer was cut off: it is longer than it may be") from None
        raise SimulationError(f"the answer is not JSON: {_beginning(answer.text)}") from None
    pairs = value.get("activations") if isinstance(value, dict) else value
    if not isinstance(pairs, list):
        raise SimulationError("the answer has no list of activations")
    return pairs


def _check_pairs(text: str, tokens: Sequence[str]) -> None:
    """Raise SimulationError at the first wrong one of the pairs with which a text begins."""
    begun = _BEGINNING.match(text)
    asked, place = written(tokens), 0
    pair = _PAIR.match(text, begun.end()) if begun else None
    while pair:
        if place == len(asked):
            raise SimulationError(f"the answer has activations for more than {len(asked)} tokens")
        try:
            value = msgspec.json.decode(pair[0].rstrip().removesuffix(","))
        except ValueError:
            return
        _level(place, value, asked[place])
        place += 1
        pair = _PAIR.match(text, pair.end())


def _level(place: int, pair: object, token: str) -> float:
    where = f"at token {place + 1} (“{readable_token(token)}”)"
    if isinstance(pair, dict):
        pair = [pair.get("token"), pair.get("activation")]
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
        raise SimulationError(f"{where} the answer has no pair of token and activation")
    # Some models drop the space in front of a word; the place and the word still tell that it is this token.
    if pair[0] != token and pair[0].strip() != token.strip():
        raise SimulationError(f"{where} the answer has “{readable_token(pair[0])[:40]}” instead")
    level = pair[1]
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 <= level <= LEVELS:
        raise SimulationError(f"{where} the answer has {json.dumps(level)[:40]}, not a number from 0 to {LEVELS}")
    return float(level)


def _without_fence(text: str) -> str:
    """Return the text without the lines ``` that many models put around JSON, and without their thoughts."""
    text = text.rpartition("</think>")[2].strip()
    if text.startswith("```") and text.endswith("```"):
        return text.partition("\n")[2].removesuffix("```")
    return text


def _beginning(text: str) -> str:
    shown = readable_token(text.strip())
    return f"“{shown[:80]}…”" if len(shown) > 80 else f"“{shown}”"
