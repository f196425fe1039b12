"""How excerpts are written in prompts: a token a line with its level, or plain with the strong tokens marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from explanations.pipeline.records import ActivationRecord, Levels, maximum_of, normalise

STRONG = 5
"""The lowest level that counts as strong: half of the highest activation that is shown."""
START, END = "<start>", "<end>"
MARK_BEGINS, MARK_ENDS = "<<", ">>"


def readable_token(token: str) -> str:
    r"""Return the token with line breaks, tabs and other invisible characters escaped (\n, \t, \xa0, \u202e)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in token)


def levels_of(records: Sequence[ActivationRecord]) -> list[Levels]:
    """Return every record's levels [pos], 10 being the highest activation of them all."""
    maximum = maximum_of(records)
    return [normalise(record.activations, maximum) for record in records]


def list_levels(tokens: Sequence[str], levels: Sequence[object]) -> str:
    """Return an excerpt as lines of token, tab, level, between its start and its end."""
    lines = [f"{readable_token(token)}\t{level}" for token, level in zip(tokens, levels, strict=True)]
    return "\n".join([START, *lines, END])


def list_active(tokens: Sequence[str], levels: Levels) -> str:
    """Return the same without the lines whose level is 0."""
    active = [(token, level) for token, level in zip(tokens, levels.tolist(), strict=True) if level]
    return list_levels([token for token, _ in active], [level for _, level in active])


def mark(tokens: Sequence[str], marked: Collection[int]) -> str:
    """Return an excerpt as a line of text, neighbouring tokens at the `marked` places together between << and >>."""
    parts: list[str] = []
    inside = False
    for place, token in enumerate(tokens):
        text = readable_token(token)
        if inside and place not in marked:
            parts.append(MARK_ENDS)
        elif not inside and place in marked:
            # The space in front of a word stays outside, as a reader would mark it.
            word = text.lstrip(" ")
            parts.append(text[: len(text) - len(word)] + MARK_BEGINS)
            text = word
        inside = place in marked
        parts.append(text)
    return "".join(parts) + (MARK_ENDS if inside else "")


def strong_places(levels: Levels) -> list[int]:
    """Return the places of the strong tokens, in order."""
    return [place for place, level in enumerate(levels.tolist()) if level >= STRONG]
