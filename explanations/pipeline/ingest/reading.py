"""Read and check neurons' files; what is wrong with one is noted, and the file left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from explanations.pipeline import dataset
from explanations.pipeline.dataset import ExplanationColumns, RecordColumns, SimulationColumns
from explanations.pipeline.excerpts import Excerpts
from explanations.pipeline.ingest.packed import PackedNeuron, Problem
from explanations.pipeline.json_reading import BrokenFileError
from explanations.pipeline.layout import DataKind, Source
from explanations.pipeline.records import NeuronId, Related

T = TypeVar("T")


@dataclass(slots=True)
class Draft:
    """A neuron whose files have been read, and of which nothing with many numbers is packed yet."""

    neuron: PackedNeuron
    stored: bytes | None
    """its activation records in the database"""
    records: RecordColumns | None = None
    explanations: list[ExplanationColumns] | None = None
    related: Related | None = None

    def refuse(self, kind: DataKind, error: ValueError) -> None:
        """Note why a file is not taken."""
        self.neuron.problems.append(Problem(kind.path(self.neuron.neuron_id), str(error)))


class Reader:
    """Reads neurons of one source. It remembers excerpts from neuron to neuron."""

    def __init__(self, source: Source, kinds: Sequence[DataKind]) -> None:
        self._source = source
        self._kinds = frozenset(kinds)
        self._excerpts = Excerpts()
        self._brought: set[int] = set()

    def read(self, neuron_id: NeuronId, stored: bytes | None) -> Draft:
        """Return a neuron's files as columns."""
        draft = Draft(PackedNeuron(neuron_id), stored)
        self._read_activations(draft)
        self._read_explanations(draft)
        self._read_related(draft)
        draft.neuron.excerpts = self._new_excerpts(draft)
        return draft

    def _new_excerpts(self, draft: Draft) -> dict[int, bytes]:
        """Return the packed tokens, by key, of those of its excerpts that no earlier neuron brought."""
        new: dict[int, bytes] = {}
        for columns in _columns(draft):
            # Nearly always none is new, which a set knows sooner than a loop.
            if not self._brought.issuperset(columns.keys):
                new.update({e.key: e.packed for e in columns.excerpts if e.key not in self._brought})
        if len(self._brought) >= Excerpts.LIMIT:
            self._brought.clear()
        self._brought.update(new)
        return new

    def _decoded(self, draft: Draft, kind: DataKind, decode: Callable[[bytes], T]) -> T | None:
        """Return a file's content; None where it was not asked for, is missing, cannot be read or is broken."""
        if kind not in self._kinds:
            return None
        neuron = draft.neuron
        path = kind.path(neuron.neuron_id)
        try:
            data = self._source.read(path)
        except OSError as error:
            neuron.problems.append(Problem(path, f"cannot be read: {error.strerror or error}"))
            return None
        if data is None:
            neuron.gaps.append(kind)
            return None
        try:
            return decode(data)
        except BrokenFileError as error:
            draft.refuse(kind, error)
            return None

    def _read_activations(self, draft: Draft) -> None:
        neuron_id, excerpts = draft.neuron.neuron_id, self._excerpts
        draft.records = self._decoded(
            draft, DataKind.ACTIVATIONS, lambda data: dataset.decode_record(data, neuron_id, excerpts)
        )

    def _read_explanations(self, draft: Draft) -> None:
        neuron_id, excerpts = draft.neuron.neuron_id, self._excerpts
        draft.explanations = self._decoded(
            draft, DataKind.EXPLANATIONS, lambda data: dataset.decode_explanations(data, neuron_id, excerpts)
        )

    def _read_related(self, draft: Draft) -> None:
        by_activation = self._decoded(draft, DataKind.TOKENS_BY_ACTIVATION, dataset.decode_tokens_by_activation)
        by_weight = self._decoded(draft, DataKind.TOKENS_BY_WEIGHT, dataset.decode_tokens_by_weight)
        neurons = self._decoded(draft, DataKind.RELATED_NEURONS, dataset.decode_related_neurons)
        if not (by_activation is None and by_weight is None and neurons is None):
            draft.related = Related(by_activation, by_weight, neurons)


def _columns(draft: Draft) -> Iterator[RecordColumns | SimulationColumns]:
    """Yield what has excerpts of a draft's files."""
    if draft.records is not None:
        yield draft.records
    for explanation in draft.explanations or ():
        if explanation.simulation is not None:
            yield explanation.simulation
