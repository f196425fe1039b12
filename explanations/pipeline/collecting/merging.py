"""Shards of a collection, put together: the same, bit for bit, as if one run had done it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from explanations.pipeline.collecting.lists import Lists, merge_lists
from explanations.pipeline.collecting.moments import MomentTree
from explanations.pipeline.collecting.settings import Settings
from explanations.pipeline.collecting.state import LayerState, Rows, Shape, State, maxima_rows, pool_rows


class MergeError(ValueError):
    """Shards that do not make a whole, with the reason in words."""


@dataclass(frozen=True, slots=True)
class Part:
    """One shard."""

    folder: Path
    state: State


class Collection:
    """All shards of a collection, in their order; one run is one shard."""

    def __init__(self, parts: Sequence[Part], shape: Shape, settings: Settings) -> None:
        self.parts = sorted(parts, key=lambda part: part.state.first)
        self.shape, self.settings = shape, settings
        chunks = -(-shape.excerpts // settings.chunk)
        expected = 0
        for part in self.parts:
            if part.state.first != expected:
                what = "twice" if part.state.first < expected else "by none of the shards"
                low, high = sorted((expected, part.state.first))
                raise MergeError(f"chunks {low} to {high - 1} of {chunks} were collected {what}")
            expected = part.state.end
        if expected != chunks:
            raise MergeError(f"chunks {expected} to {chunks - 1} of {chunks} were collected by none of the shards")
        grids = [part.state.grid for part in self.parts]
        if any(not np.array_equal(grid, grids[0]) for grid in grids):
            raise MergeError(
                "the shards' first chunks gave different activations: were they run on different machines?"
            )
        self.grid = grids[0]

    def layer(self, layer: int) -> LayerState:
        """Return what all shards kept of a layer."""
        kept = [part.state.layers[layer] for part in self.parts]
        if len(kept) == 1:
            return kept[0]
        moments = MomentTree()
        for one in kept:
            moments.merge(one.moments)
        sums, missed = _add([one.sums for one in kept])
        return LayerState(
            ranked=_merge([one.ranked for one in kept]),
            rest=_merge([one.rest for one in kept]),
            low=_merge([one.low for one in kept]),
            random=_overlay([one.random for one in kept]),
            sums=sums,
            moments=moments,
            missed=missed + sum(one.missed for one in kept),
        )

    def pool(self, layer: int) -> npt.NDArray[Any]:
        """Return the excerpts that were kept whole [excerpt, pos, neuron]."""
        return self._gather(pool_rows, layer, self.settings.pool(self.shape.excerpts))

    def maxima(self, layer: int) -> npt.NDArray[Any]:
        """Return the maxima by which quantile ranges are told [excerpt, neuron]."""
        return self._gather(maxima_rows, layer, self.settings.ranked(self.shape.excerpts))

    def _gather(self, rows: Any, layer: int, count: int) -> npt.NDArray[Any]:
        found = []
        for part in self.parts:
            first = min(part.state.first * self.settings.chunk, count)
            end = min(part.state.end * self.settings.chunk, count)
            if first < end:
                file: Rows = rows(part.folder, layer, self.shape)
                found.append(file.read(first, end))
        return np.concatenate(found)


def _merge(lists: Sequence[Lists]) -> Lists:
    return merge_lists(list(lists), lists[0].values.shape[1]) if lists[0].values.shape[1] else lists[0]


def _add(sums: Sequence[npt.NDArray[np.int32]]) -> tuple[npt.NDArray[np.int32], int]:
    total = np.sum([one.astype(np.int64) for one in sums], axis=0)
    limit = np.iinfo(np.int32).max
    return np.clip(total, -limit, limit).astype(np.int32), int((np.abs(total) > limit).sum())


def _overlay(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return what each shard wrote at its own places, where the others have zeros."""
    whole = np.array(parts[0])
    bits: npt.NDArray[Any] = whole.view(np.uint16 if whole.itemsize == 2 else np.uint32)
    for part in parts[1:]:
        np.bitwise_or(bits, np.asarray(part).view(bits.dtype), out=bits)
    return whole
