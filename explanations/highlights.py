"""A model's interesting neurons: a list of places and labels, joined with what is known of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from explanations.models import Neuron, SubjectModel
from explanations.pipeline.records import NeuronId

MAX_HIGHLIGHTS = 60
"""Shown of one model: the list is for the eye, and one query fetches them all."""


@dataclass(frozen=True)
class Highlight:
    """A neuron worth a look."""

    model: SubjectModel
    neuron_id: NeuronId
    label: str
    neuron: Neuron | None
    """None where it has not been imported"""

    @property
    def address(self) -> str:
        return self.model.neuron_url(self.neuron_id.layer, self.neuron_id.index)


def read_highlights(models: Iterable[SubjectModel]) -> dict[int, list[Highlight]]:
    """Return the models' interesting neurons by model id, in the order of their lists. One query for all of them."""
    listed = {model: list_highlights(model) for model in models}
    places = {model.pk: [neuron_id for neuron_id, _ in entries] for model, entries in listed.items()}
    rows = Neuron.objects.at_places(places).only(
        "model", "layer", "index", "headline_text", "headline_score", "headline_simulator"
    )
    found = {(row.model_id, row.neuron_id): row for row in rows}
    return {
        model.pk: [Highlight(model, neuron_id, label, found.get((model.pk, neuron_id))) for neuron_id, label in entries]
        for model, entries in listed.items()
    }


def list_highlights(model: SubjectModel) -> list[tuple[NeuronId, str]]:
    """Return (place, label) of the model's listed neurons; entries that name no neuron of the model are left out."""
    entries = []
    for entry in model.highlights if isinstance(model.highlights, list) else []:
        if not isinstance(entry, dict):
            continue
        layer, index = entry.get("layer"), entry.get("neuron")
        if type(layer) is int and type(index) is int and model.holds(NeuronId(layer, index)):
            entries.append((NeuronId(layer, index), str(entry.get("label", ""))))
    return entries[:MAX_HIGHLIGHTS]
