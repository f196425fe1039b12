"""What a collection has kept so far, and how it is written to disk so that an interrupted run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from explanations.pipeline.collecting.choosing import Places, draw_random
from explanations.pipeline.collecting.lists import Lists
from explanations.pipeline.collecting.moments import Moments, MomentTree
from explanations.pipeline.collecting.settings import Settings

DONE = "state.json"
"""written last: a state without it is not whole"""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a collection's arrays."""

    layers: tuple[int, ...]
    """the layers that are collected, by their place in the model"""
    neurons: int
    """in each layer"""
    excerpts: int
    positions: int
    tokens: int
    """those that have a mean activation of their own"""
    dtype: str
    """of activations: uint16 is bfloat16"""


@dataclass(slots=True)
class LayerState:
    """What is kept of one layer."""

    ranked: Lists
    """the highest of the excerpts by which quantile ranges are told"""
    rest: Lists
    """the highest of all others; of no places where there are none"""
    low: Lists
    random: npt.NDArray[Any]
    """[neuron, draw, pos]"""
    sums: npt.NDArray[np.int32]
    """[token, neuron] in steps of the token's and the neuron's grid"""
    moments: MomentTree
    missed: int = 0
    """sums by token that did not fit"""

    @classmethod
    def empty(cls, shape: Shape, settings: Settings) -> LayerState:
        def lists(places: int) -> Lists:
            return Lists.empty(shape.neurons, places, shape.positions, shape.dtype)

        others = shape.excerpts - settings.ranked(shape.excerpts)
        draws = min(settings.random, shape.excerpts)
        return cls(
            ranked=lists(settings.high_places(shape.excerpts)),
            rest=lists(min(settings.top, others)),
            low=lists(min(settings.bottom, shape.excerpts)),
            random=np.zeros((shape.neurons, draws, shape.positions), shape.dtype),
            sums=np.zeros((shape.tokens, shape.neurons), np.int32),
            moments=MomentTree(),
        )


@dataclass(slots=True)
class State:
    """What is kept of the chunks from `first` up to `end`."""

    layers: dict[int, LayerState]
    grid: npt.NDArray[np.float32]
    """[layer, neuron]: steps in one unit of activation"""
    first: int
    end: int


class Draws:
    """Which excerpts are drawn for each neuron of a layer, in the order in which they are read."""

    def __init__(self, shape: Shape, settings: Settings, layer: int) -> None:
        places: Places = draw_random(
            shape.excerpts, settings.random, neurons=shape.neurons, seed=settings.seed, layer=layer
        )
        self._draws = places.shape[1]
        self._order = np.argsort(places, axis=None, kind="stable").astype(np.int32)
        self._places = places.ravel()[self._order].astype(np.int32)

    def of_chunk(self, first: int, end: int) -> tuple[Places, Places, Places]:
        """Return (excerpt, neuron, draw) of what is drawn from these places of the order."""
        # Of the same type: else all places would be converted, at every chunk.
        low, high = np.searchsorted(self._places, np.array([first, end], self._places.dtype))
        found = self._order[low:high].astype(np.int64)
        return self._places[low:high].astype(np.int64), found // self._draws, found % self._draws


def save_state(folder: Path, state: State) -> None:
    """Write the state; the one before is kept until the new one is whole."""
    target = folder / f"state-{state.end}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    np.save(target / "grid.npy", state.grid)
    for layer, kept in state.layers.items():
        _save_layer(target, layer, kept)
    about = {"first": state.first, "end": state.end, "layers": list(state.layers)}
    (target / DONE).write_text(json.dumps(about))
    for old in folder.glob("state-*"):
        if old != target:
            shutil.rmtree(old)


def _save_layer(target: Path, layer: int, kept: LayerState) -> None:
    for name in ("ranked", "rest", "low"):
        for part, array in zip(("values", "numbers", "slots", "activations"), getattr(kept, name).arrays, strict=True):
            np.save(target / f"{layer}-{name}-{part}.npy", array)
    np.save(target / f"{layer}-random.npy", kept.random)
    np.save(target / f"{layer}-sums.npy", kept.sums)
    nodes = sorted(kept.moments.nodes.items())
    index = [(level, place, m.count) for (level, place), m in nodes]
    np.save(target / f"{layer}-nodes.npy", np.array([*index, (0, 0, kept.missed)], np.int64))
    np.save(target / f"{layer}-moments.npy", np.stack([m.sums for _, m in nodes]))


def saved_end(folder: Path) -> int:
    """Return up to which chunk the newest whole state goes; 0 where there is none."""
    whole = [path.parent.name for path in folder.glob(f"state-*/{DONE}")]
    return max((int(name.removeprefix("state-")) for name in whole), default=0)


def load_state(folder: Path, *, lazily: bool = False) -> State | None:
    """Return the newest whole state in a run's folder; None where there is none. `lazily`: arrays stay on disk."""
    end = saved_end(folder)
    if not end:
        return None
    source = folder / f"state-{end}"
    about = json.loads((source / DONE).read_text())
    layers = {layer: _load_layer(source, layer, "r" if lazily else None) for layer in about["layers"]}
    return State(layers, np.load(source / "grid.npy"), about["first"], about["end"])


def _load_layer(source: Path, layer: int, mode: Any) -> LayerState:
    def read(name: str) -> npt.NDArray[Any]:
        path = source / f"{layer}-{name}.npy"
        array: npt.NDArray[Any] = np.load(path, mmap_mode=mode)
        return array

    def lists(name: str) -> Lists:
        return Lists(*(read(f"{name}-{part}") for part in ("values", "numbers", "slots", "activations")))

    *nodes, (_, _, missed) = read("nodes").tolist()
    sums = read("moments")
    tree = {(level, place): Moments(count, part) for (level, place, count), part in zip(nodes, sums, strict=True)}
    return LayerState(
        lists("ranked"), lists("rest"), lists("low"), read("random"), read("sums"), MomentTree(tree), missed
    )


class Rows:
    """A file of rows of fixed length, written at their places by whoever computes them: the same bytes every time."""

    def __init__(self, path: Path, width: Sequence[int], dtype: npt.DTypeLike) -> None:
        self._path, self._width, self._dtype = path, tuple(width), np.dtype(dtype)
        self._bytes = int(np.prod(width)) * self._dtype.itemsize

    def write(self, first: int, rows: npt.NDArray[Any]) -> None:
        mode = "r+b" if self._path.exists() else "w+b"
        with self._path.open(mode) as file:
            file.seek(first * self._bytes)
            file.write(np.ascontiguousarray(rows, self._dtype).data)

    def read(self, first: int, end: int) -> npt.NDArray[Any]:
        """Return rows [row, ...]."""
        with self._path.open("rb") as file:
            file.seek(first * self._bytes)
            data = file.read((end - first) * self._bytes)
        return np.frombuffer(data, self._dtype).reshape(end - first, *self._width)


def pool_rows(folder: Path, layer: int, shape: Shape) -> Rows:
    """Return the file of the excerpts that are kept whole: [excerpt, pos, neuron]."""
    return Rows(folder / f"pool-{layer}.bin", (shape.positions, shape.neurons), shape.dtype)


def maxima_rows(folder: Path, layer: int, shape: Shape) -> Rows:
    """Return the file of the maxima by which quantile ranges are told: [excerpt, neuron]."""
    return Rows(folder / f"maxima-{layer}.bin", (shape.neurons,), shape.dtype)
