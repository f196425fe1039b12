"""Texts with their values as HTML, those of all of a page's excerpts at once.

What Python and numpy do for one text takes them nearly as long as for twenty.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from explanations import tokens as markup
from explanations.pipeline.records import Floats
from explanations.store import Tokens


class Strip(msgspec.Struct, frozen=True):
    """Values to be drawn, with the text that they are of."""

    tokens: Tokens | None
    """None where only the values are wanted"""
    values: Floats
    """[pos]"""
    maximum: float
    """what shades are relative to"""


class Drawn(msgspec.Struct, frozen=True):
    """A strip as a page has it."""

    values: str
    """as an attribute holds them"""
    pieces: markup.Pieces
    """of its tokens' markup; none without them"""


def draw(strips: Sequence[Strip]) -> list[Drawn]:
    """Return each strip as a page has it."""
    written = markup.written_parts([strip.values for strip in strips])
    texts = [(strip.tokens, strip) for strip in strips if strip.tokens is not None]
    drawn = iter(
        markup.shaded_texts([text for text, _ in texts], [s.values for _, s in texts], [s.maximum for _, s in texts])
    )
    return [
        Drawn(values, [] if strip.tokens is None else next(drawn))
        for strip, values in zip(strips, written, strict=True)
    ]
