"""100 people at once, with one web process and with two."""

from __future__ import annotations

import random
from collections import defaultdict
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

_seen: defaultdict[int, list[Load]] = defaultdict(list)
"""What 100 people who never pause got from so many processes, as far as it was measured here."""


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


def put_load(bench: Bench, port: int, processes: int) -> Taken:
    """Let people ask who never pause, keep what they got, and return their throughput."""
    seconds = QUICK_SECONDS if bench.is_quick else SECONDS
    load = run_load(port, make_paths(bench), people=PEOPLE, seconds=seconds)
    _seen[processes].append(load)
    return Taken(load.throughput)


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
        yield Pair(floor=lambda: put_load(bench, one, 1), subject=lambda: put_load(bench, two, 2))


def loads(bench: Bench) -> list[Load]:
    """Return what people who never pause got from two processes, measured now if it was not before."""
    if not _seen[2]:
        with run_web(2) as port:
            put_load(bench, port, 2)
    return _seen[2]


@figure(
    "errors under load",
    what=f"answers that are errors, and connections that break, for {PEOPLE} people who never pause",
    unit="errors",
    at_most=0,
)
def count_errors(bench: Bench) -> float:
    wrong = [load.errors for load in loads(bench) + _seen[1] if load.errors]
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
    thinking = QUICK_THINKING if bench.is_quick else THINKING
    with run_web(2) as port:
        load = run_load(port, make_paths(bench), people=PEOPLE, seconds=4 * thinking, thinking=thinking)
    assert not load.errors, f"errors under load: {load.errors}"
    return 1000 * load.p95
