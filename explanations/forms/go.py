"""The form that jumps to a neuron by its layer and number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django import forms

from explanations.forms.page_form import PageForm
from explanations.models import SubjectModel
from explanations.pipeline.records import NeuronId

_PLACE = re.compile(r"L?\s*(\d{1,9})\s*[:/_,. N-]\s*N?\s*(\d{1,9})", re.IGNORECASE | re.ASCII)


def parse_place(text: str) -> NeuronId | None:
    """Return the neuron that 12:340, 12/340, 12 340, 12_340 or L12N340 names; None for anything else."""
    match = _PLACE.fullmatch(text.strip())
    return NeuronId(int(match[1]), int(match[2])) if match else None


class GoForm(PageForm):
    """A model and a place in it. Valid only where the model has such a neuron, imported or not."""

    model = forms.CharField(required=False, max_length=60, error_messages={"max_length": "There is no such model."})
    neuron = forms.CharField(
        max_length=60,
        error_messages={
            "required": "Write a layer and a neuron, such as 12:340.",
            "max_length": "That is too long for a layer and a neuron. Write them like 12:340.",
        },
    )

    target: SubjectModel
    """the model, once the form is valid"""
    place: NeuronId
    """the neuron, once the form is valid"""

    def __init__(self, data: Any, models: Sequence[SubjectModel]) -> None:
        super().__init__(data)
        self._models = {model.slug: model for model in models}

    def clean_model(self) -> str:
        slug: str = self.cleaned_data["model"]
        if not slug and len(self._models) == 1:
            slug = next(iter(self._models))
        if not slug:
            raise forms.ValidationError("Choose a model.")
        if slug not in self._models:
            raise forms.ValidationError(f"There is no model “{slug}” here.")
        self.target = self._models[slug]
        return slug

    def clean_neuron(self) -> str:
        text: str = self.cleaned_data["neuron"]
        place = parse_place(text)
        if place is None:
            raise forms.ValidationError(f"“{text}” is not a layer and a neuron. Write them like 12:340.")
        self.place = place
        return text

    def clean(self) -> None:
        if self.errors or self.target.holds(self.place):
            return
        self.add_error(
            "neuron",
            f"{self.target.name} has no neuron {self.place.layer}:{self.place.index}. Its layers are 0 to "
            f"{self.target.layers - 1:,}, the neurons of each 0 to {self.target.neurons_per_layer - 1:,}.",
        )

    @property
    def problem(self) -> str:
        """What is wrong, in sentences; nothing for a form that is valid or was not filled in."""
        return " ".join(str(message) for messages in self.errors.values() for message in messages)

    @property
    def address(self) -> str:
        """The neuron's page, once the form is valid."""
        return self.target.neuron_url(self.place.layer, self.place.index)
