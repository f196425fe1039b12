"""What every page costs before it shows anything: the example of a measurement."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.test import Client, override_settings
from django.urls import include, path

from tests.benchmarks.protocol import Bench, Pair, ratio


def bare(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("nothing")


def base_page(request: HttpRequest) -> HttpResponse:
    return render(request, "base.html")


urlpatterns = [path("bare/", bare), path("base/", base_page), path("", include("neuronviewer.urls"))]
"""The site's addresses and the two of this module: a measurement may use this module as its ROOT_URLCONF."""


@ratio(
    "base page",
    subject="the base template, with nothing in it",
    floor="a view that answers with one word",
    on="nothing",
)
def measure_base_page(_bench: Bench) -> Iterator[Pair]:
    with override_settings(ROOT_URLCONF=__name__):
        client = Client()
        yield Pair(floor=lambda: client.get("/bare/"), subject=lambda: client.get("/base/"))
