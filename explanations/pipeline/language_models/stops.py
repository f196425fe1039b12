"""Where an answer ends."""

from __future__ import annotations

from collections.abc import Sequence


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Return the text up to the first of these strings, without it."""
    return text[: min((place for mark in stop if (place := text.find(mark)) >= 0), default=len(text))]
