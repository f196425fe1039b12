"""A database of any size for measuring: `python -m tests.benchmarks.full_size [--layers 48] [--neurons 6400]`.

It fills the database that DATABASE_URL and NEURONVIEWER_DATA name with synthetic neurons (the site says so on every
page), by the importer itself, so that rows, sizes and query plans are those of a real import. Killed and started again
it goes on; where all is there already, it does nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from django.core.management import call_command
from django.db import connection

from explanations.importing.importer import Importer
from explanations.importing.subject import prepare_model
from explanations.models import Flag, SubjectModel
from tests.benchmarks.full_size_flags import build_flags
from tests.benchmarks.synthetic import Maker, make_card

SLUG = "synthetic-xl"
LAYERS, NEURONS, EXCERPTS, FLAGS = 48, 6_400, 20, 5_000
BATCH = 1_600
"""Neurons in a transaction."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.full_size", description=__doc__)
    parser.add_argument("--layers", type=int, default=LAYERS, help=f"({LAYERS})")
    parser.add_argument("--neurons", type=int, default=NEURONS, help=f"in a layer ({NEURONS})")
    parser.add_argument("--excerpts", type=int, default=EXCERPTS, help=f"a neuron, at most 60 ({EXCERPTS})")
    parser.add_argument("--flags", type=int, default=FLAGS, help=f"({FLAGS})")
    parser.add_argument("--slug", default=SLUG, help=f"the model's address ({SLUG})")
    build(**vars(parser.parse_args(arguments)))
    return 0


def build(
    *, layers: int = LAYERS, neurons: int = NEURONS, excerpts: int = EXCERPTS, flags: int = FLAGS, slug: str = SLUG
) -> None:
    """Fill the database, as far as it is not filled."""
    call_command("migrate", interactive=False, verbosity=0)
    model = SubjectModel.objects.filter(slug=slug).first()
    if model is None or not model.statistics_at or model.neurons.count() < layers * neurons:
        build_neurons(slug, layers, neurons, excerpts)
    model = SubjectModel.objects.get(slug=slug)
    if not Flag.objects.filter(explanation__neuron__model=model).exists():
        build_flags(model, flags)
        tidy()


def build_neurons(slug: str, layers: int, neurons: int, excerpts: int) -> None:
    card = make_card(layers, neurons)
    model, _ = prepare_model(slug, neurons=(), card=card)
    importer = Importer(model, card.explanations)
    maker = Maker(layers, neurons, excerpts)
    began = time.monotonic()
    for number in range(layers):
        for batch in maker.make_layer(number, BATCH):
            importer.store(batch)
        done, seconds = (number + 1) * neurons, time.monotonic() - began
        progress = f"{done:,} of {layers * neurons:,} neurons, {seconds:.0f} s"
        print(f"{connection.display_name}: {progress}", file=sys.stderr, flush=True)
    importer.finish()


def tidy() -> None:
    """Leave the database as its own upkeep would after a while: planner's statistics, no long log to read over."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
        else:
            cursor.execute("ANALYZE")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
