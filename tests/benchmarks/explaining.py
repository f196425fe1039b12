"""Explaining many neurons at once, against the same requests sent bare to the same server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from tests.benchmarks.protocol import Bench, Pair, Taken, ratio

NEURONS, QUICK_NEURONS = 48, 16
CONCURRENCY = 8
DELAY = 0.3
"""Seconds that the server takes for an answer: a fast endpoint's."""


def script() -> dict[str, object]:
    """Return what the server says: an explanation, and the levels that it expects at every token."""
    levels = {"unknown": {"0": -0.2, "3": -2.0, "10": -4.0}}
    return {
        "model": "scripted",
        "rules": [
            {"route": "completions", "log_probabilities": levels, "delay": DELAY},
            {"answer": "words about many things", "delay": DELAY},
        ],
    }


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Let `manage.py model_server` answer from the script in a process of its own; give its address."""
    path = folder / "script.json"
    path.write_text(json.dumps(script()))
    command = [sys.executable, "manage.py", "model_server", "--script", str(path), "--port", "0"]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split(" answers at ")[1].split(". To use")[0]
        finally:
            server.terminate()


@ratio(
    "bulk explaining",
    subject=f"manage.py explain's machinery: neurons read, explained, simulated, scored and stored, {CONCURRENCY} at a "
    f"time, by a scripted model that takes {DELAY} s an answer",
    floor=f"the same requests sent with httpx alone to the same server, {CONCURRENCY} at a time",
    at_most=1 / 0.95,
    on="nothing",
    rounds=3,
)
def bulk_explaining(bench: Bench) -> Iterator[Pair]:
    count = QUICK_NEURONS if bench.is_quick else NEURONS
    with tempfile.TemporaryDirectory() as place, served(Path(place)) as url:
        file = Path(place) / "requests.json"

        def take(what: str, database: str) -> Taken:
            environment = {
                **os.environ,
                "DATABASE_URL": database,
                "LLM_BASE_URL": url,
                "LLM_MODEL": "scripted",
                "LLM_CONCURRENCY": str(CONCURRENCY),
            }
            command = [sys.executable, "-m", "tests.benchmarks.timed_explaining", what, str(file), str(count)]
            done = subprocess.run(
                command, env=environment, cwd=settings.BASE_DIR, check=True, stdout=subprocess.PIPE, text=True
            )
            return Taken(json.loads(done.stdout.splitlines()[-1])["seconds"])

        def explain() -> Taken:
            with bench.empty_database() as database:
                return take("run", database)

        explain()  # writes the requests that the floor sends
        yield Pair(floor=lambda: take("bare", "sqlite://:memory:"), subject=explain)
