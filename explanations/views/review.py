from __future__ import annotations

from django.http import HttpRequest, HttpResponse


def flag(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def review(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def flag_history(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def claim(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def release(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def decide(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")
