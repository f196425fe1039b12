"""Neurons with an explanation that somebody wrote, from a folder in the public format or from a sample file."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from explanations.pipeline import packing
from explanations.pipeline.dataset import decode_explanations, decode_record
from explanations.pipeline.excerpts import Excerpts
from explanations.pipeline.ingest import PackedNeuron
from explanations.pipeline.json_reading import BrokenFileError
from explanations.pipeline.layout import DataKind, FolderSource
from explanations.pipeline.records import ActivationRecord, Kind, NeuronId, NeuronRecord
from explanations.pipeline.sample_file import read_sample

SEED = 20261123
"""Chooses the neurons; the embedding simulator's own are the first 900 of the bundled sample in this order."""
DEVELOPMENT_NEURONS = 900


@dataclass(frozen=True, slots=True)
class ExplainedNeuron:
    """A neuron and what it was first said to look for."""

    record: NeuronRecord
    """its top and random excerpts"""
    text: str


def choose_neurons(neurons: Collection[NeuronId], count: int, skip: int = 0) -> list[NeuronId]:
    """Return `count` neurons in an order that is always the same, after the first `skip` of it."""
    order = sorted(neurons)
    random.Random(SEED).shuffle(order)  # noqa: S311
    return order[skip : skip + count]


def explained_in_folder(folder: Path, count: int, skip: int = 0) -> list[ExplainedNeuron]:
    """Return neurons of a folder in the public format. NoDatasetError, or BrokenFileError with the path."""
    source = FolderSource.open(folder)
    both = set(source.neurons(DataKind.ACTIVATIONS)) & set(source.neurons(DataKind.EXPLANATIONS))
    excerpts = Excerpts()
    return [_read(source, neuron_id, excerpts) for neuron_id in choose_neurons(both, count, skip)]


def _read(source: FolderSource, neuron_id: NeuronId, excerpts: Excerpts) -> ExplainedNeuron:
    kind = DataKind.ACTIVATIONS
    try:
        record = decode_record(source.read(kind.path(neuron_id)) or b"", neuron_id, excerpts).to_record()
        kind = DataKind.EXPLANATIONS
        explanations = decode_explanations(source.read(kind.path(neuron_id)) or b"", neuron_id, excerpts)
    except BrokenFileError as error:
        raise BrokenFileError(f"{source.root / kind.path(neuron_id)}: {error}") from error
    if not explanations:
        raise BrokenFileError(f"{source.root / kind.path(neuron_id)}: it holds no explanation")
    return ExplainedNeuron(record, explanations[0].text)


def explained_in_sample(file: Path, count: int, skip: int = DEVELOPMENT_NEURONS) -> list[ExplainedNeuron]:
    """Return neurons of a sample file, as the bundled one. SampleFileError where it is none."""
    _, batches = read_sample(file, batch=500)
    packed = {neuron.neuron_id: neuron for neuron in _flat(batches)}
    tokens = {key: data for neuron in packed.values() for key, data in neuron.excerpts.items()}
    usable = [i for i, neuron in packed.items() if _is_usable(neuron)]
    return [_unpack(packed[neuron_id], tokens) for neuron_id in choose_neurons(usable, count, skip)]


def _flat(batches: Iterable[Sequence[PackedNeuron]]) -> Iterator[PackedNeuron]:
    for batch in batches:
        yield from batch


def _is_usable(neuron: PackedNeuron) -> bool:
    """Return whether a sample holds the neuron's activation records and its first explanation."""
    has_records = neuron.activations is not None and neuron.activations.data is not None
    return has_records and bool(neuron.explanations and neuron.explanations[0])


def _unpack(neuron: PackedNeuron, tokens: dict[int, bytes]) -> ExplainedNeuron:
    assert neuron.activations is not None
    assert neuron.activations.data is not None
    assert neuron.explanations
    assert neuron.explanations[0]
    records, _ = packing.unpack_records(neuron.activations.data)
    by_kind: dict[int, list[ActivationRecord]] = {Kind.TOP: [], Kind.RANDOM: []}
    for record in records:
        if record.kind in by_kind:
            words = packing.unpack_texts(tokens[record.key])
            by_kind[record.kind].append(ActivationRecord(words, record.activations))
    found = NeuronRecord(neuron.neuron_id, tuple(by_kind[Kind.TOP]), tuple(by_kind[Kind.RANDOM]))
    return ExplainedNeuron(found, neuron.explanations[0].text)
