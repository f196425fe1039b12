"""`python -m tests.benchmarks.timed_explaining run|bare FILE NEURONS`: explain many neurons at once, or only ask.

`run` explains and scores neurons of the bundled sample in the configured, empty database, as `manage.py explain` does,
asking the server that LLM_BASE_URL names; it writes down the requests. `bare` sends these again, with httpx alone, as
many at a time. Both print JSON: the seconds from the first request's sending to the last neuron stored, or answer read.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx
from django.conf import settings
from django.core.management import call_command

import tests.benchmarks  # noqa: F401  it sets Django up
from explanations.importing.importer import Importer
from explanations.importing.subject import prepare_model
from explanations.management.bulk import Order, Run
from explanations.management.bulk_work import Explaining
from explanations.management.commands.import_dataset import read_card
from explanations.management.commands.load_sample import SLUG
from explanations.methods import plan_options, planned_explainers, planned_simulators
from explanations.models import Neuron, Simulation
from explanations.pipeline.language_models.transport import Transport
from explanations.pipeline.records import EXCERPTS_PER_SPLIT
from explanations.pipeline.sample_file import read_sample

FIXTURES = Path(settings.BASE_DIR) / "fixtures"
Requests = list[tuple[str, str]]
"""route and body of each"""


def load_neurons(count: int) -> list[int]:
    """Store so many neurons that have activations; return their primary keys."""
    call_command("migrate", verbosity=0)
    model, _ = prepare_model(SLUG, neurons=(), card=read_card(FIXTURES / f"{SLUG}.card.json"))
    _, batches = read_sample(FIXTURES / f"{SLUG}.parquet", 500)
    neurons = (neuron for batch in batches for neuron in batch)
    # In the file's order: the first neuron that shows an excerpt brings it.
    whole = (neuron for neuron in neurons if neuron.activations is not None and neuron.activations.data is not None)
    Importer(model, ()).store(islice(whole, count))
    pks = list(Neuron.objects.filter(activation_set__isnull=False).order_by("pk").values_list("pk", flat=True)[:count])
    assert len(pks) == count, f"{len(pks)} neurons with activations, not {count}"
    return pks


def record_requests() -> Requests:
    """Let every request that is sent be written down; return where."""
    sent: Requests = []
    lock = threading.Lock()
    send = Transport._post_once

    def recording(transport: Transport, route: str, content: bytes) -> dict[str, object]:
        with lock:
            sent.append((route, content.decode()))
        return send(transport, route, content)

    Transport._post_once = recording  # type: ignore[method-assign]
    return sent


def run(file: Path, count: int) -> float:
    pks = load_neurons(count)
    explainer = planned_explainers()[f"{settings.LLM_MODEL}, summary"]
    simulator = planned_simulators()[f"{settings.LLM_MODEL}, all at once"]
    work = Explaining(explainer, simulator, plan_options(explainer, 1, 0))
    work.open()  # asks the server what it can, once
    sent = record_requests()
    start = time.perf_counter()
    outcome = Run(Order(work, None, settings.LLM_CONCURRENCY), lambda _: None).over(pks)
    seconds = time.perf_counter() - start
    assert not outcome.failures, outcome.failures[0]
    # The scripted levels are the same everywhere, so scores are undefined; every excerpt is simulated all the same.
    stored = Simulation.objects.filter(simulator=simulator.name, excerpt_count=2 * EXCERPTS_PER_SPLIT)
    assert stored.count() == count
    file.write_text(json.dumps(sent))
    return seconds


def bare(file: Path) -> float:
    requests: Requests = json.loads(file.read_text())
    limits = httpx.Limits(max_connections=settings.LLM_CONCURRENCY)
    headers = {"Content-Type": "application/json"}
    with (
        httpx.Client(timeout=60, limits=limits, headers=headers) as client,
        ThreadPoolExecutor(settings.LLM_CONCURRENCY) as pool,
    ):

        def post(request: tuple[str, str]) -> None:
            route, body = request
            client.post(f"{settings.LLM_BASE_URL}/{route}", content=body).raise_for_status()

        start = time.perf_counter()
        list(pool.map(post, requests))
        return time.perf_counter() - start


def main(what: str, file: Path, count: int) -> None:
    seconds = run(file, count) if what == "run" else bare(file)
    print(json.dumps({"seconds": seconds, "requests": len(json.loads(file.read_text()))}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
