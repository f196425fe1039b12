"""`manage.py export_dataset`: a model's neurons as files in the public format. docs/importing.md explains it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.exporting import Exporter
from explanations.management.imports import BATCH, INTERRUPTED
from explanations.management.progress import show_progress
from explanations.management.selection import Selection, add_selection_arguments, parse_selection
from explanations.models import Neuron, SubjectModel
from explanations.pipeline.records import NeuronId


class Command(BaseCommand):
    help = (
        "Write a model's neurons to a folder in the public format: what import_dataset reads. Explanations that were"
        " made on this site are left out unless --all is given."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="where to write; it is made where it is missing")
        parser.add_argument("--model", required=True, metavar="SLUG", help="the subject model's address, e.g. gpt2-xl")
        add_selection_arguments(parser)
        parser.add_argument("--all", action="store_true", help="also the current explanations made on this site")
        parser.add_argument("--force", action="store_true", help="write although DIR holds something; replaces files")

    def handle(self, **options: Any) -> None:
        selection = parse_selection(options["layers"], options["neurons"], options["kinds"])
        model = SubjectModel.objects.filter(slug=options["model"]).first()
        if model is None:
            raise CommandError(f"there is no model “{options['model']}”")
        folder = Path(options["folder"])
        neurons = _choose(model, selection)
        if not neurons:
            raise CommandError("nothing to export: the model has none of the chosen neurons")
        exporter = Exporter(model, selection.kinds, with_own=options["all"])
        try:
            _check_folder(folder, force=options["force"])
            count = self.write(folder, exporter, neurons)
        except OSError as error:
            raise CommandError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from None
        except KeyboardInterrupt:
            raise CommandError(f"stopped; {folder} is incomplete", returncode=INTERRUPTED) from None
        self.stdout.write(f"{folder}: {count:,} files of {len(neurons):,} neurons")

    def write(self, folder: Path, exporter: Exporter, neurons: Sequence[int]) -> int:
        """Write the neurons' files; return how many."""
        count = 0
        with show_progress(self.stdout, len(neurons), "neurons") as advance:
            for start in range(0, len(neurons), BATCH):
                for files in exporter.encode(neurons[start : start + BATCH]):
                    count += len(files)
                    for path, data in files.items():
                        _write_file(folder / path, data)
                    advance(1)
        return count


def _choose(model: SubjectModel, selection: Selection) -> list[int]:
    """Return the chosen neurons by pk, in the order of layers and neurons. One query."""
    rows = Neuron.objects.filter(model=model).order_by("layer", "index").values_list("pk", "layer", "index")
    return [pk for pk, layer, index in rows if NeuronId(layer, index) in selection]


def _check_folder(folder: Path, *, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise CommandError(f"{folder} is not empty; choose another, or write into it with --force")


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
