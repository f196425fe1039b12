from __future__ import annotations

from django.http import HttpRequest, HttpResponse


def overview(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def go(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")


def random_neuron(request: HttpRequest, **kwargs: object) -> HttpResponse:
    return HttpResponse("to be written")
