"""A dataset's card: what the public format cannot tell. One JSON object; docs/importing.md explains each field."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

Count: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Place: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Name: TypeAlias = Annotated[str, Meta(max_length=200)]
ShortName: TypeAlias = Annotated[str, Meta(max_length=120)]


class CardError(ValueError):
    """A card that cannot be taken, with the reason in words."""


class Highlight(Struct, forbid_unknown_fields=True, frozen=True):
    """An interesting neuron."""

    layer: Place
    neuron: Place
    label: Annotated[str, Meta(min_length=1, max_length=200)]


class Origin(Struct, forbid_unknown_fields=True, frozen=True):
    """Where the explanations at one place of the files come from; empty where nobody says."""

    source: Literal["published", "model", "human", "baseline"] = "published"
    explainer: ShortName = ""
    simulator: ShortName = ""
    method: Annotated[str, Meta(max_length=60)] = ""


class Card(Struct, forbid_unknown_fields=True, frozen=True):
    """All fields may be left out."""

    name: Name = ""
    layers: Annotated[int, Meta(ge=1, le=32767)] | None = None
    neurons_per_layer: Count | None = None
    tokenizer: Name = ""
    description: str = ""
    source: str = ""
    license: str = ""
    is_synthetic: bool = False
    is_gated: bool = False
    """the MLPs have a gate, whose weights stand for the incoming ones (c_fc) wherever weights are spoken of"""
    highlights: tuple[Highlight, ...] = ()
    explanations: tuple[Origin, ...] | None = None
    """by their place in a neuron's file; None: the card does not say"""


def decode_card(data: bytes) -> Card:
    """Return the card in a file. CardError where it has unknown fields, wrong types, or neurons beyond its shape."""
    try:
        card = msgspec.json.decode(data, type=Card)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CardError(str(error).removeprefix("JSON is malformed: ")) from None
    if b"\\u0000" in data:
        raise CardError("a text holds a NUL character, which databases refuse")
    for highlight in card.highlights:
        if _is_beyond(highlight.layer, card.layers) or _is_beyond(highlight.neuron, card.neurons_per_layer):
            raise CardError(f"it highlights neuron {highlight.layer}:{highlight.neuron}, which the model does not have")
    return card


def _is_beyond(number: int, count: int | None) -> bool:
    return count is not None and number >= count
