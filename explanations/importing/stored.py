"""What the database keeps of imported neurons already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from django.db import connection
from django.db.models import Q

from explanations.importing.bulk_rows import Row
from explanations.importing.rows import EXPLANATION_FIELDS, NEURON_FIELDS, SIMULATION_FIELDS, plain_values
from explanations.models import ActivationSet, Explanation, Neuron, Simulation
from explanations.pipeline.records import NeuronId


@dataclass(slots=True)
class StoredExplanation:
    """An imported explanation, with its simulations by pk, oldest first. The oldest is the imported one."""

    pk: int
    values: Row
    """of EXPLANATION_FIELDS"""
    score: float | None
    simulator: str
    state: str
    simulations: list[tuple[int, Row]] = field(default_factory=list)
    """pk, values of SIMULATION_FIELDS"""


@dataclass(slots=True)
class StoredNeuron:
    """An imported neuron."""

    pk: int
    values: Row
    """of NEURON_FIELDS"""
    activations: bytes | None
    related: bytes | None
    explanations: dict[int, StoredExplanation] = field(default_factory=dict)
    """by position"""


def _are(neuron_ids: Iterable[NeuronId], prefix: str = "") -> Q:
    """Return the condition that a neuron is one of these."""
    by_layer: defaultdict[int, list[int]] = defaultdict(list)
    for neuron_id in neuron_ids:
        by_layer[neuron_id.layer].append(neuron_id.index)
    condition = Q(pk__in=[])
    for layer, indexes in by_layer.items():
        condition |= Q(**{f"{prefix}layer": layer, f"{prefix}index__in": indexes})
    return condition


def _bytes(data: bytes | memoryview | None) -> bytes | None:
    return None if data is None else bytes(data)


def _is_any_near(model_id: int, neuron_ids: Collection[NeuronId]) -> bool:
    """Return whether a neuron is stored from the first to the last of these.

    One query, in SQL: it spares the first import of a neuron others, which take ten times as long to write and to plan.
    """
    if not neuron_ids:
        return False
    first, last = min(neuron_ids), max(neuron_ids)
    quote = connection.ops.quote_name
    table, place = quote(Neuron._meta.db_table), f"(layer, {quote('index')})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT 1 FROM {table} WHERE model_id = %s"  # noqa: S608
            f" AND {place} >= (%s, %s) AND {place} <= (%s, %s))",
            [model_id, first.layer, first.index, last.layer, last.index],
        )
        return bool(cursor.fetchone()[0])


def read_activation_sets(model_id: int, neuron_ids: Collection[NeuronId]) -> dict[NeuronId, bytes]:
    """Return the packed activation records of those neurons that have some. At most two queries."""
    if not _is_any_near(model_id, neuron_ids):
        return {}
    rows = ActivationSet.objects.filter(_are(neuron_ids, "neuron__"), neuron__model_id=model_id)
    found = rows.values_list("neuron__layer", "neuron__index", "data")
    return {NeuronId(layer, index): bytes(data) for layer, index, data in found}


def read_stored(model_id: int, neuron_ids: Collection[NeuronId]) -> dict[NeuronId, StoredNeuron]:
    """Return those of these neurons that are stored. Four queries; one where none is."""
    if not _is_any_near(model_id, neuron_ids):
        return {}
    place = ("pk", "layer", "index", "activation_set__data", "related_set__data")
    rows = Neuron.objects.filter(_are(neuron_ids), model_id=model_id).values_list(*place, *NEURON_FIELDS)
    stored = {
        NeuronId(layer, index): StoredNeuron(pk, plain_values(values), _bytes(activations), _bytes(related))
        for pk, layer, index, activations, related, *values in rows
    }
    if stored:
        _read_explanations({neuron.pk: neuron for neuron in stored.values()})
    return stored


def _read_explanations(neurons: Mapping[int, StoredNeuron]) -> None:
    """Add to neurons, by pk, their imported explanations with their simulations. Two queries."""
    by_pk: dict[int, StoredExplanation] = {}
    imported = Explanation.objects.filter(neuron__in=list(neurons), dataset_position__isnull=False)
    place = ("pk", "neuron_id", "dataset_position", "score", "simulator", "state")
    for pk, neuron, position, score, simulator, state, *values in imported.values_list(*place, *EXPLANATION_FIELDS):
        by_pk[pk] = StoredExplanation(pk, tuple(values), score, simulator, state)
        neurons[neuron].explanations[position] = by_pk[pk]
    simulations = Simulation.objects.filter(explanation__in=list(by_pk)).order_by("pk")
    for pk, explanation, *values in simulations.values_list("pk", "explanation_id", *SIMULATION_FIELDS):
        by_pk[explanation].simulations.append((pk, plain_values(values)))
