"""Which excerpts are drawn for each neuron: by the seed and the layer alone, whoever computes and in what order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
RANDOM, POOL, HIGHEST = 1, 2, 3


def generator(seed: int, purpose: int, layer: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose, layer])


def draw_random(excerpts: int, wanted: int, *, neurons: int, seed: int, layer: int) -> Places:
    """Return excerpts by their place in the shuffled order [neuron, draw], all different; each neuron has its own."""
    rng = generator(seed, RANDOM, layer)
    wanted = min(wanted, excerpts)
    if excerpts < 4 * wanted:
        return np.argsort(rng.random((neurons, excerpts)), axis=1, kind="stable")[:, :wanted]
    drawn = rng.integers(0, excerpts, (neurons, wanted))
    while len(again := _repeated(drawn)):
        drawn[again[:, 0], again[:, 1]] = rng.integers(0, excerpts, len(again))
    return drawn


def _repeated(drawn: Places) -> Places:
    """Return (neuron, draw) of each excerpt that the neuron has already."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    rows, places = np.nonzero(ordered[:, 1:] == ordered[:, :-1])
    return np.stack([rows, order[rows, places + 1]], axis=1)
