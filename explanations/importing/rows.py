"""What an import keeps, as values of fields: for new rows, and to compare stored ones with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from explanations import store
from explanations.importing.bulk_rows import Row, insert_rows, reserve_ids
from explanations.models import ActivationSet, Explanation, Neuron, RelatedSet, Simulation
from explanations.pipeline.card import Origin
from explanations.pipeline.ingest import PackedActivations, PackedExplanation, PackedNeuron, PackedSimulation


class Counts(Counter[tuple[str, str]]):
    """How many of what became what: ("explanations", "new"): 12. Outcomes are new, updated, unchanged and retired."""


NEURON_FIELDS = ("mean", "variance", "skewness", "kurtosis", "max_activation", "peak")
EXPLANATION_FIELDS = ("text", "source", "explainer")
SIMULATION_FIELDS = (
    "simulator",
    "method",
    "scale",
    "excerpt_count",
    "data",
    "ev_correlation",
    "rsquared",
    "absolute_dev_explained",
    "top_only",
    "random_only",
)


def plain_values(values: Iterable[Any]) -> Row:
    """Return a row's values with bytes where the database's driver gives memory views."""
    return tuple(bytes(value) if isinstance(value, memoryview) else value for value in values)


def neuron_values(activations: PackedActivations | None) -> Row:
    """Return the values of `NEURON_FIELDS`."""
    if activations is None:
        return (None, None, None, None, None, b"")
    return (*activations.moments, activations.max_activation, activations.peak)


def simulation_values(simulation: PackedSimulation, origin: Origin) -> Row:
    """Return the values of `SIMULATION_FIELDS`."""
    scores = simulation.scores
    return (
        origin.simulator,
        origin.method,
        simulation.scale,
        simulation.excerpts,
        simulation.data,
        scores.ev_correlation,
        scores.rsquared,
        scores.absolute_dev_explained,
        simulation.top_only,
        simulation.random_only,
    )


def explanation_values(explanation: PackedExplanation, origin: Origin) -> Row:
    """Return the values of `EXPLANATION_FIELDS`."""
    return (store.storable_text(explanation.text), origin.source, origin.explainer)


def origin_at(origins: Sequence[Origin], position: int) -> Origin:
    """Return where the explanations at this position come from; published by nobody known where the card ends."""
    return origins[position] if position < len(origins) else Origin()


@dataclass(frozen=True, slots=True)
class _Headline:
    """A new explanation, as far as a headline is chosen and shown."""

    pk: int
    text: str
    source: str
    score: float | None
    simulator: str
    is_current: bool = True


class NewExplanations:
    """Explanations to insert, with their simulations."""

    def __init__(self, model_id: int, origins: Sequence[Origin], count: int) -> None:
        """Prepare for up to `count` explanations of a model."""
        self._model_id = model_id
        self._origins = origins
        self._ids = iter(reserve_ids(Explanation, count))
        self._explanations: list[Row] = []
        self._simulations: list[Row] = []

    def add(self, neuron_id: int, layer: int, position: int, given: PackedExplanation) -> _Headline:
        pk = next(self._ids)
        origin = origin_at(self._origins, position)
        values = explanation_values(given, origin)
        score = given.simulation.scores.ev_correlation if given.simulation else None
        simulator = origin.simulator if given.simulation else ""
        self._explanations.append((pk, neuron_id, self._model_id, layer, position, score, simulator, *values))
        if given.simulation:
            self.add_simulation(pk, given.simulation, origin)
        return _Headline(pk, values[0], origin.source, score, simulator)

    def add_simulation(self, explanation_id: int, given: PackedSimulation, origin: Origin) -> None:
        self._simulations.append((explanation_id, *simulation_values(given, origin)))

    def write(self, counts: Counts) -> None:
        place = ("id", "neuron_id", "model_id", "layer", "dataset_position", "score", "simulator")
        insert_rows(Explanation, (*place, *EXPLANATION_FIELDS), self._explanations)
        insert_rows(Simulation, ("explanation_id", *SIMULATION_FIELDS), self._simulations)
        counts["explanations", "new"] += len(self._explanations)
        counts["simulations", "new"] += len(self._simulations)


class NewNeurons:
    """Neurons to insert, with all that belongs to them."""

    def __init__(self, model_id: int, explanations: NewExplanations, count: int) -> None:
        self._model_id = model_id
        self._new_explanations = explanations
        self._ids = iter(reserve_ids(Neuron, count))
        self._neurons: list[Row] = []
        self._activations: list[Row] = []
        self._related: list[Row] = []

    def add(self, neuron: PackedNeuron) -> None:
        pk = next(self._ids)
        given = neuron.explanations or ()
        layer, new = neuron.neuron_id.layer, self._new_explanations
        explanations = [new.add(pk, layer, position, item) for position, item in enumerate(given) if item]
        headline = store.choose_headline(explanations)
        shown = (headline.pk, headline.text, headline.score, headline.simulator) if headline else (None, "", None, "")
        place = (pk, self._model_id, layer, neuron.neuron_id.index)
        self._neurons.append((*place, *neuron_values(neuron.activations), *shown, len(explanations)))
        if neuron.activations is not None and neuron.activations.data is not None:
            self._activations.append((pk, neuron.activations.data))
        if neuron.related is not None:
            self._related.append((pk, neuron.related))

    def write(self, counts: Counts) -> None:
        place = ("id", "model_id", "layer", "index")
        headline = ("headline_id", "headline_text", "headline_score", "headline_simulator")
        insert_rows(Neuron, (*place, *NEURON_FIELDS, *headline, "explanation_count"), self._neurons)
        insert_rows(ActivationSet, ("neuron_id", "data"), self._activations)
        insert_rows(RelatedSet, ("neuron_id", "data"), self._related)
        counts["neurons", "new"] += len(self._neurons)
