"""Where the files of a public dataset lie.

Three layouts hold the same files: `data/...` (GPT-2 XL), `gpt2_small_data/...` (GPT-2 small), and a plain folder.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from explanations.pipeline.records import NeuronId

PREFIXES = ("", "data/", "gpt2_small_data/")


class DataKind(enum.StrEnum):
    """One of the five files that a neuron may have. The values are the words of the commands' `--kinds`."""

    ACTIVATIONS = "activations"
    EXPLANATIONS = "explanations"
    RELATED_NEURONS = "related-neurons"
    TOKENS_BY_ACTIVATION = "related-tokens-by-activation"
    TOKENS_BY_WEIGHT = "related-tokens-by-weight"

    @property
    def folder(self) -> str:
        return _FOLDERS[self]

    @property
    def suffix(self) -> str:
        return ".jsonl" if self is DataKind.EXPLANATIONS else ".json"

    def path(self, neuron_id: NeuronId) -> str:
        """Return the path of a neuron's file below the dataset's folder."""
        return f"{self.folder}/{neuron_id.layer}/{neuron_id.index}{self.suffix}"


_FOLDERS = {
    DataKind.ACTIVATIONS: "collated-activations",
    DataKind.EXPLANATIONS: "explanations",
    DataKind.RELATED_NEURONS: "related-neurons/weight-based",
    DataKind.TOKENS_BY_ACTIVATION: "related-tokens/activation-based",
    DataKind.TOKENS_BY_WEIGHT: "related-tokens/weight-based",
}
ALL_KINDS = tuple(DataKind)
_AT_ONCE = 2**17
"""Bytes: nearly every file of the public dataset."""


class Source(Protocol):
    """Where an import reads from."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None where there is no such file. OSError where it cannot be read."""

    def neurons(self, kind: DataKind) -> Iterator[NeuronId]:
        """Yield the neurons that have a file of this kind, in any order."""


class NoDatasetError(ValueError):
    """A folder that holds no dataset, or more than one."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A dataset in a folder on this machine."""

    root: Path
    """the folder that holds `collated-activations`, `explanations` and so on"""

    @classmethod
    def open(cls, folder: Path) -> FolderSource:
        """Return the dataset in `folder`, in whichever of the three layouts it has."""
        if not folder.is_dir():
            raise NoDatasetError(f"{folder} is {'not a folder' if folder.exists() else 'not there'}")
        found = [prefix for prefix in PREFIXES if any((folder / prefix / f).is_dir() for f in _FOLDERS.values())]
        if not found:
            expected = ", ".join(_FOLDERS.values())
            raise NoDatasetError(f"{folder} holds no dataset: none of the folders {expected} (see docs/importing.md)")
        if len(found) > 1:
            choices = " or ".join(str(folder / prefix) for prefix in found if prefix)
            raise NoDatasetError(f"{folder} holds more than one dataset; name the one you mean: {choices}")
        return cls(folder / found[0])

    def read(self, path: str) -> bytes | None:
        try:
            return _read_file(f"{self.root}/{path}")
        except FileNotFoundError:
            return None

    def neurons(self, kind: DataKind) -> Iterator[NeuronId]:
        folder = self.root / kind.folder
        for layer in _numbered(folder, ""):
            for index in _numbered(folder / str(layer), kind.suffix):
                yield NeuronId(layer, index)


def _read_file(path: str) -> bytes:
    """Return a file's bytes, in three quarters of `open`'s time: an import reads more than a million small files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, _AT_ONCE):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _numbered(folder: Path, suffix: str) -> list[int]:
    """Return the numbers that name the folder's entries, whatever else lies there."""
    if not folder.is_dir():
        return []
    # As texts and not as Paths, which take three times as long: a dataset is more than a million files.
    names = [name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix)]  # noqa: PTH208
    return [int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name]
