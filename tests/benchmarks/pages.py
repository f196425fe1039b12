"""Pages: a neuron's against the emptiest, deep ones against first ones, what is sent, what an unchanged one costs."""

from __future__ import annotations

import gzip
import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.test import Client, override_settings
from django.urls import include, path

from explanations.models import Neuron, SubjectModel
from tests.benchmarks.one_visitor import Visitor
from tests.benchmarks.protocol import Bench, Pair, Skipped, Taken, figure, ratio
from tests.web_server import run_web

VISITS, QUICK_VISITS = 300, 30
ROUNDS = 40
"""Of a neuron's page: the first ones are those of a process that has just started."""
TURN = 30
"""Pages that one visitor looks at before it is the other's turn."""
ACCEPTED = {"accept-encoding": "gzip"}
PLAIN = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


def emptiest(request: HttpRequest) -> HttpResponse:
    """Answer with the base template and one query: the least that a page of this site can be."""
    return render(request, "base.html", {"model": SubjectModel.objects.only("slug").first()})


urlpatterns = [path("emptiest/", emptiest), path("", include("neuronviewer.urls"))]


@contextmanager
def visitor() -> Iterator[Client]:
    """Give a visitor to the site with the page `/emptiest/`, as a browser that takes gzip."""
    with override_settings(ROOT_URLCONF=__name__, STORAGES=PLAIN):
        yield Client(headers=ACCEPTED)


def _places(count: int) -> list[str]:
    """Return the addresses of so many neurons with explanations, spread over a model, the same in every run."""
    model = SubjectModel.objects.order_by("id").first()
    if model is None:
        raise Skipped("the database holds no model")
    rng = random.Random(4)
    rows = Neuron.objects.filter(model=model).explained().order_by("id")
    first, last = rows.values_list("id", flat=True)[0], rows.reverse().values_list("id", flat=True)[0]
    ids = [rng.randint(first, last) for _ in range(count)]
    return [row.get_absolute_url() for row in rows.filter(pk__in=ids).select_related("model")]


def _visited(bench: Bench) -> list[str]:
    return _places(QUICK_VISITS if bench.is_quick else VISITS)


@ratio(
    "neuron page",
    subject="what a web server takes for a neuron's page, another at each call, with one visitor",
    floor="the base template and one query",
    at_most=4.0,
    rounds=ROUNDS,
)
def neuron_page(bench: Bench) -> Iterator[Pair]:
    places = cycle(_visited(bench))
    with run_web(1, application="tests.emptiest_site") as port, Visitor(port) as one:
        yield Pair(
            floor=lambda: Taken(one.seconds_for(["/emptiest/"] * TURN) / TURN),
            subject=lambda: Taken(one.seconds_for(islice(places, TURN)) / TURN),
        )


@ratio(
    "neuron page, without a web server",
    subject="the same without a web server, by Django's test client in this process",
    floor="the base template and one query",
    rounds=ROUNDS,
)
def neuron_page_alone(bench: Bench) -> Iterator[Pair]:
    with visitor() as client:
        places = cycle(_visited(bench))
        yield Pair(floor=lambda: _seen(client, "/emptiest/"), subject=lambda: _seen(client, next(places)))


@figure("neuron page, p95", what="95 of 100 neurons' pages take at most, one visitor", unit="ms", at_most=25.0)
def neuron_page_times(bench: Bench) -> float:
    with visitor() as client:
        places = _visited(bench)
        _seen(client, places[0])
        return percentile([milliseconds(client, place) for place in places])


@figure(
    "neuron page, bytes", what="HTML, CSS and JavaScript of a neuron's first page, by gzip", unit="KB", at_most=60.0
)
def neuron_page_bytes(bench: Bench) -> Sequence[float]:
    with visitor() as client:
        pages = [client.get(place).content for place in _places(QUICK_VISITS)]
    # All pages link to the same files.
    linked = re.findall(r'(?:src|href)="/static/([^"]+\.(?:js|css|svg))"', gzip.decompress(pages[0]).decode())
    found = [finders.find(name) for name in linked]
    files = sum(len(gzip.compress(Path(str(place)).read_bytes(), 9)) for place in found)
    return [(len(page) + files) / 1000 for page in pages]


@ratio(
    "unchanged page",
    subject="a neuron's page that the browser has already",
    floor="the base template and one query",
    at_most=1.0,
)
def unchanged_page(bench: Bench) -> Iterator[Pair]:
    with visitor() as client:
        place = _places(QUICK_VISITS)[0]
        known = {"If-None-Match": client.get(place).headers["ETag"]}
        yield Pair(floor=lambda: _seen(client, "/emptiest/"), subject=lambda: client.get(place, headers=known))


@ratio("deep page of a layer", subject="a layer's last page but one, by score", floor="its first page", at_most=1.5)
def deep_layer_page(bench: Bench) -> Iterator[Pair]:
    with visitor() as client:
        yield _first_and_deep(client, f"{_layer_address()}?sort=score", f"{_layer_address()}?sort=-score")


@ratio("deep page of the queue", subject="the review queue's last page but one", floor="its first page", at_most=1.5)
def deep_queue_page(bench: Bench) -> Iterator[Pair]:
    with visitor() as client:
        reviewer = User.objects.filter(username="reviewer-0").first()
        if reviewer is None:
            raise Skipped("the database holds no reviewer")
        client.force_login(reviewer)
        yield _first_and_deep(client, "/review/?state=all", "", pages=80)


def _first_and_deep(client: Client, address: str, reverse: str, pages: int = 0) -> Pair:
    """Return the first page at an address, and the one that begins where the reverse order's second ends."""
    deep = address
    if reverse:
        token = _token(_seen(client, reverse), "next")
        # The same place, approached from the other side.
        deep = f"{address}&page={token}" if token else address
    for _ in range(pages):
        token = _token(_seen(client, deep), "next")
        if not token:
            break
        deep = f"{address}&page={token}"
    return Pair(floor=lambda: _seen(client, address), subject=lambda: _seen(client, deep))


def _layer_address() -> str:
    model = SubjectModel.objects.order_by("id").first()
    if model is None:
        raise Skipped("the database holds no model")
    return model.layer_url(model.layers - 1)


def _token(response: HttpResponse, rel: str) -> str:
    page = gzip.decompress(response.content) if response.get("Content-Encoding") == "gzip" else response.content
    found = re.search(rf'rel="{rel}" href="[^"]*[?&;]page=([^"&]+)', page.decode())
    return found[1] if found else ""


def _seen(client: Client, address: str) -> HttpResponse:
    response = client.get(address)
    assert response.status_code == 200, f"{address}: {response.status_code}"
    return response


def milliseconds(client: Client, address: str) -> float:
    began = time.perf_counter()
    _seen(client, address)
    return (time.perf_counter() - began) * 1000


def percentile(values: Sequence[float], share: float = 0.95) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
