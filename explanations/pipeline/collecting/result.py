"""What a collection found of one layer: the records of each neuron, its moments, and its tokens by activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from explanations.pipeline.collecting.choosing import HIGHEST, POOL, generator
from explanations.pipeline.collecting.lists import Lists, merge_lists, to_single
from explanations.pipeline.collecting.merging import Collection
from explanations.pipeline.collecting.moments import standardised
from explanations.pipeline.collecting.settings import QUANTILES, range_of_ranks
from explanations.pipeline.collecting.state import Draws, LayerState
from explanations.pipeline.records import Kind

RELATED_TOKENS = 100
"""tokens by activation of each neuron"""
Singles = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """The excerpts of each neuron of a layer that were recorded for one reason."""

    kind: int
    numbers: Numbers
    """[neuron, record]: the excerpt's number in the corpus; -1 where a neuron has fewer"""
    activations: Singles
    """[neuron, record, pos]"""


@dataclass(frozen=True, slots=True)
class LayerResult:
    """Everything that was collected of one layer."""

    layer: int
    groups: tuple[Group, ...]
    """in the order of `NeuronRecord.labelled`"""
    moments: npt.NDArray[np.float64]
    """[4, neuron]: mean, variance, skewness, kurtosis; NaN is undefined"""
    tokens: Numbers
    """[neuron, place]: token ids by mean activation, highest first"""
    token_means: Singles
    """[neuron, place]"""
    missed: int
    """sums by token that did not fit: their means are too small"""


class Results:
    """Reads layers from a collection."""

    def __init__(
        self,
        collection: Collection,
        order: Numbers,
        token_ids: Numbers,
        token_counts: Numbers,
        token_weights: Singles,
    ) -> None:
        self._collection, self._order = collection, order
        self._token_ids, self._counts, self._weights = token_ids, token_counts, token_weights

    def layer(self, layer: int) -> LayerResult:
        kept = self._collection.layer(layer)
        groups = [self._top(kept), self._random(kept, layer), *self._quantiles(kept, layer)]
        if kept.low.values.shape[1]:
            groups.append(_group(Kind.BOTTOM, kept.low, kept.low.values.shape[1]))
        tokens, means = self._tokens(kept, layer)
        moments = standardised(kept.moments.total())
        return LayerResult(layer, tuple(groups), moments, tokens, means, kept.missed)

    def _top(self, kept: LayerState) -> Group:
        places = min(self._collection.settings.top, self._collection.shape.excerpts)
        high = kept.ranked if not kept.rest.values.shape[1] else merge_lists([kept.ranked, kept.rest], places)
        return _group(Kind.TOP, high, places)

    def _random(self, kept: LayerState, layer: int) -> Group:
        draws = Draws(self._collection.shape, self._collection.settings, layer)
        excerpts, neurons, drawn = draws.of_chunk(0, self._collection.shape.excerpts)
        numbers = np.empty(kept.random.shape[:2], np.int64)
        numbers[neurons, drawn] = self._order[excerpts]
        return Group(Kind.RANDOM, numbers, to_single(kept.random))

    def _quantiles(self, kept: LayerState, layer: int) -> list[Group]:
        """Return a sample of each range: of the pool's excerpts in it; in the highest range, of all that are in it."""
        settings, shape = self._collection.settings, self._collection.shape
        if not settings.per_quantile:
            return []
        ranked = settings.ranked(shape.excerpts)
        pool = self._collection.pool(layer)  # [excerpt, pos, neuron]
        ranks = self._ranks_of_pool(layer, ranked, len(pool))  # [excerpt, neuron]
        priority = generator(settings.seed, POOL, layer).random(ranks.shape)
        last = len(QUANTILES) - 2
        groups = [
            self._from_pool(quantile, range_of_ranks(quantile, ranked), pool, ranks, priority)
            for quantile in range(last)
        ]
        return [*groups, self._from_highest(kept.ranked, range_of_ranks(last, ranked), ranked, layer)]

    def _ranks_of_pool(self, layer: int, ranked: int, pool: int) -> Numbers:
        """Return the rank of the pool's maxima among those of all ranked excerpts: 0 the lowest."""
        maxima = to_single(self._collection.maxima(layer))  # [excerpt, neuron]
        by_number = np.argsort(self._order[:ranked], kind="stable")
        best_first = by_number[np.argsort(-maxima[by_number], axis=0, kind="stable")]
        ranks = np.empty(maxima.shape, np.int64)
        np.put_along_axis(ranks, best_first, np.arange(ranked)[::-1, None], axis=0)
        return ranks[:pool]

    def _from_pool(
        self, quantile: int, wanted: range, pool: npt.NDArray[Any], ranks: Numbers, priority: npt.NDArray[np.float64]
    ) -> Group:
        inside = (ranks >= wanted.start) & (ranks < wanted.stop)
        order = np.argsort(np.where(inside, priority, 2.0), axis=0, kind="stable")  # [excerpt, neuron]
        chosen = order[: self._collection.settings.per_quantile].T  # [neuron, record]
        neurons = np.arange(ranks.shape[1])[:, None]
        is_there = inside[chosen, neurons]
        activations = pool[chosen, :, neurons]  # [neuron, record, pos]
        return Group(Kind.QUANTILE + quantile, np.where(is_there, self._order[chosen], -1), to_single(activations))

    def _from_highest(self, lists: Lists, wanted: range, ranked: int, layer: int) -> Group:
        values, numbers, slots = lists.best_first()
        first = ranked - wanted.stop
        rng = generator(self._collection.settings.seed, HIGHEST, layer)
        priority = rng.random((len(values), len(wanted)))
        chosen = first + np.argsort(priority, axis=1, kind="stable")[:, : self._collection.settings.per_quantile]
        found = np.take_along_axis(slots, chosen, axis=1).astype(np.int64)
        activations = np.take_along_axis(lists.activations, found[:, :, None], axis=1)
        kept = np.take_along_axis(numbers, chosen, axis=1).astype(np.int64)
        return Group(Kind.QUANTILE + len(QUANTILES) - 2, kept, to_single(activations))

    def _tokens(self, kept: LayerState, layer: int) -> tuple[Numbers, Singles]:
        if not len(self._token_ids):
            return np.zeros((self._collection.shape.neurons, 0), np.int64), np.zeros(
                (self._collection.shape.neurons, 0), np.float32
            )
        grid = self._collection.grid[self._collection.shape.layers.index(layer)]  # [neuron]
        units = 1.0 / (self._weights.astype(np.float64) * self._counts)  # [token]
        means = (np.asarray(kept.sums) * units[:, None] / grid).astype(np.float32).T  # [neuron, token]
        places = min(RELATED_TOKENS, means.shape[1])
        highest = np.argpartition(-means, places - 1, axis=1)[:, :places]
        order = np.lexsort((highest, -np.take_along_axis(means, highest, axis=1)), axis=1)
        highest = np.take_along_axis(highest, order, axis=1)
        return self._token_ids[highest], np.take_along_axis(means, highest, axis=1)


def _group(kind: int, lists: Lists, places: int) -> Group:
    _, numbers, slots = (part[:, :places] for part in lists.best_first())
    activations = np.take_along_axis(lists.activations, slots[:, :, None].astype(np.int64), axis=1)
    return Group(int(kind), numbers.astype(np.int64), to_single(activations))
