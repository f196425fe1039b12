"""What views share about requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django_htmx.middleware import HtmxDetails

FRAGMENT_HEADERS = ("HX-Request", "HX-History-Restore-Request", "HX-Boosted")
"""What `wants_fragment` reads of a request."""


class HtmxHttpRequest(HttpRequest):
    """A request as HtmxMiddleware leaves it."""

    htmx: HtmxDetails


def wants_fragment(request: HtmxHttpRequest) -> bool:
    """Return whether to send the part that htmx swaps, not the page.

    A history restore and a boosted link are made by htmx too, but want the whole page.
    """
    return bool(request.htmx) and not request.htmx.history_restore_request and not request.htmx.boosted


def render_page(
    request: HtmxHttpRequest, name: str, context: Mapping[str, Any], *, fragment: str | None = None, status: int = 200
) -> HttpResponse:
    """Return `explanations/<name>.html`, or for htmx its `_<fragment>.html` (`_<name>.html` unless told).

    One address has two renderings, so caches are told to keep them apart.
    """
    template = f"explanations/_{fragment or name}.html" if wants_fragment(request) else f"explanations/{name}.html"
    response = render(request, template, dict(context), status=status)
    patch_vary_headers(response, FRAGMENT_HEADERS)
    return response
