"""How numbers, scores and tokens are written on pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django import template
from django.template.context import Context
from django.utils import dateformat, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from explanations.escaping import escape
from explanations.sections import write_section
from explanations.tokens import shaded_by_level, visible_token

if TYPE_CHECKING:
    from explanations.models import Explanation

register = template.Library()

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
def shortened(text: str, most: int) -> str:
    """Return the beginning of a text, with an ellipsis where there is more of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@register.filter
def percent(part: float) -> str:
    """Return a part of a whole in whole percent; "less than 1 %" for a small positive one."""
    if 0 < part < 0.01:
        return "less than 1 %"
    return f"{part * 100:z,.0f} %".replace("-", "\u2212")


@register.filter
def grouped(value: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,}"


@register.filter
def dollars(value: float | Decimal) -> str:
    """Return an amount of US dollars: in cents, below ten of them with two digits that are not zero."""
    amount = float(value)
    if amount and abs(amount) < 0.1:
        return f"${Decimal(f'{amount:.2g}'):f}"
    return f"${amount:,.2f}"


@register.filter
def correlation(value: float | None) -> str:
    """Return a score with two decimals and a true minus sign; "undefined" for None."""
    return "undefined" if value is None else f"{value:z.2f}".replace("-", "\u2212")


@register.filter
def signed(value: float) -> str:
    """Return a difference of scores with two decimals and its sign; none for what rounds to zero."""
    return f"{value:+z.2f}".replace("-", "\u2212").replace("+0.00", "0.00")


@register.simple_tag
def score_bar(value: float | None, word: str = "") -> SafeString:
    """Return a score as a figure, a small bar from zero to one and the word for what it is."""
    if value is None:
        return _undefined_score(word)
    return _score_bar(f"{value:z.2f}", word)


def _tail(word: str) -> SafeString | str:
    return format_html(' <span class="muted small">{}</span>', word) if word else ""


@lru_cache(maxsize=64)
def _undefined_score(word: str) -> SafeString:
    return format_html('<span class="score muted">undefined</span>{}', _tail(word))


@lru_cache(maxsize=1024)
def _score_bar(figure: str, word: str) -> SafeString:
    value = float(figure)
    # Kept: scores on pages are some two hundred different figures, and a page may show sixty of them.
    return format_html(
        '<span class="score"><span class="figure">{}</span> '
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" y="4" width="100" height="2"/><rect class="fill{}" width="{}" height="10"/></svg></span>'
        "{}",
        correlation(value),
        " negative" if value < 0 else "",
        round(min(1.0, abs(value)) * 100),
        _tail(word),
    )


def _local(value: datetime) -> datetime:
    """Return a time in the site's time zone. It has one: asking which is current takes longer than all the rest."""
    return value.astimezone(timezone.get_default_timezone())


def day(value: datetime, written: str = "j F Y") -> str:
    """Return the day of a time in the site's time zone: "27 November 2026"."""
    return _day(_local(value).date(), written)


@lru_cache(maxsize=1024)
def _day(value: date, written: str) -> str:
    # Kept: what was imported together has one day, and a page writes several.
    return dateformat.format(value, written)


def moment(value: datetime) -> str:
    """Return a time in the site's time zone to the minute: "27 Nov 2026, 04:20"."""
    return dateformat.format(_local(value), "j M Y, H:i")


def iso(value: datetime) -> str:
    """Return a time in the site's time zone as machines read it."""
    return _local(value).isoformat()


def time_of(value: datetime) -> SafeString:
    """Return a time as an element, written as its day."""
    local = _local(value)
    return SafeString(f'<time datetime="{local.isoformat()}">{_day(local.date(), "j F Y")}</time>')


_WRITTEN = {"published": "Published", "human": "Written by a person", "baseline": "Baseline"}


def origin(row: Explanation) -> SafeString:
    """Return who or what wrote an explanation, and when; made here, since a macro takes four times as long."""
    text = _WRITTEN.get(row.source, "Written by a language model")
    if row.explainer:
        text += f": {escape(row.explainer)}"
    elif row.source == "published":
        text += "; the source does not name the explainer"
    if row.author:
        text += f", {escape(row.author.get_username())}"
    done = "made" if row.dataset_position is None else "imported"
    return SafeString(f"{text}, {done} {time_of(row.created_at)}")  # escaped, or ours


@register.simple_tag(takes_context=True)
def section(context: Context, name: str, **more: Any) -> SafeString:
    """Return a template of `templates/jinja2/`, which knows what this one does: `{% section "a.html" here="b" %}`."""
    known: dict[str, Any] = context.flatten()  # type: ignore[assignment]
    return SafeString("".join(write_section(name, {**known, **more})))


@register.simple_tag
def query(state: Any, **changes: Any) -> str:
    """Return the query string of a page's state with changes: `{% query state view="side" %}`."""
    return str(state.query(**changes))


@register.simple_tag
def strip(pairs: Iterable[tuple[str, int]]) -> SafeString:
    """Return tokens with levels 0 to 10 as one line of shaded text."""
    return shaded_by_level(pairs)
