"""A source's neurons as the database keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from explanations.pipeline.ingest.chunk import pack_chunk
from explanations.pipeline.ingest.packed import PackedNeuron
from explanations.pipeline.ingest.reading import Reader
from explanations.pipeline.layout import DataKind, Source
from explanations.pipeline.records import NeuronId

Chunk: TypeAlias = Sequence[tuple[NeuronId, bytes | None]]
"""Neurons with the activation records that the database keeps of them."""

_PACKED_TOGETHER = 25
"""Neurons: enough that numpy's calls cost little, and few enough that their numbers stay in the processor's cache."""


class Ingester:
    """Ingests neurons of one source. It remembers excerpts from neuron to neuron."""

    def __init__(self, source: Source, kinds: Sequence[DataKind]) -> None:
        self._reader = Reader(source, kinds)

    def ingest(self, neuron_id: NeuronId, stored: bytes | None = None) -> PackedNeuron:
        """Return a neuron's files as the database keeps them; a broken file is named and left out.

        `stored` are the neuron's activation records in the database: they tell which simulated excerpts are top ones
        where this source has no activations.
        """
        return self.ingest_chunk([(neuron_id, stored)])[0]

    def ingest_chunk(self, chunk: Chunk) -> list[PackedNeuron]:
        """Return what `ingest` does, for many neurons."""
        neurons = []
        for start in range(0, len(chunk), _PACKED_TOGETHER):
            drafts = [self._reader.read(*item) for item in chunk[start : start + _PACKED_TOGETHER]]
            pack_chunk(drafts)
            neurons += [draft.neuron for draft in drafts]
        return neurons
