"""How much of a model is there, and what is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from django.db.models import Count

from explanations.import_commands import import_command
from explanations.importing.wanted import read_stored_kinds
from explanations.models import (
    ActivationSet,
    Excerpt,
    Explanation,
    Flag,
    Job,
    LayerGaps,
    Neuron,
    RelatedSet,
    Simulation,
    SubjectModel,
)
from explanations.pipeline.layout import DataKind
from explanations.pipeline.number_ranges import spread


@dataclass(frozen=True)
class ModelCounts:
    """What the database holds of one model. All are exact."""

    model: str
    name: str
    layers: int
    neurons_per_layer: int
    neurons_by_layer: dict[int, int]
    """imported neurons; layers without any are left out"""
    with_activations: int
    with_related: int
    explanations: dict[str, dict[str, int]]
    """by source, by state"""
    simulations: dict[str, int]
    """by simulator; an empty name where nobody says"""
    excerpts: int
    flags: dict[str, int]
    """by state"""
    jobs: dict[str, int]
    """by state"""
    gaps: dict[str, dict[int, int]]
    """files that a source did not have and that came from no other, by kind and layer"""
    missing_layers: list[int]
    import_command: str
    """what imports the missing layers; empty where none is missing"""

    @property
    def neurons(self) -> int:
        return sum(self.neurons_by_layer.values())


def count_model(model: SubjectModel) -> ModelCounts:
    """Count all of it; some ten queries, each of which reads an index or a narrow table."""
    of_model = Neuron.objects.filter(model=model)
    by_layer = dict(of_model.values_list("layer").annotate(Count("pk")).order_by("layer"))
    missing = [layer for layer in range(model.layers) if layer not in by_layer]
    return ModelCounts(
        model=model.slug,
        name=model.name,
        layers=model.layers,
        neurons_per_layer=model.neurons_per_layer,
        neurons_by_layer=by_layer,
        with_activations=ActivationSet.objects.filter(neuron__model=model).count(),
        with_related=RelatedSet.objects.filter(neuron__model=model).count(),
        explanations=_count_explanations(model),
        simulations=dict(
            Simulation.objects.filter(explanation__neuron__model=model)
            .values_list("simulator")
            .annotate(Count("pk"))
            .order_by("simulator")
        ),
        excerpts=Excerpt.objects.filter(model=model).count(),
        flags=dict(
            Flag.objects.filter(explanation__neuron__model=model)
            .values_list("state")
            .annotate(Count("pk"))
            .order_by("state")
        ),
        jobs=dict(Job.objects.filter(neuron__model=model).values_list("state").annotate(Count("pk")).order_by("state")),
        gaps=_count_gaps(model),
        missing_layers=missing,
        import_command=import_command(model, missing) if missing else "",
    )


def _count_explanations(model: SubjectModel) -> dict[str, dict[str, int]]:
    rows = Explanation.objects.filter(neuron__model=model).values_list("source", "state").annotate(Count("pk"))
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for source, state, count in rows.order_by("source", "state"):
        counts[source][state] = count
    return dict(counts)


def _count_gaps(model: SubjectModel) -> dict[str, dict[int, int]]:
    """Return the gaps that are left. Some queries for each layer that has one."""
    known: defaultdict[int, defaultdict[DataKind, set[int]]] = defaultdict(lambda: defaultdict(set))
    for gap in LayerGaps.objects.filter(model=model):
        known[gap.layer][DataKind(gap.kind)] |= set(spread(gap.ranges))
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for layer, kinds in sorted(known.items()):
        stored = read_stored_kinds(model.pk, layer, list(kinds))
        for kind, neurons in kinds.items():
            if left := len(neurons - stored[kind]):
                counts[kind.value][layer] = left
    return {kind: dict(layers) for kind, layers in sorted(counts.items())}
