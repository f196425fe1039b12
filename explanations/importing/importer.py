"""Store the neurons of one model, batch by batch.

What is stored already in the same form is left alone, so that an import can be repeated, or taken up where it was
killed. Only imported rows are ever changed: explanations made on this site, flags and jobs stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from django.db import transaction
from django.db.models import Count

from explanations.importing.bulk_rows import analyse_tables, insert_excerpts
from explanations.importing.changes import Changes
from explanations.importing.rows import Counts, NewExplanations, NewNeurons
from explanations.importing.stored import StoredNeuron, read_stored
from explanations.models import Neuron, SubjectModel
from explanations.pipeline.card import Origin
from explanations.pipeline.ingest import PackedNeuron
from explanations.pipeline.records import NeuronId
from explanations.statistics import read_statistics, refresh_statistics

_REMEMBERED_EXCERPTS = 1_000_000
"""Beyond that they are forgotten, and looked up again: excerpts that never recur would fill the memory."""
_WORTH_ANALYSING = 1_000
"""New neurons, after which PostgreSQL's planner should not wait for its own time to look at the tables."""


class Importer:
    """Stores neurons of one model. It remembers which excerpts it has stored, and counts what it does."""

    def __init__(self, model: SubjectModel, origins: Sequence[Origin] | None) -> None:
        """`origins` say where explanations come from, by position; None keeps what is stored already."""
        self.model = model
        self.counts: Counts = Counts()
        self._changed_layers: set[int] = set()
        self._origins = origins
        self._known_excerpts: set[int] = set()

    def store(self, neurons: Iterable[PackedNeuron]) -> None:
        """Store these neurons, all or none of them."""
        present = [neuron for neuron in neurons if not neuron.is_empty]
        counts: Counts = Counts()
        with transaction.atomic():
            # One import of a model at a time: what this one reads stays true until it has written.
            SubjectModel.objects.select_for_update(no_key=True).only("pk").get(pk=self.model.pk)
            excerpts = self._add_excerpts(present, counts)
            stored = read_stored(self.model.pk, [neuron.neuron_id for neuron in present])
            self._store_neurons(present, stored, counts)
        # Only now: the transaction may have failed.
        if len(self._known_excerpts) > _REMEMBERED_EXCERPTS:
            self._known_excerpts = set()
        self._known_excerpts |= excerpts
        self._changed_layers |= {n.neuron_id.layer for n in present if n.neuron_id not in stored}
        self.counts.update(counts)

    def _add_excerpts(self, neurons: Iterable[PackedNeuron], counts: Counts) -> set[int]:
        """Insert excerpts that are not there yet; return the keys of all that were looked at."""
        found = {key: tokens for neuron in neurons for key, tokens in neuron.excerpts.items()}
        fresh = found.keys() - self._known_excerpts
        new = insert_excerpts(self.model.pk, {key: found[key] for key in fresh})
        counts["excerpts", "new"] += new
        counts["excerpts", "unchanged"] += len(fresh) - new
        return fresh

    def _store_neurons(
        self, neurons: Sequence[PackedNeuron], stored: dict[NeuronId, StoredNeuron], counts: Counts
    ) -> None:
        added = [neuron for neuron in neurons if neuron.neuron_id not in stored]
        count = sum(_new_explanations(n, stored) for n in neurons)
        explanations = NewExplanations(self.model.pk, self._origins or (), count)
        new = NewNeurons(self.model.pk, explanations, len(added))
        changes = Changes(self._origins, explanations, counts)
        for neuron in neurons:
            if neuron.neuron_id in stored:
                changes.compare(neuron, stored[neuron.neuron_id])
            else:
                new.add(neuron)
        new.write(counts)
        changes.write()
        explanations.write(counts)
        changes.refresh_headlines()

    def finish(self) -> None:
        """Bring the model's statistics up to date with all that is stored, by this run or one that was killed."""
        self.model.refresh_from_db()
        layers = self._changed_layers | _outdated_layers(self.model)
        if layers:
            refresh_statistics(self.model.pk, layers)
        if self.counts["neurons", "new"] >= _WORTH_ANALYSING:
            analyse_tables()


def _new_explanations(neuron: PackedNeuron, stored: dict[NeuronId, StoredNeuron]) -> int:
    """Return how many of a neuron's explanations are to be inserted."""
    present: Collection[int] = stored[neuron.neuron_id].explanations if neuron.neuron_id in stored else ()
    given = enumerate(neuron.explanations or ())
    return sum(item is not None and position not in present for position, item in given)


def _outdated_layers(model: SubjectModel) -> set[int]:
    """Return the layers whose statistics count other neurons than there are. One query."""
    known = {number: layer.neurons for number, layer in read_statistics(model).layers.items()}
    counted = Neuron.objects.filter(model=model).values_list("layer").annotate(Count("pk")).order_by()
    actual = dict(counted)
    return {layer for layer in known.keys() | actual.keys() if known.get(layer) != actual.get(layer)}
