"""`manage.py import_dataset`: neurons in the public format, from a folder or the web. docs/importing.md explains it."""

from __future__ import annotations

from argparse import _ArgumentGroup
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.importing.gaps import Gaps
from explanations.importing.importer import Importer
from explanations.importing.stored import read_activation_sets
from explanations.importing.subject import ImportRefusedError, prepare_model
from explanations.importing.wanted import plan_fetch
from explanations.management.counting import counted
from explanations.management.downloads import downloads_folder
from explanations.management.imports import Outcome, close_database, leave_pool, run_import
from explanations.management.remote_import import RemoteBatches, find_address, find_dataset, find_shape, is_remote
from explanations.management.selection import Selection, add_selection_arguments, parse_selection
from explanations.models import SubjectModel
from explanations.pipeline.card import Card, CardError, Origin, decode_card
from explanations.pipeline.ingest import Chunk, PackedNeuron, default_processes, open_ingesters
from explanations.pipeline.known_models import describe_known_models, known_models
from explanations.pipeline.layout import DataKind, FolderSource, NoDatasetError, Source
from explanations.pipeline.records import NeuronId
from explanations.pipeline.remote.bandwidth import Bandwidth, parse_bandwidth
from explanations.pipeline.remote.fetching import CONNECTIONS, TIMEOUT, RemoteSource
from explanations.pipeline.remote.probing import neurons_to_probe

BATCH = 400
"""Neurons in a transaction."""
LAST_BATCH = 50
"""Neurons in the last ones, at most."""


class Command(BaseCommand):
    help = (
        "Import neurons in the public format: activations, explanations with their simulations, related neurons and"
        " tokens. Running it again changes only what differs; a run that was stopped goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "source",
            help="the dataset's folder, its https:// address, or “public”: where the data of a model that is known by"
            f" name was published. Known: {describe_known_models()}",
        )
        parser.add_argument("--model", required=True, metavar="SLUG", help="the subject model's address, e.g. gpt2-xl")
        add_selection_arguments(parser)
        parser.add_argument("--name", default="", help="the model's name")
        parser.add_argument("--neurons-per-layer", type=int, metavar="N", help="unless told, what the files need")
        parser.add_argument("--card", type=Path, metavar="FILE", help="JSON with what the files cannot tell")
        parser.add_argument(
            "--jobs", type=int, metavar="N", help="processes that decode (1; from 2,000 neurons on, one a core)"
        )
        parser.add_argument("--allow-errors", action="store_true", help="succeed although files had to be skipped")
        add_web_arguments(parser.add_argument_group("from the web"))

    def handle(self, **options: Any) -> None:
        selection = parse_selection(options["layers"], options["neurons"], options["kinds"])
        if options["jobs"] is not None and options["jobs"] < 1:
            raise CommandError(f"--jobs: {options['jobs']} is not a number of processes; use 1 or more")
        if options["neurons_per_layer"] is not None and options["neurons_per_layer"] < 1:
            raise CommandError(f"--neurons-per-layer: {options['neurons_per_layer']} is below 1")
        leave_pool()
        about = find_about(options["card"], options["model"])
        read = self.read_web if is_remote(options["source"]) else self.read_folder
        outcome = read(options, selection, about)
        if outcome.problems and not options["allow_errors"]:
            raise CommandError(f"{outcome.problem_count:,} files were skipped; --allow-errors accepts that")

    def read_folder(self, options: dict[str, Any], selection: Selection, about: About) -> Outcome:
        source = open_source(options["source"])
        listed = list_neurons(source, selection.kinds)
        neurons = sorted(n for n in set().union(*listed.values()) if n in selection)
        if not neurons:
            raise CommandError(f"nothing to import: {options['source']} has no such files for the chosen neurons")
        model, is_new = self.prepare(options, set().union(*listed.values()), about)
        kinds = [kind for kind in selection.kinds if listed[kind]]
        self.say_absent(selection.kinds, kinds)
        close_database()
        with open_ingesters(source, kinds, options["jobs"] or default_processes(len(neurons))) as ingest:
            batches = record_gaps(ingest(_chunks(model, neurons, is_new=is_new)), Gaps(model, ""), kinds)
            return run_import(self.stdout, Importer(model, about.origins), batches, len(neurons))

    def read_web(self, options: dict[str, Any], selection: Selection, about: About) -> Outcome:
        base = find_address(options["source"], options["model"])
        shape = find_shape(selection, about.shape, about.stored, options["neurons_per_layer"])
        places = shape.places(selection)
        if not places:
            raise CommandError(
                f"nothing to import: {options['model']} has layers 0 to {shape.layers - 1:,} with neurons 0 to"
                f" {shape.neurons_per_layer - 1:,} each, and none of them is chosen"
            )
        if left_out := shape.describe_left_out(selection):
            self.stdout.write(f"not in {options['model']}, and left out: {left_out}")
        with closing(open_web(base, options)) as source:
            probed = neurons_to_probe(places, shape.layers, shape.neurons_per_layer)
            prefix, kinds = find_dataset(source, options["model"], selection.kinds, probed)
            model, _ = self.prepare(options, [shape.last], about)
            self.say_absent(selection.kinds, kinds)
            return self.fetch(options, source, prefix, model, places, kinds, about)

    def fetch(
        self,
        options: dict[str, Any],
        source: RemoteSource,
        prefix: str,
        model: SubjectModel,
        places: Mapping[int, Sequence[int]],
        kinds: Sequence[DataKind],
        about: About,
    ) -> Outcome:
        address = f"{source.base}{prefix}"
        SubjectModel.objects.filter(pk=model.pk).update(data_address=address)
        gaps = Gaps(model, address)
        plan = plan_fetch(model, places, kinds, None if options["retry_gaps"] else gaps, refetch=options["refetch"])
        self.stdout.write(
            f"{address}: {plan.files:,} files of {plan.neurons:,} neurons to fetch; {plan.stored:,} stored already,"
            f" {plan.known_gaps:,} known to be missing there{' (--retry-gaps asks again)' if plan.known_gaps else ''}"
        )
        importer = Importer(model, about.origins)
        with downloads_folder() as folder:
            processes = options["jobs"] or default_processes(plan.neurons)
            batches = RemoteBatches(source, prefix, plan, kinds, model, gaps, folder, processes)
            with closing(iter(batches)) as running:
                outcome = run_import(self.stdout, importer, running, plan.neurons, batches.traffic.describe)
        if batches.error:
            raise CommandError(f"{batches.error}. What was imported stays; the same command goes on from there")
        return outcome

    def say_absent(self, asked: Sequence[DataKind], present: Sequence[DataKind]) -> None:
        if absent := [kind for kind in asked if kind not in present]:
            self.stdout.write(f"not in this source: {', '.join(absent)}")

    def prepare(self, options: dict[str, Any], listed: Collection[NeuronId], about: About) -> tuple[SubjectModel, bool]:
        """Return the model that is filled, and whether it is new. CommandError where it cannot be made so."""
        try:
            model, is_new = prepare_model(
                options["model"],
                neurons=listed,
                card=about.card,
                name=options["name"],
                neurons_per_layer=options["neurons_per_layer"],
            )
        except ImportRefusedError as error:
            raise CommandError(f"model “{options['model']}”: {error}") from None
        shape = f"{counted(model.layers, 'layer')} of {counted(model.neurons_per_layer, 'neuron')}"
        self.stdout.write(f"{'New model' if is_new else 'Model'} {model.slug} ({model.name}): {shape}")
        return model, is_new


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a model beyond its files."""

    stored: SubjectModel | None
    card: Card | None
    """what the model's row is to say; None leaves it as it is"""
    shape: Card | None
    """what tells the model's shape"""
    origins: Sequence[Origin] | None
    """where explanations come from, by position; None keeps what is stored"""


def find_about(path: Path | None, slug: str) -> About:
    """Return what the card in a file says of a model; without one, what is known of the model by its name.

    What is known by name is only written to a new model: people may have changed it since. CommandError where the
    card cannot be taken.
    """
    stored = SubjectModel.objects.filter(slug=slug).first()
    given = read_card(path)
    known = known_models().get(slug)
    if given or not known:
        return About(stored, given, given, given.explanations if given else None)
    is_real = stored is None or not stored.is_synthetic
    return About(stored, None if stored else known.card, known.card, known.card.explanations if is_real else None)


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


def add_web_arguments(group: _ArgumentGroup) -> None:
    group.add_argument("--connections", type=int, default=CONNECTIONS, metavar="N", help=f"at once ({CONNECTIONS})")
    group.add_argument("--max-bandwidth", metavar="10M", help="bytes a second at most; K, M and G are understood")
    group.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"how long a server may be silent ({TIMEOUT:g})",
    )
    group.add_argument("--retry-gaps", action="store_true", help="ask again for files that were missing there before")
    group.add_argument("--refetch", action="store_true", help="fetch what is stored too, and update what differs")


def open_web(base: str, options: dict[str, Any]) -> RemoteSource:
    """Return the source at a web address. CommandError where an option is malformed."""
    if not 1 <= options["connections"] <= 256:
        raise CommandError(f"--connections: {options['connections']} is not between 1 and 256")
    if not 0 < options["timeout"] <= 3600:
        raise CommandError(f"--timeout: {options['timeout']:g} is not between 0 and 3,600 seconds")
    try:
        rate = parse_bandwidth(options["max_bandwidth"]) if options["max_bandwidth"] else None
    except ValueError as error:
        raise CommandError(f"--max-bandwidth: {error}") from None
    return RemoteSource(base, connections=options["connections"], timeout=options["timeout"], bandwidth=Bandwidth(rate))


def open_source(text: str) -> Source:
    """Return the dataset in a folder. CommandError where there is none."""
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


def record_gaps(
    batches: Iterable[list[PackedNeuron]], gaps: Gaps, kinds: Sequence[DataKind]
) -> Iterator[list[PackedNeuron]]:
    """Yield the batches, and note which files of a folder were missing, once each batch is stored."""
    for batch in batches:
        yield batch
        gaps.record(
            missing=((neuron.neuron_id, kind) for neuron in batch for kind in neuron.gaps),
            found=((neuron.neuron_id, kind) for neuron in batch for kind in kinds if kind not in neuron.gaps),
        )


def in_batches(neurons: Sequence[NeuronId]) -> Iterator[Sequence[NeuronId]]:
    """Yield the neurons in batches, which halve towards the end: while the last is stored, nothing is decoded."""
    start = 0
    while start < len(neurons):
        size = min(BATCH, max((len(neurons) - start) // 2, LAST_BATCH))
        yield neurons[start : start + size]
        start += size


def _chunks(model: SubjectModel, neurons: Sequence[NeuronId], *, is_new: bool) -> Iterator[Chunk]:
    """Yield batches of neurons, with the activation records that the database keeps of them."""
    for batch in in_batches(neurons):
        # A new model has none, and decoding need not wait for the database, which was closed before processes started.
        stored = {} if is_new else read_activation_sets(model.pk, batch)
        yield [(neuron_id, stored.get(neuron_id)) for neuron_id in batch]
