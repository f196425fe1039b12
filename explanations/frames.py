"""Pages whose frame is kept: what the base template puts around their content, over which Django takes 0.4 ms.

To visitors who are nobody in particular it is the same, but for the page's own address that the link to sign in has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import get_script_prefix
from django.utils.cache import patch_vary_headers
from django.utils.safestring import SafeString

Pieces = Iterable[str]
"""of safe markup"""

_MARK = "slot-{}-of-the-frame"
"""Stands in a frame for what differs; nothing in it is escaped in an address."""
_MARKED = re.compile(_MARK.format("(.+?)"))
_ADDRESS = "address"


def render_framed(
    request: HttpRequest, template: str, slots: Mapping[str, Pieces], *, varying: Sequence[str] = ()
) -> HttpResponse:
    """Return a page of a template that shows what `slots` holds, as `{{ slots.name }}`, and nothing else of its own.

    `varying` are the headers that it depends on beside the cookies.
    """
    # Without a session nobody is signed in and no message waits.
    if settings.DEBUG or settings.SESSION_COOKIE_NAME in request.COOKIES:
        response = render(request, template, {"slots": {name: SafeString("".join(slots[name])) for name in slots}})
    else:
        response = _fill(request, template, slots)
    patch_vary_headers(response, ("Cookie", *varying))
    return response


def _fill(request: HttpRequest, template: str, slots: Mapping[str, Pieces]) -> HttpResponse:
    filled = {**slots, _ADDRESS: (quote(request.get_full_path()),)}
    frame = _frame(template, tuple(slots), get_script_prefix())
    # Encoded by the piece: most are ASCII, which takes no time, and a single other letter makes the whole page wide.
    pieces = (map(str.encode, filled[part]) if is_slot else (part,) for is_slot, part in frame)
    return HttpResponse(b"".join(chain.from_iterable(pieces)))


@lru_cache(maxsize=16)
def _frame(template: str, names: tuple[str, ...], prefix: str) -> list[tuple[bool, Any]]:  # noqa: ARG001  it is in the result
    """Return a page in parts: bytes that are the same for nobody in particular, and names of slots (True)."""
    nobody = HttpRequest()
    nobody.user = AnonymousUser()
    nobody.path = _MARK.format(_ADDRESS)
    marks = {name: SafeString(_MARK.format(name)) for name in names}
    parts = _MARKED.split(render_to_string(template, {"slots": marks}, nobody))
    return [(True, part) if place % 2 else (False, part.encode()) for place, part in enumerate(parts)]
