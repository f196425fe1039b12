"""Parts of pages that Jinja2 writes, from the templates in `templates/jinja2/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.template import engines

from explanations.addresses import addresser


def write_section(name: str, context: Mapping[str, Any]) -> Iterator[str]:
    """Yield the pieces of a section, which is safe: the template escapes what it is given."""
    template = engines["jinja2"].env.get_template(name)  # type: ignore[attr-defined]
    pieces: Iterator[str] = template.generate({**context, "url": addresser()})
    return pieces
