"""How numbers, scores and tokens are written on pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

_VISIBLE = {"\n": "↵", "\t": "⇥", "\r": "␍", "\ufffd": "�", "": "∅", "\u00a0": "⍽", "\u200b": "·"}


def visible_token(token: str) -> str:
    """Return the token with what the eye would miss made visible: line breaks, tabs, control and odd characters.

    A space stays a space, since the line is set with its white space kept.
    """
    if token and token.isprintable():
        return token
    return "".join(_visible_character(c) for c in token) if token else _VISIBLE[""]


def _visible_character(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if character.isprintable():
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"


register.filter("visible_token", visible_token)


@register.filter
def figure(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits; a dash with its meaning is the template's to add for None."""
    if value is None:
        return "–"
    text = f"{value:.{digits}g}"
    if "e" in text and abs(value) >= 1:
        text = f"{value:,.0f}"
    return text.replace("-", "\u2212")


@register.filter
def correlation(value: float | None) -> str:
    """Return a score with two decimals and a true minus sign; "undefined" for None."""
    return "undefined" if value is None else f"{value:.2f}".replace("-", "\u2212")


@register.simple_tag
def score_bar(value: float | None, word: str = "") -> SafeString:
    """Return a score as a figure, a small bar from zero to one and the word for what it is."""
    tail = format_html(' <span class="muted small">{}</span>', word) if word else ""
    if value is None:
        return format_html('<span class="score muted">undefined</span>{}', tail)
    width = round(min(1.0, abs(value)) * 100)
    sign = " negative" if value < 0 else ""
    return format_html(
        '<span class="score">{} <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" y="4" width="100" height="2"/><rect class="fill{}" width="{}" height="10"/></svg></span>{}',
        correlation(value),
        sign,
        width,
        tail,
    )


@register.simple_tag
def strip(pairs: Iterable[tuple[str, int]]) -> SafeString:
    """Return tokens with levels 0 to 10 as one line of shaded text."""
    parts: list[Any] = [
        format_html('<b class="p{}">{}</b>', level, visible_token(token))
        if level
        else format_html("{}", visible_token(token))
        for token, level in pairs
    ]
    return mark_safe("".join(parts))  # noqa: S308  every part was escaped above
