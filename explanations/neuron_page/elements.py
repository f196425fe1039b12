"""Excerpts as HTML, made here and not in a template's loop: a page may show sixty of them.

Titles are ours and figures are numbers; what is of a corpus comes as markup that `explanations.tokens` has escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.safestring import SafeString

from explanations.escaping import escape
from explanations.templatetags.neurons import correlation, figure

NOT_STORED = '<p class="muted">The text of this excerpt is not stored; import the neuron’s activations again.</p>'


def recorded_excerpt(
    title: str, peak_name: str, peak: float | None, values: str, markup: SafeString | None
) -> SafeString:
    """Return a recorded excerpt; without markup it says that its text is not stored."""
    told = f'<span class="muted">{peak_name} {_figure(peak)}</span>'
    body = NOT_STORED if markup is None else f'<p class="tokens">{markup}</p>'
    return _excerpt(title, f'data-real="{values}"', told, body)


def scored_excerpt(
    title: str,
    *,
    score: float | None,
    why_undefined: str,
    maximum: float | None,
    real_values: str,
    simulated_values: str,
    is_calibrated: bool,
    body: str,
) -> SafeString:
    """Return a simulated excerpt around the markup of its tokens."""
    correlated = f"undefined: {escape(why_undefined)}" if score is None else correlation(score)
    told = f'<span>correlation {correlated}</span> <span class="muted">maximum {_figure(maximum)}</span>'
    data = f'data-real="{real_values}" data-simulated="{simulated_values}"' + ("" if is_calibrated else ' data-of="10"')
    return _excerpt(title, data, told, body)


def missing_excerpt(title: str, score: float | None, missing: str) -> SafeString:
    """Return a simulated excerpt of which something is not stored, and say what."""
    return SafeString(  # escaped, or a number
        f'<div class="excerpt"><p class="about small"><span>{escape(title)}</span>'
        f' <span>correlation {correlation(score)}</span></p><p class="muted">{escape(missing)}</p></div>'
    )


def escape_all(texts: Sequence[str]) -> list[str]:
    """Return each text escaped, at once: a page has forty of other neurons."""
    escaped = escape("\0".join(texts)).split("\0")
    return escaped if len(escaped) == len(texts) else list(map(escape, texts))


def side_by_side(real: SafeString, simulated: SafeString) -> str:
    return (
        f'<div class="pair"><div><span class="side small muted">Real</span><p class="tokens">{real}</p></div>'
        f'<div><span class="side small muted">Simulated</span><p class="tokens">{simulated}</p></div></div>'
    )


def overlaid(both: SafeString) -> str:
    return f'<div class="overlay"><p class="tokens">{both}</p></div>'


def _excerpt(title: str, data: str, told: str, body: str) -> SafeString:
    name = escape(title)
    return SafeString(  # escaped, or a number, or markup that is safe
        f'<div class="excerpt" tabindex="0" role="group" aria-label="{name}; left and right arrow keys walk its tokens"'
        f' {data}>\n<p class="about small"><span>{name}</span> {told}</p>\n{body}\n</div>\n'
    )


def _figure(value: float | None) -> str:
    return "unknown" if value is None else figure(value)
