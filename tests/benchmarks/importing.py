"""Importing real neurons, against only reading and decoding the same files on the same cores."""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from explanations.management.inventory.sizes import measure_database
from explanations.models import RelatedSet
from tests.benchmarks.memory import MemoryWatch
from tests.benchmarks.protocol import Bench, Pair, Taken, figure, ratio

NEURONS, QUICK_NEURONS = 2_000, 100


def dataset(bench: Bench) -> tuple[Path, int]:
    """Return a folder in the public layout with real neurons of the bundled sample, all five kinds, and how many."""
    count = QUICK_NEURONS if bench.is_quick else NEURONS
    folder = bench.folder / f"sample-{count}"
    if not folder.exists():
        partial = bench.folder / f"sample-{count}.partial{os.getpid()}"
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.public_sample", str(partial), str(count)],
            env=_environment(),
            cwd=settings.BASE_DIR,
            check=True,
        )
        partial.rename(folder)
    return folder, count


def _environment(database: str = "sqlite://:memory:") -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": database}


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start one of this package's programs."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environment, cwd=settings.BASE_DIR, stdout=subprocess.PIPE
    )


def _finish(program: subprocess.Popen[bytes]) -> float:
    """Wait for such a program; return the seconds that it prints."""
    with program:
        said, _ = program.communicate()
    if program.returncode:
        raise subprocess.CalledProcessError(program.returncode, program.args)
    return float(json.loads(said.splitlines()[-1])["seconds"])


@contextmanager
def _import(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """Give an import of the dataset into an empty database, just started."""
    folder, _ = dataset(bench)
    with bench.empty_database() as database:
        environment = _environment(database)
        # By a process of its own, as people do it: what migrating leaves in a process is not there when one imports.
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity=0"],
            env=environment,
            cwd=settings.BASE_DIR,
            check=True,
        )
        yield _start(["tests.benchmarks.timed_import", str(folder)], environment)


def import_once(bench: Bench) -> float:
    """Import the dataset into an empty database; return the seconds that `timed_import` measured."""
    with _import(bench) as program:
        return _finish(program)


@ratio(
    "import",
    subject="import_dataset of 2,000 real neurons into an empty database, its processes' start included",
    floor="as many processes reading and decoding the same files with msgspec, every text and number of them",
    at_most=2.0,
    rounds=9,
)
def measure_import(bench: Bench) -> Iterator[Pair]:
    folder, _ = dataset(bench)
    # As they are wherever the program has run before. Where Python is told to keep nothing compiled, each import would
    # compile it anew.
    for package in ("explanations", "neuronviewer", "tests"):
        compileall.compile_dir(settings.BASE_DIR / package, quiet=2)
    yield Pair(
        floor=lambda: Taken(_finish(_start(["tests.benchmarks.bare_decoding", str(folder)], _environment()))),
        subject=lambda: Taken(import_once(bench)),
    )


@figure("import: memory", what="memory of all processes of such an import, at most", unit="MB", at_most=1000)
def measure_memory(bench: Bench) -> float:
    # Not of the imports that are timed: looking takes time itself.
    with _import(bench) as program:
        watch = MemoryWatch(program.pid)
        watch.start()
        try:
            _finish(program)
        finally:
            highest = watch.finish()
    return highest / 1e6


@figure(
    "import: disk",
    what="bytes for each 64 tokens of real or simulated activations: the whole synthetic database, its indexes and "
    "search included, related tokens and neurons left out",
    unit="bytes",
    at_most=200,
)
def measure_disk(_bench: Bench) -> float:
    sizes = measure_database()
    return 64 * (sizes.total - sizes.tables[RelatedSet._meta.db_table].total) / sizes.tokens


@figure("import: disk, with related tokens", what="the same, with related tokens and neurons", unit="bytes")
def measure_whole_disk(_bench: Bench) -> float:
    found = measure_database().bytes_per_64_tokens
    assert found is not None
    return found
