"""The subject model that an import fills: made where it is new, its shape and card kept up to date where it is not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction

from explanations.models import SubjectModel
from explanations.pipeline.card import Card
from explanations.pipeline.records import NeuronId

MAX_LAYERS = 32767
MAX_NEURONS = 2**31 - 1


class ImportRefusedError(ValueError):
    """An import that cannot start, with the reason in words."""


@transaction.atomic
def prepare_model(
    slug: str, *, neurons: Collection[NeuronId], card: Card | None, name: str = "", neurons_per_layer: int | None = None
) -> tuple[SubjectModel, bool]:
    """Return the model that is called `slug`, and whether it is new.

    Its shape is what is given; where nothing is given it is what `neurons`, those of the source, need. It never
    shrinks. ImportRefusedError where what is given does not fit.
    """
    model = SubjectModel.objects.select_for_update().filter(slug=slug).first()
    is_new = model is None
    if model is None:
        model = SubjectModel(slug=slug, name=name or slug, layers=1, neurons_per_layer=1)
    before = None if is_new else _values(model)
    _apply_card(model, card or Card(), has_card=card is not None)
    model.name = name or model.name
    _apply_shape(model, neurons, card or Card(), neurons_per_layer, is_new=is_new)
    _check(model)
    if _values(model) != before:
        model.save()
    return model, is_new


def _values(model: SubjectModel) -> dict[str, Any]:
    return {field.attname: getattr(model, field.attname) for field in model._meta.concrete_fields}


def _apply_card(model: SubjectModel, card: Card, has_card: bool) -> None:
    for name in ("name", "tokenizer", "description", "source", "license"):
        setattr(model, name, getattr(card, name) or getattr(model, name))
    if has_card:
        model.is_synthetic = card.is_synthetic
        model.is_gated = card.is_gated
        model.highlights = msgspec.to_builtins(card.highlights)


def _apply_shape(
    model: SubjectModel, neurons: Collection[NeuronId], card: Card, neurons_per_layer: int | None, *, is_new: bool
) -> None:
    if neurons_per_layer and card.neurons_per_layer and neurons_per_layer != card.neurons_per_layer:
        raise ImportRefusedError(
            f"--neurons-per-layer says {neurons_per_layer} neurons a layer, the card {card.neurons_per_layer}"
        )
    layers = max((n.layer for n in neurons), default=0) + 1
    indexes = max((n.index for n in neurons), default=0) + 1
    given = neurons_per_layer or card.neurons_per_layer
    model.layers = _size("layers", card.layers, needed=layers, stored=0 if is_new else model.layers, most=MAX_LAYERS)
    model.neurons_per_layer = _size(
        "neurons a layer", given, needed=indexes, stored=0 if is_new else model.neurons_per_layer, most=MAX_NEURONS
    )


def _size(what: str, given: int | None, *, needed: int, stored: int, most: int) -> int:
    """Return the new number of `what`, at least what is stored."""
    if needed > most:
        raise ImportRefusedError(f"the source's files are named for {needed:,} {what}; a model has at most {most:,}")
    if given is not None and given < needed:
        raise ImportRefusedError(f"the source has files for {needed:,} {what}, more than the {given:,} that are given")
    if given is not None and given < stored:
        raise ImportRefusedError(f"the model has {stored:,} {what} already, more than the {given:,} that are given")
    return max(given or needed, stored)


def _check(model: SubjectModel) -> None:
    for highlight in model.highlights:
        if not model.holds(NeuronId(highlight["layer"], highlight["neuron"])):
            raise ImportRefusedError(
                f"the card highlights neuron {highlight['layer']}:{highlight['neuron']}, which the model does not have"
            )
    try:
        model.full_clean(validate_unique=model.pk is None)
    except ValidationError as error:
        reasons = [f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items()]
        raise ImportRefusedError(f"the model cannot be called so. {' '.join(reasons)}") from None
