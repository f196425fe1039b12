"""100 people at once, with one web process and with two."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from urllib.parse import quote

from tests.benchmarks.load_generator import Load, run_load
from tests.benchmarks.protocol import Bench, Pair, Taken, figure, ratio
from tests.benchmarks.synthetic import PLANTED
from tests.web_server import run_web

PEOPLE = 100
SECONDS, QUICK_SECONDS = 5.0, 0.5
THINKING, QUICK_THINKING = 2.0, 0.2
"""Seconds that a person looks at a page."""
MIX = {"neuron": 10, "layer": 3, "search": 3, "overview": 1, "model": 1, "api": 2}
"""How often each is asked for, of 20."""
WORDS = (*PLANTED, "dates", "names of places", "verb*", "words -the", '"the end"')

_seen: list[Load] = []
"""What 100 people got from two processes, as far as this process has measured it."""


def make_paths(bench: Bench) -> Callable[[], str]:
    """Return what gives one address of the mix after another: the same ones in every run."""
    numbers = count()
    kinds = [kind for kind, often in MIX.items() for _ in range(often)]

    def next_path() -> str:
        rng = random.Random(next(numbers))
        layer, neuron = rng.randrange(bench.layers), rng.randrange(bench.neurons)
        return {
            "neuron": bench.neuron_url(layer, neuron),
            "layer": f"/{bench.slug}/layers/{layer}/?sort={rng.choice(['score', 'max', 'index'])}",
            "search": f"/search/?q={quote(rng.choice(WORDS))}",
            "overview": "/",
            "model": f"/{bench.slug}/",
            "api": f"/api/v1/models/{bench.slug}/layers/{layer}/neurons/{neuron}",
        }[rng.choice(kinds)]

    return next_path


def put_load(bench: Bench, port: int, *, thinking: float = 0.0) -> Load:
    seconds = QUICK_SECONDS if bench.is_quick else SECONDS
    return run_load(port, make_paths(bench), people=PEOPLE, seconds=max(seconds, 4 * thinking), thinking=thinking)


@ratio(
    "throughput of two web processes",
    subject=f"pages a second that {PEOPLE} people get who never pause, from two web processes",
    floor="from one",
    at_least=1.3,
    rounds=3,
)
def measure_throughput(bench: Bench) -> Iterator[Pair]:
    with ExitStack() as servers:
        one, two = (servers.enter_context(run_web(processes)) for processes in (1, 2))

        def subject() -> Taken:
            _seen.append(put_load(bench, two))
            return Taken(_seen[-1].throughput)

        yield Pair(floor=lambda: Taken(put_load(bench, one).throughput), subject=subject)


def loads(bench: Bench) -> list[Load]:
    """Return what 100 people who never pause got from two processes, measured now if it was not before."""
    if not _seen:
        with run_web(2) as port:
            _seen.append(put_load(bench, port))
    return _seen


@figure(
    "errors under load",
    what=f"answers that are errors, or none, for {PEOPLE} people who never pause, from two web processes",
    unit="errors",
    at_most=0,
)
def count_errors(bench: Bench) -> float:
    wrong = [load.errors for load in loads(bench) if load.errors]
    assert not wrong, f"errors under load: {wrong}"
    return 0


@figure("median under load", what=f"the median answer to {PEOPLE} people who never pause", unit="ms")
def find_median(bench: Bench) -> list[float]:
    return [1000 * load.median for load in loads(bench)]


@figure("p95 under load", what="the 95th percentile of the same", unit="ms")
def find_p95(bench: Bench) -> list[float]:
    return [1000 * load.p95 for load in loads(bench)]


@figure(
    "p95 for readers",
    what=f"the 95th percentile for {PEOPLE} people who look at each page for {THINKING:g} seconds, two web processes",
    unit="ms",
)
def find_p95_of_readers(bench: Bench) -> float:
    with run_web(2) as port:
        load = put_load(bench, port, thinking=QUICK_THINKING if bench.is_quick else THINKING)
    assert not load.errors, f"errors under load: {load.errors}"
    return 1000 * load.p95
