"""Stored neurons that are imported again: only what differs is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from msgspec import structs

from explanations import store
from explanations.importing.bulk_rows import Row, insert_rows
from explanations.importing.rows import (
    EXPLANATION_FIELDS,
    NEURON_FIELDS,
    SIMULATION_FIELDS,
    Counts,
    NewExplanations,
    explanation_values,
    neuron_values,
    origin_at,
    simulation_values,
)
from explanations.importing.stored import StoredExplanation, StoredNeuron
from explanations.models import ActivationSet, Explanation, Neuron, RelatedSet, Simulation
from explanations.pipeline import packing
from explanations.pipeline.card import Origin
from explanations.pipeline.ingest import PackedActivations, PackedExplanation, PackedNeuron, PackedSimulation

BATCH = 100


class Changes:
    """Differences between neurons' files and their rows, gathered and then written together."""

    def __init__(self, origins: Sequence[Origin] | None, new: NewExplanations, counts: Counts) -> None:
        self._origins = origins
        self._new = new
        self._counts = counts
        self._neurons: list[Neuron] = []
        self._new_activations: list[Row] = []
        self._activations: list[ActivationSet] = []
        self._replaced: dict[int, tuple[bytes, bytes]] = {}
        self._new_related: list[Row] = []
        self._related: list[RelatedSet] = []
        self._explanations: list[Explanation] = []
        self._retired: list[int] = []
        self._simulations: list[Simulation] = []
        self._confirmed: set[int] = set()
        self._headlines: set[int] = set()

    def compare(self, neuron: PackedNeuron, stored: StoredNeuron) -> None:
        """Note what of a neuron's files differs from its rows. What was not read is not touched."""
        changed = neuron.activations is not None and self._compare_activations(neuron.activations, stored)
        changed |= neuron.related is not None and self._compare_related(neuron.related, stored)
        self._count("neurons", changed)
        if neuron.explanations is not None:
            self._compare_explanations(neuron.explanations, stored, neuron.neuron_id.layer)

    def _count(self, what: str, changed: bool) -> None:
        self._counts[what, "updated" if changed else "unchanged"] += 1

    def _compare_activations(self, given: PackedActivations, stored: StoredNeuron) -> bool:
        values = neuron_values(given)
        if values != stored.values:
            self._neurons.append(Neuron(pk=stored.pk, **dict(zip(NEURON_FIELDS, values, strict=True))))
        if given.data is None:
            return values != stored.values
        if stored.activations is None:
            self._new_activations.append((stored.pk, given.data))
        elif given.data != stored.activations:
            self._activations.append(ActivationSet(pk=stored.pk, data=given.data))
            self._replaced[stored.pk] = (stored.activations, given.data)
        return values != stored.values or given.data != stored.activations

    def _compare_related(self, given: bytes, stored: StoredNeuron) -> bool:
        if stored.related is None:
            self._new_related.append((stored.pk, given))
            return True
        merged = packing.merge_related(stored.related, given)
        if merged != stored.related:
            self._related.append(RelatedSet(pk=stored.pk, data=merged))
        return merged != stored.related

    def _compare_explanations(
        self, given: Sequence[PackedExplanation | None], stored: StoredNeuron, layer: int
    ) -> None:
        present = {position: item for position, item in enumerate(given) if item is not None}
        for position, item in present.items():
            old = stored.explanations.get(position)
            if old is None:
                self._new.add(stored.pk, layer, position, item)
                self._headlines.add(stored.pk)
            elif self._compare_explanation(stored.pk, item, old, self._origin(position, old)):
                self._headlines.add(stored.pk)
        gone = [e for position, e in stored.explanations.items() if position not in present]
        for old in gone:
            # Kept, since people may have flagged or bettered it.
            if old.state == Explanation.State.CURRENT:
                self._retired.append(old.pk)
                self._headlines.add(stored.pk)

    def _origin(self, position: int, old: StoredExplanation) -> Origin:
        """Return where an explanation comes from: what the card says; without a card, what is stored."""
        if self._origins is not None:
            return origin_at(self._origins, position)
        _, source, explainer = old.values
        simulator, method = old.simulations[0][1][:2] if old.simulations else ("", "")
        return Origin(source, explainer, simulator, method)

    def _compare_explanation(
        self, neuron_id: int, given: PackedExplanation, old: StoredExplanation, origin: Origin
    ) -> bool:
        values = explanation_values(given, origin)
        score, simulator = old.score, old.simulator
        if given.simulation is not None:
            if self._compare_simulation(given.simulation, old, origin):
                self._headlines.add(neuron_id)
            # Where others were made on this site, refreshing the headline chooses whose score is shown.
            if len(old.simulations) <= 1:
                score, simulator = given.simulation.scores.ev_correlation, origin.simulator
        changed = (values, score, simulator) != (old.values, old.score, old.simulator)
        if changed:
            fields = dict(zip(EXPLANATION_FIELDS, values, strict=True))
            self._explanations.append(Explanation(pk=old.pk, score=score, simulator=simulator, **fields))
        self._count("explanations", changed)
        return changed

    def _compare_simulation(self, given: PackedSimulation, old: StoredExplanation, origin: Origin) -> bool:
        """Note what of the imported simulation differs; return whether anything does."""
        if not old.simulations:
            self._new.add_simulation(old.pk, given, origin)
            return True
        pk, stored_values = old.simulations[0]
        self._confirmed.add(pk)
        values = simulation_values(given, origin)
        if values != stored_values:
            self._simulations.append(Simulation(pk=pk, **dict(zip(SIMULATION_FIELDS, values, strict=True))))
        self._count("simulations", values != stored_values)
        return values != stored_values

    def write(self) -> None:
        """Write the differences."""
        _keep_real_values(self._replaced, self._confirmed)
        Neuron.objects.bulk_update(self._neurons, NEURON_FIELDS, batch_size=BATCH)
        insert_rows(ActivationSet, ("neuron_id", "data"), self._new_activations)
        ActivationSet.objects.bulk_update(self._activations, ["data"], batch_size=BATCH)
        insert_rows(RelatedSet, ("neuron_id", "data"), self._new_related)
        RelatedSet.objects.bulk_update(self._related, ["data"], batch_size=BATCH)
        changed = (*EXPLANATION_FIELDS, "score", "simulator")
        Explanation.objects.bulk_update(self._explanations, changed, batch_size=BATCH)
        Explanation.objects.filter(pk__in=self._retired).update(state=Explanation.State.RETIRED)
        self._counts["explanations", "retired"] += len(self._retired)
        Simulation.objects.bulk_update(self._simulations, SIMULATION_FIELDS, batch_size=BATCH)

    def refresh_headlines(self) -> None:
        """Bring the headlines of the neurons concerned up to date, once all rows are written."""
        if self._headlines:
            store.refresh_headlines(sorted(self._headlines))


def _keep_real_values(replaced: dict[int, tuple[bytes, bytes]], confirmed: set[int]) -> None:
    """Let simulations keep the real values they were scored against, where the neuron's records are replaced.

    A simulation borrows real values that equal the neuron's records; it gets its own before those change. Those that
    this import has `confirmed` were packed against the new records.
    """
    if not replaced:
        return
    records = {pk: [_values_by_key(data) for data in pair] for pk, pair in replaced.items()}
    rows = Simulation.objects.filter(explanation__neuron__in=list(replaced)).exclude(pk__in=confirmed)
    kept = []
    for pk, neuron, data in rows.values_list("pk", "explanation__neuron", "data"):
        packed = _with_own_values(bytes(data), *records[neuron])
        if packed != bytes(data):
            kept.append(Simulation(pk=pk, data=packed))
    Simulation.objects.bulk_update(kept, ["data"], batch_size=BATCH)


def _values_by_key(data: bytes) -> dict[int, packing.Doubles]:
    return {record.key: cast(packing.Doubles, record.activations) for record in packing.unpack_records(data)[0]}


def _with_own_values(data: bytes, old: dict[int, packing.Doubles], new: dict[int, packing.Doubles]) -> bytes:
    """Return a packed simulation with its own real values wherever `new` would change them."""
    sequences = packing.unpack_sequences(data)
    return packing.pack_sequences(
        [
            s
            if s.real is not None or (s.key in new and np.array_equal(old[s.key], new[s.key]))
            # The kept numbers, kept once more: nothing is lost.
            else structs.replace(s, real=old[s.key])
            for s in sequences
        ]
    )
