"""`python -m tests.benchmarks.disk SLUG`: how many bytes of disk the configured database takes; print JSON.

`bytes` for each 64 tokens of activations that it keeps: those of a neuron's records, the simulated ones, and the real
ones that simulations keep because they are not among the neuron's records. All is counted: rows, indexes, search.
"""

from __future__ import annotations

import json
import sys

from django.db import connection

import tests.benchmarks  # noqa: F401  it sets Django up
from explanations.models import ActivationSet, Neuron, Simulation, SubjectModel
from explanations.pipeline import packing

LOOKED_AT = 500
"""Neurons whose rows are counted, spread over the model: the others are alike."""
SERIES = 64


def tokens_kept(model: SubjectModel) -> float:
    """Return about how many activations the model's rows hold, from some of its neurons."""
    total = Neuron.objects.filter(model=model).count()
    step = max(1, total // LOOKED_AT)
    ids = list(Neuron.objects.filter(model=model).order_by("pk").values_list("pk", flat=True)[::step])
    tokens = 0
    for data in ActivationSet.objects.filter(pk__in=ids).values_list("data", flat=True):
        tokens += sum(len(record.activations) for record in packing.unpack_records(data)[0])
    for data in Simulation.objects.filter(explanation__neuron__in=ids).values_list("data", flat=True):
        for sequence in packing.unpack_sequences(data):
            tokens += len(sequence.simulated) + (0 if sequence.real is None else len(sequence.real))
    return tokens * total / len(ids)


def bytes_on_disk() -> int:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
        else:
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return int(cursor.fetchone()[0])


def main(slug: str) -> None:
    model = SubjectModel.objects.get(slug=slug)
    print(json.dumps({"bytes": bytes_on_disk() / (tokens_kept(model) / SERIES)}))


if __name__ == "__main__":
    main(sys.argv[1])
