"""Files that a source does not have, so that they are not asked for again and again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from explanations.models import LayerGaps, SubjectModel
from explanations.pipeline.layout import DataKind
from explanations.pipeline.number_ranges import gather, spread
from explanations.pipeline.records import NeuronId

Files = Iterable[tuple[NeuronId, DataKind]]


class Gaps:
    """What one source lacks of a model, as the database knows it.

    Reads it all at once, when it is first asked: few layers have gaps.
    """

    def __init__(self, model: SubjectModel, source: str) -> None:
        """`source` is the source's address; empty for a folder."""
        self._model = model
        self._source = source

    @cached_property
    def _known(self) -> dict[tuple[int, DataKind], set[int]]:
        rows = LayerGaps.objects.filter(model=self._model, source=self._source)
        return {(row.layer, DataKind(row.kind)): set(spread(row.ranges)) for row in rows}

    def of(self, layer: int, kind: DataKind) -> set[int]:
        """Return the neurons of a layer whose files of this kind are known to be missing."""
        return self._known.get((layer, kind), set())

    def record(self, *, missing: Files, found: Files) -> None:
        """Note what was asked for and is not there, and what is there after all. A query for each layer and kind.

        `found` is not read where no gap is known or new, as in nearly every batch.
        """
        absent = _by_layer(missing)
        if not absent and not self._known:
            return
        present = _by_layer(found)
        for place in absent.keys() | present.keys():
            before = self._known.get(place, set())
            now = (before | absent[place]) - present[place]
            if now != before:
                self._write(place, now)

    def _write(self, place: tuple[int, DataKind], neurons: set[int]) -> None:
        layer, kind = place
        self._known[place] = neurons
        key: dict[str, Any] = {"model": self._model, "source": self._source, "layer": layer, "kind": kind.value}
        if neurons:
            LayerGaps.objects.update_or_create(**key, defaults={"ranges": gather(neurons)})
        else:
            LayerGaps.objects.filter(**key).delete()


def _by_layer(files: Files) -> defaultdict[tuple[int, DataKind], set[int]]:
    found: defaultdict[tuple[int, DataKind], set[int]] = defaultdict(set)
    for neuron_id, kind in files:
        found[neuron_id.layer, kind].add(neuron_id.index)
    return found
