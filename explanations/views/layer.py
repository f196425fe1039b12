from __future__ import annotations

from django.http import HttpRequest, HttpResponse


def layer(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")
