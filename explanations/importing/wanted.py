"""Which files an import from the web has still to fetch: the database is the record of what has come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from explanations.importing.gaps import Gaps
from explanations.models import ActivationSet, Explanation, RelatedSet, SubjectModel
from explanations.pipeline import packing
from explanations.pipeline.layout import ALL_KINDS, DataKind
from explanations.pipeline.records import NeuronId
from explanations.pipeline.remote.spool import Wanted

_BIT = {kind: 1 << place for place, kind in enumerate(ALL_KINDS)}
_RELATED = {
    DataKind.TOKENS_BY_ACTIVATION: "tokens_by_activation",
    DataKind.TOKENS_BY_WEIGHT: "tokens_by_weight",
    DataKind.RELATED_NEURONS: "neurons",
}
_BATCH = 500


@dataclass
class FetchPlan:
    """The files to fetch, a byte a neuron: 307,200 neurons are planned in as many bytes."""

    layers: dict[int, bytearray] = field(default_factory=dict)
    """by layer, the kinds to fetch of each neuron, as bits"""
    stored: int = 0
    """files that were chosen but are stored"""
    known_gaps: int = 0
    """files that were chosen but are known to be missing"""

    @property
    def neurons(self) -> int:
        return sum(len(bits) - bits.count(0) for bits in self.layers.values())

    @property
    def files(self) -> int:
        return sum(value.bit_count() * bits.count(value) for bits in self.layers.values() for value in set(bits))

    def batches(self, size: int) -> Iterator[list[Wanted]]:
        """Yield the neurons with something to fetch, in order."""
        batch: list[Wanted] = []
        for layer, bits in self.layers.items():
            for index, value in enumerate(bits):
                if value:
                    batch.append(Wanted(NeuronId(layer, index), _kinds(value)))
                    if len(batch) == size:
                        yield batch
                        batch = []
        if batch:
            yield batch


@cache
def _kinds(bits: int) -> tuple[DataKind, ...]:
    return tuple(kind for kind in ALL_KINDS if bits & _BIT[kind])


def plan_fetch(
    model: SubjectModel,
    places: Mapping[int, Sequence[int]],
    kinds: Iterable[DataKind],
    gaps: Gaps | None,
    *,
    refetch: bool = False,
) -> FetchPlan:
    """Return what to fetch of the neurons at `places` (by layer): without what is stored, unless `refetch`, and without
    the gaps that are known, unless they are None.

    At most three queries a layer.
    """
    plan, kinds = FetchPlan(), tuple(kinds)
    for layer, indexes in places.items():
        stored = {} if refetch else read_stored_kinds(model.pk, layer, kinds)
        bits = bytearray(max(indexes, default=-1) + 1)
        for kind in kinds:
            kept, missing = stored.get(kind, set()), gaps.of(layer, kind) if gaps else set()
            for index in indexes:
                if index in kept:
                    plan.stored += 1
                elif index in missing:
                    plan.known_gaps += 1
                else:
                    bits[index] |= _BIT[kind]
        plan.layers[layer] = bits
    return plan


def read_stored_kinds(model_id: int, layer: int, kinds: Sequence[DataKind]) -> dict[DataKind, set[int]]:
    """Return the neurons of a layer that have what a file of each kind brings."""
    stored: dict[DataKind, set[int]] = {kind: set() for kind in kinds}
    if DataKind.ACTIVATIONS in stored:
        rows = ActivationSet.objects.filter(neuron__model_id=model_id, neuron__layer=layer)
        stored[DataKind.ACTIVATIONS] = set(rows.values_list("neuron__index", flat=True))
    if DataKind.EXPLANATIONS in stored:
        imported = Explanation.objects.filter(
            neuron__model_id=model_id, neuron__layer=layer, dataset_position__isnull=False
        )
        stored[DataKind.EXPLANATIONS] = set(imported.values_list("neuron__index", flat=True))
    if related := [kind for kind in _RELATED if kind in stored]:
        sets = RelatedSet.objects.filter(neuron__model_id=model_id, neuron__layer=layer)
        for index, data in sets.values_list("neuron__index", "data").iterator(_BATCH):
            parts = packing.unpack_related(data)
            for kind in related:
                if getattr(parts, _RELATED[kind]) is not None:
                    stored[kind].add(index)
    return stored
