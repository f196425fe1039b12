"""`python -m tests.benchmarks.public_sample FOLDER COUNT`: neurons of the bundled sample as public files."""

from __future__ import annotations

import json
import sys

from django.conf import settings
from django.core.management import call_command

import tests.benchmarks  # noqa: F401  it sets Django up
from explanations.importing.importer import Importer
from explanations.importing.subject import prepare_model
from explanations.management.commands.load_sample import SLUG
from explanations.pipeline.sample_file import read_sample


def main(folder: str, count: int) -> None:
    call_command("migrate", verbosity=0)
    _, batches = read_sample(settings.BASE_DIR / "fixtures" / f"{SLUG}.parquet", 500)
    whole = [n for batch in batches for n in batch if n.activations is not None and n.activations.data is not None]
    model, _ = prepare_model(SLUG, neurons=[n.neuron_id for n in whole], card=None)
    importer = Importer(model, None)
    # Every neuron, for their excerpts: the first to show one brings it.
    importer.store(whole)
    model.neurons.exclude(pk__in=model.neurons.order_by("pk").values("pk")[:count]).delete()
    call_command("export_dataset", folder, model=SLUG, verbosity=0, stdout=sys.stderr)
    print(json.dumps({"neurons": model.neurons.count()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
