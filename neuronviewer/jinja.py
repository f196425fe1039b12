"""How the templates in `templates/jinja2/` are read: Jinja2, with the filters that Django's templates have.

The sections of a neuron's page and long lists are written for Jinja2, which compiles them: as Django's they took three
times as long. The rest of the site is Django's, and includes them with `{% section %}`.
"""

from __future__ import annotations

from typing import Any

from django.template import defaultfilters
from jinja2 import ChainableUndefined, Environment

from explanations.addresses import address
from explanations.templatetags import neurons

_FILTERS = {
    "capfirst": defaultfilters.capfirst,
    "correlation": neurons.correlation,
    "day": neurons.day,
    "default_if_none": defaultfilters.default_if_none,
    "dollars": neurons.dollars,
    "figure": neurons.figure,
    "grouped": neurons.grouped,
    "iso": neurons.iso,
    "moment": neurons.moment,
    "pluralize": defaultfilters.pluralize,
    "signed": neurons.signed,
    "truncatechars": defaultfilters.truncatechars,
}


def environment(**options: Any) -> Environment:
    """Return where Django's backend reads templates; it sets what `options` hold, such as that all is escaped."""
    # As in Django's templates, what is not there is empty, and so is any part of it.
    options["undefined"] = ChainableUndefined
    made = Environment(trim_blocks=True, lstrip_blocks=True, **options)  # noqa: S701
    made.filters.update(_FILTERS)
    made.globals.update(url=address, score_bar=neurons.score_bar, strip=neurons.strip, time_of=neurons.time_of)
    # Imported once and not by each section, which takes 10 microseconds every time.
    parts = made.get_template("explanations/_neuron_parts.html").module
    made.globals.update({name: getattr(parts, name) for name in ("legend", "origin", "provenance")})
    return made
