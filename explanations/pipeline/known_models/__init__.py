"""Models whose public data is known by name: where it lies, its shape (no listing tells it), and its card."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec
from msgspec import Struct

from explanations.pipeline.card import Card
from explanations.pipeline.layout import DataKind


class KnownModel(Struct, forbid_unknown_fields=True, frozen=True):
    """A model of the public dataset; a file in this folder, named by the model's slug, holds each."""

    address: str
    """the public dataset's base address"""
    prefix: str
    """the folder below it that holds this model's files"""
    kinds: tuple[DataKind, ...]
    """the kinds of files that were published"""
    card: Card

    @property
    def layers(self) -> int:
        assert self.card.layers is not None
        return self.card.layers

    @property
    def neurons_per_layer(self) -> int:
        assert self.card.neurons_per_layer is not None
        return self.card.neurons_per_layer


@cache
def known_models() -> Mapping[str, KnownModel]:
    """Return the known models by slug, the largest first."""
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".json")]
    models = {
        file.name.removesuffix(".json"): msgspec.json.decode(file.read_bytes(), type=KnownModel) for file in files
    }
    return dict(sorted(models.items(), key=lambda item: -item[1].layers * item[1].neurons_per_layer))


def describe_known_models() -> str:
    """Return the known models in one sentence, for a command's help."""
    listed = [
        f"{slug} ({model.layers} layers of {model.neurons_per_layer:,} neurons)"
        for slug, model in known_models().items()
    ]
    return ", ".join(listed)
