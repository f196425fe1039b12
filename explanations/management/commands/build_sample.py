"""`manage.py build_sample`: neurons in the public format as one compressed file. fixtures/README.md explains it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.management.commands.import_dataset import list_neurons, open_source, read_card
from explanations.management.progress import Advance, show_progress
from explanations.management.selection import add_selection_arguments, parse_selection
from explanations.pipeline.ingest import Ingester, PackedNeuron
from explanations.pipeline.records import NeuronId
from explanations.pipeline.sample_file import write_sample


class Command(BaseCommand):
    help = "Pack neurons of a folder in the public format into one file, as `fixtures/` holds it. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="the dataset's folder")
        parser.add_argument("--card", type=Path, required=True, metavar="FILE", help="its card, which is checked")
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
        add_selection_arguments(parser)

    def handle(self, **options: Any) -> None:
        selection = parse_selection(options["layers"], options["neurons"], options["kinds"])
        read_card(options["card"])
        source = open_source(options["source"])
        listed = list_neurons(source, selection.kinds)
        neurons = sorted(n for n in set().union(*listed.values()) if n in selection)
        if not neurons:
            raise CommandError(f"nothing to pack: {options['source']} has no such files for the chosen neurons")
        out = Path(options["out"])
        try:
            with show_progress(self.stdout, len(neurons), "neurons") as advance:
                write_sample(out, _pack(Ingester(source, selection.kinds), neurons, advance))
        except OSError as error:
            raise CommandError(f"{out}: cannot be written: {error.strerror or error}") from None
        self.stdout.write(f"{out}: {len(neurons):,} neurons, {out.stat().st_size / 1e6:.1f} MB")


def _pack(ingester: Ingester, neurons: list[NeuronId], advance: Advance) -> Iterator[PackedNeuron]:
    for neuron_id in neurons:
        neuron = ingester.ingest(neuron_id)
        for problem in neuron.problems:
            raise CommandError(f"{problem.path}: {problem.reason}")
        yield neuron
        advance(1)
