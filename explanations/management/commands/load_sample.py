"""`manage.py load_sample`: the bundled sample of real neurons into the database. fixtures/README.md says what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.import_commands import BUNDLED
from explanations.importing.importer import Importer
from explanations.importing.subject import ImportRefusedError, prepare_model
from explanations.management.commands.import_dataset import read_card
from explanations.management.imports import run_import
from explanations.pipeline.ingest import PackedNeuron
from explanations.pipeline.sample_file import SampleFileError, read_sample

SLUG = BUNDLED
SAMPLE_BATCH = 1_000
"""Neurons in a transaction: most are small, without activation records."""


class Command(BaseCommand):
    help = "Load the bundled sample of real neurons. Loading it again changes only what differs."

    def add_arguments(self, parser: CommandParser) -> None:
        fixtures = settings.BASE_DIR / "fixtures"
        parser.add_argument("--model", default=SLUG, metavar="SLUG", help=f"the model's address ({SLUG})")
        parser.add_argument("--file", type=Path, default=fixtures / f"{SLUG}.parquet", help="another sample")
        parser.add_argument("--card", type=Path, default=fixtures / f"{SLUG}.card.json", help="another sample's card")

    def handle(self, **options: Any) -> None:
        card = read_card(options["card"])
        try:
            total, batches = read_sample(Path(options["file"]), SAMPLE_BATCH)
            model, _ = prepare_model(options["model"], neurons=(), card=card)
        except SampleFileError as error:
            raise CommandError(str(error)) from None
        except ImportRefusedError as error:
            raise CommandError(f"model “{options['model']}”: {error}") from None
        self.stdout.write(f"{model.name}: {total:,} neurons of the bundled sample")
        run_import(self.stdout, Importer(model, card.explanations if card else None), read_ahead(batches), total)


def read_ahead(batches: Iterator[Sequence[PackedNeuron]]) -> Iterator[Sequence[PackedNeuron]]:
    """Yield the batches, reading each while the one before it is being stored."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch
