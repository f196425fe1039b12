from __future__ import annotations

from django.http import HttpRequest, HttpResponse


def neuron(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def excerpts(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")
