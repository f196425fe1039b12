"""`manage.py import_dataset`: neurons in the public format, from a folder. docs/importing.md explains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.importing.importer import Importer
from explanations.importing.stored import read_activation_sets
from explanations.importing.subject import ImportRefusedError, prepare_model
from explanations.management.imports import BATCH, run_import
from explanations.management.selection import add_selection_arguments, parse_selection
from explanations.models import SubjectModel
from explanations.pipeline.card import Card, CardError, decode_card
from explanations.pipeline.ingest import Chunk, ingest_chunks
from explanations.pipeline.layout import DataKind, FolderSource, NoDatasetError, Source
from explanations.pipeline.records import NeuronId


class Command(BaseCommand):
    help = (
        "Import neurons in the public format: activations, explanations with their simulations, related neurons and"
        " tokens. Running it again changes only what differs; a run that was stopped goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="the dataset's folder")
        parser.add_argument("--model", required=True, metavar="SLUG", help="the subject model's address, e.g. gpt2-xl")
        add_selection_arguments(parser)
        parser.add_argument("--name", default="", help="the model's name")
        parser.add_argument("--neurons-per-layer", type=int, metavar="N", help="unless told, what the files need")
        parser.add_argument("--card", type=Path, metavar="FILE", help="JSON with what the files cannot tell")
        parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that decode (1)")
        parser.add_argument("--allow-errors", action="store_true", help="succeed although files had to be skipped")

    def handle(self, **options: Any) -> None:
        selection = parse_selection(options["layers"], options["neurons"], options["kinds"])
        if options["jobs"] < 1:
            raise CommandError(f"--jobs: {options['jobs']} is not a number of processes; use 1 or more")
        if options["neurons_per_layer"] is not None and options["neurons_per_layer"] < 1:
            raise CommandError(f"--neurons-per-layer: {options['neurons_per_layer']} is below 1")
        card = read_card(options["card"])
        source = open_source(options["source"])
        listed = list_neurons(source, selection.kinds)
        neurons = sorted(n for n in set().union(*listed.values()) if n in selection)
        if not neurons:
            raise CommandError(f"nothing to import: {options['source']} has no such files for the chosen neurons")
        model = self.prepare(options, set().union(*listed.values()), card)
        kinds = [kind for kind in selection.kinds if listed[kind]]
        if absent := [kind for kind in selection.kinds if not listed[kind]]:
            self.stdout.write(f"not in this source: {', '.join(absent)}")
        importer = Importer(model, card.explanations if card else None)
        batches = ingest_chunks(source, kinds, _chunks(model, neurons), options["jobs"])
        outcome = run_import(self.stdout, importer, batches, len(neurons))
        if outcome.problems and not options["allow_errors"]:
            raise CommandError(f"{len(outcome.problems):,} files were skipped; --allow-errors accepts that")

    def prepare(self, options: dict[str, Any], listed: set[NeuronId], card: Card | None) -> SubjectModel:
        try:
            model, is_new = prepare_model(
                options["model"],
                neurons=listed,
                card=card,
                name=options["name"],
                neurons_per_layer=options["neurons_per_layer"],
            )
        except ImportRefusedError as error:
            raise CommandError(f"model “{options['model']}”: {error}") from None
        shape = f"{model.layers:,} layers of {model.neurons_per_layer:,} neurons"
        self.stdout.write(f"{'New model' if is_new else 'Model'} {model.slug} ({model.name}): {shape}")
        return model


def read_card(path: Path | None) -> Card | None:
    """Return the card in a file. CommandError where it cannot be taken."""
    if path is None:
        return None
    try:
        return decode_card(Path(path).read_bytes())
    except OSError as error:
        raise CommandError(f"card {path}: cannot be read: {error.strerror}") from None
    except CardError as error:
        raise CommandError(f"card {path}: {error}") from None


def open_source(text: str) -> Source:
    """Return the dataset that the command names. CommandError where it is none."""
    if "://" in text:
        raise CommandError(f"{text} is an address; datasets are read from a folder: copy it to this machine first")
    try:
        return FolderSource.open(Path(text))
    except (NoDatasetError, OSError) as error:
        raise CommandError(str(error)) from None


def list_neurons(source: Source, kinds: Iterable[DataKind]) -> dict[DataKind, set[NeuronId]]:
    """Return the neurons that have a file, by kind. CommandError where the source cannot be listed."""
    try:
        return {kind: set(source.neurons(kind)) for kind in kinds}
    except OSError as error:
        raise CommandError(f"{error.filename}: cannot be listed: {error.strerror or error}") from None


def _chunks(model: SubjectModel, neurons: Sequence[NeuronId]) -> Iterator[Chunk]:
    """Yield batches of neurons, with the activation records that the database keeps of them."""
    for start in range(0, len(neurons), BATCH):
        batch = neurons[start : start + BATCH]
        stored = read_activation_sets(model.pk, batch)
        yield [(neuron_id, stored.get(neuron_id)) for neuron_id in batch]
