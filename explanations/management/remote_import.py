"""The part of `import_dataset` that reads from a web address: where, which files, and what became of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from explanations.importing.gaps import Gaps
from explanations.importing.stored import read_activation_sets
from explanations.importing.wanted import FetchPlan
from explanations.management.selection import Selection
from explanations.models import SubjectModel
from explanations.pipeline.card import Card
from explanations.pipeline.ingest import Chunk, PackedNeuron, Problem, open_ingesters
from explanations.pipeline.known_models import describe_known_models, known_models
from explanations.pipeline.layout import PREFIXES, DataKind, FolderSource
from explanations.pipeline.records import NeuronId
from explanations.pipeline.remote.address import AddressError, check_address
from explanations.pipeline.remote.fetching import RemoteSource, SourceError
from explanations.pipeline.remote.probing import probe
from explanations.pipeline.remote.spool import Delivery, Traffic, download

PUBLIC = "public"
"""The word for the address where a known model was published."""
BATCH = 25
"""Neurons that are fetched, decoded and stored together, some 15 MB of files: a killed run loses a few of these."""


def is_remote(source: str) -> bool:
    return source == PUBLIC or "://" in source


def find_address(source: str, slug: str) -> str:
    """Return the base address that the command means. CommandError where it is none."""
    if source != PUBLIC:
        try:
            return check_address(source)
        except AddressError as error:
            raise CommandError(str(error)) from None
    known = known_models().get(slug)
    if known is None:
        raise CommandError(
            f"{PUBLIC}: no public data is known of “{slug}”. Known are {describe_known_models()};"
            " for another, give the folder or address of its data"
        )
    return settings.PUBLIC_DATA_URL or known.address


def find_dataset(
    source: RemoteSource, slug: str, kinds: Sequence[DataKind], neurons: Sequence[NeuronId]
) -> tuple[str, list[DataKind]]:
    """Return where below the address the files lie, and which kinds there are. CommandError where there are none."""
    known = known_models().get(slug)
    if known and not (kinds := [kind for kind in kinds if kind in known.kinds]):
        raise CommandError(f"--kinds: of {slug}, only {', '.join(known.kinds)} were published")
    # A mirror of a known model may leave the folder's name out.
    prefixes = PREFIXES if known is None else (known.prefix, "")
    try:
        return probe(source, kinds, neurons, prefixes, is_first_meant=known is not None)
    except SourceError as error:
        raise CommandError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Shape:
    """How many neurons there are. The web lists no folders: it must be known before the first file is asked for."""

    layers: int
    neurons_per_layer: int

    @property
    def last(self) -> NeuronId:
        return NeuronId(self.layers - 1, self.neurons_per_layer - 1)

    def places(self, selection: Selection) -> dict[int, Sequence[int]]:
        """Return the chosen neurons' numbers by layer."""
        indexes = [n for n in range(self.neurons_per_layer) if n in selection.neurons]
        return {layer: indexes for layer in range(self.layers) if layer in selection.layers} if indexes else {}

    def describe_left_out(self, selection: Selection) -> str:
        """Return in words what is chosen of layers and neurons that there are not; empty where all are there."""
        chosen = (("layers", selection.layers, self.layers), ("neurons", selection.neurons, self.neurons_per_layer))
        beyond = [
            f"{what} from {count:,} to {numbers.end - 1:,}"
            for what, numbers, count in chosen
            if numbers.end is not None and numbers.end > count
        ]
        return " and ".join(beyond)


def find_shape(
    selection: Selection, card: Card | None, model: SubjectModel | None, neurons_per_layer: int | None
) -> Shape:
    """Return the shape that card, options or database tell; else what is chosen. CommandError where nothing tells."""
    card = card or Card()
    layers = card.layers or (model.layers if model else None) or selection.layers.end
    neurons = neurons_per_layer or card.neurons_per_layer or (model.neurons_per_layer if model else None)
    neurons = neurons or selection.neurons.end
    if layers is None or neurons is None:
        raise CommandError(
            "the web lists no files, so the model's shape must be known: give --layers and --neurons, such as"
            " --layers 0-47 --neurons 0-6399, or a --card with layers and neurons_per_layer."
            f" Known by name are {describe_known_models()}"
        )
    return Shape(layers, neurons)


@dataclass
class RemoteBatches:
    """Fetches what is planned and yields it batch by batch, decoded. `error` says afterwards why it ended too early."""

    source: RemoteSource
    prefix: str
    plan: FetchPlan
    kinds: Sequence[DataKind]
    model: SubjectModel
    gaps: Gaps
    folder: Path
    jobs: int
    traffic: Traffic = field(default_factory=Traffic)
    error: str = ""
    _under_way: deque[Delivery] = field(default_factory=deque)

    def __iter__(self) -> Generator[list[PackedNeuron], None, None]:
        planned = self.plan.batches(BATCH)
        with (
            open_ingesters(FolderSource(self.folder), self.kinds, self.jobs) as ingest,
            closing(download(self.source, self.prefix, planned, self.folder, traffic=self.traffic)) as deliveries,
        ):
            try:
                for batch in ingest(self._chunks(deliveries)):
                    delivery = self._under_way.popleft()
                    _say_what_came(batch, delivery)
                    yield batch
                    # Whoever asks for the next one has stored this one.
                    self._finish(delivery)
            except SourceError as error:
                self.error = str(error)

    def _chunks(self, deliveries: Iterable[Delivery]) -> Iterator[Chunk]:
        for delivery in deliveries:
            self._under_way.append(delivery)
            kept = read_activation_sets(
                self.model.pk, [w.neuron_id for w in delivery.wanted if DataKind.ACTIVATIONS not in w.kinds]
            )
            yield [(w.neuron_id, kept.get(w.neuron_id)) for w in delivery.wanted]

    def _finish(self, delivery: Delivery) -> None:
        delivery.remove_files(self.folder)
        asked = {(neuron_id, kind) for neuron_id, kinds in delivery.wanted for kind in kinds}
        self.gaps.record(missing=delivery.missing, found=asked - delivery.missing - delivery.failed.keys())


def _say_what_came(batch: Sequence[PackedNeuron], delivery: Delivery) -> None:
    """Set neurons' gaps and problems: to whoever read the folder, a file that was not asked for looks missing."""
    for neuron in batch:
        neuron.gaps = [kind for kind in DataKind if (neuron.neuron_id, kind) in delivery.missing]
        neuron.problems += [
            Problem(kind.path(neuron.neuron_id), reason)
            for (neuron_id, kind), reason in delivery.failed.items()
            if neuron_id == neuron.neuron_id
        ]
