"""The excerpts in which each neuron of a layer goes highest, or lowest, with its activations there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NO_EXCERPT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Lists:
    """A sorted list for each neuron, the worst excerpt in front; `kernels.offer` keeps them."""

    values: npt.NDArray[np.float32]
    """[neuron, place]: the maximum; of lists of the lowest, minus the minimum"""
    numbers: npt.NDArray[np.int32]
    """[neuron, place]: the excerpt's number; NO_EXCERPT where the place is not taken"""
    slots: npt.NDArray[np.int16]
    """[neuron, place]: where the excerpt's activations are"""
    activations: npt.NDArray[Any]
    """[neuron, slot, pos], as the model computed them"""

    @classmethod
    def empty(cls, neurons: int, places: int, positions: int, dtype: npt.DTypeLike) -> Lists:
        return cls(
            np.full((neurons, places), -np.inf, np.float32),
            np.full((neurons, places), NO_EXCERPT, np.int32),
            np.tile(np.arange(places, dtype=np.int16), (neurons, 1)),
            np.zeros((neurons, places, positions), dtype),
        )

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self.values, self.numbers, self.slots, self.activations

    def best_first(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        """Return values, numbers and slots [neuron, place], best first, of equals the lowest number."""
        order = np.lexsort((self.numbers, -self.values), axis=1)
        return tuple(np.take_along_axis(part, order, axis=1) for part in self.arrays[:3])  # type: ignore[return-value]


def merge_lists(parts: list[Lists], places: int) -> Lists:
    """Return the best of several lists."""
    parts = [part for part in parts if part.values.shape[1]]
    if len(parts) == 1 and parts[0].values.shape[1] <= places:
        return parts[0]
    values = np.concatenate([part.values for part in parts], axis=1)
    numbers = np.concatenate([part.numbers for part in parts], axis=1)
    activations = [np.take_along_axis(p.activations, p.slots[:, :, None].astype(np.int64), axis=1) for p in parts]
    order = np.lexsort((numbers, -values), axis=1)[:, :places]
    order = order[:, ::-1]
    chosen = np.take_along_axis(np.concatenate(activations, axis=1), order[:, :, None], axis=1)
    slots = np.tile(np.arange(order.shape[1], dtype=np.int16), (len(order), 1))
    return Lists(np.take_along_axis(values, order, axis=1), np.take_along_axis(numbers, order, axis=1), slots, chosen)


def from_single(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """Return values that are bfloat16 already as uint16, where that is what is kept."""
    return (values.view(np.uint32) >> 16).astype(np.uint16) if dtype == "uint16" else values


def to_single(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return kept activations in single precision."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(values, np.float32)
