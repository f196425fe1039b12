"""Excerpts as HTML, made here and not in a template's loop: a page may show sixty of them.

Titles are ours and figures are numbers; what is of a corpus comes as markup that `explanations.tokens` has escaped.
"""

from __future__ import annotations

from django.utils.safestring import SafeString

from explanations.escaping import escape, in_ascii
from explanations.templatetags.neurons import correlation, figure
from explanations.tokens import Pieces

NOT_STORED = '<p class="muted">The text of this excerpt is not stored; import the neuron’s activations again.</p>'


def recorded_excerpt(title: str, peak_name: str, peak: float | None, values: str, markup: Pieces | None) -> SafeString:
    """Return a recorded excerpt; without markup it says that its text is not stored."""
    told = f'<span class="muted">{peak_name} {_figure(peak)}</span>'
    body = [NOT_STORED] if markup is None else ['<p class="tokens">', *markup, "</p>"]
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
    body: Pieces,
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


def side_by_side(real: Pieces, simulated: Pieces) -> Pieces:
    return [
        '<div class="pair"><div><span class="side small muted">Real</span><p class="tokens">',
        *real,
        '</p></div><div><span class="side small muted">Simulated</span><p class="tokens">',
        *simulated,
        "</p></div></div>",
    ]


def overlaid(both: Pieces) -> Pieces:
    return ['<div class="overlay"><p class="tokens">', *both, "</p></div>"]


def _excerpt(title: str, data: str, told: str, body: Pieces) -> SafeString:
    name = escape(title)
    head = (
        f'<div class="excerpt" tabindex="0" role="group" aria-label="{name}; left and right arrow keys walk its tokens"'
        f' {data}>\n<p class="about small"><span>{name}</span> {told}</p>\n'
    )
    # Safe: escaped, or a number, or markup that is safe.
    return SafeString("".join([in_ascii(head), *body, "\n</div>\n"]))


def _figure(value: float | None) -> str:
    return "unknown" if value is None else figure(value)
