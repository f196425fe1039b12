from __future__ import annotations

from django.http import HttpRequest, HttpResponse


def jobs(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def job(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def cancel(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def reexplain(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")
