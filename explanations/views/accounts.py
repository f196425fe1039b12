from __future__ import annotations

from django.http import HttpRequest, HttpResponse


def sign_in(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def sign_out(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def sign_in_link(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")
