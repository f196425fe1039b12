"""One pass over the chosen excerpts: the model runs, every layer's activations are looked at once and let go.

What grows with the corpus is its token ids, on disk, and eight bytes an excerpt. Everything else is bounded: lists of
fixed length for each neuron, sums by token, and files of the first `POOL_EXCERPTS` and `RANKED_EXCERPTS` excerpts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from explanations.pipeline.collecting import kernels
from explanations.pipeline.collecting.corpus import Corpus, count_tokens
from explanations.pipeline.collecting.lists import from_single
from explanations.pipeline.collecting.moments import Moments
from explanations.pipeline.collecting.settings import Settings
from explanations.pipeline.collecting.state import (
    Draws,
    LayerState,
    Shape,
    State,
    load_state,
    maxima_rows,
    pool_rows,
    save_state,
)
from explanations.pipeline.subject.points import Point, SubjectModelError
from explanations.pipeline.subject.transformer import TransformerSubject

SECONDS_BETWEEN_SAVES = 600
PIECES_A_THREAD = 3
"""into which a layer's neurons, and its tokens, are cut: whichever thread is free takes the next"""
BITS_OF_A_VALUE = 16
"""a sum's steps in a neuron's largest activation of the first chunk"""
SUMMED_AT_FULL_STEPS = 2048
"""occurrences of a token from which on its steps are longer, so that sums have room for 16 times that largest one"""


def steps_of_tokens(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return by how much the steps of each token's sums are longer [token]: one over a power of two."""
    halvings = np.ceil(np.log2(np.maximum(counts, 1) / SUMMED_AT_FULL_STEPS))
    return np.ldexp(1.0, -np.maximum(halvings, 0).astype(np.int64)).astype(np.float32)


class Tokens:
    """The tokens that have a mean activation of their own: the most frequent ones."""

    def __init__(
        self, corpus: Corpus, order: npt.NDArray[np.int64], settings: Settings, vocabulary: int, neurons: int
    ) -> None:
        counts = count_tokens(corpus.rows, order, vocabulary)
        most = settings.token_bytes // (4 * neurons)
        ids = np.argsort(-counts, kind="stable")[:most]
        self.ids = ids[counts[ids] >= settings.times_seen]
        self.counts = counts[self.ids]
        self.weights = steps_of_tokens(self.counts)
        self._place = np.full(vocabulary, -1, np.int32)
        self._place[self.ids] = np.arange(len(self.ids), dtype=np.int32)

    def group(self, rows: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[Any], ...]:
        """Return what `kernels.observe` takes as `by_token` for a chunk's token ids [excerpt, pos]."""
        places = self._place[rows.ravel()]
        order = np.argsort(places, kind="stable").astype(np.int32)
        ordered = places[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-2))
        starts = starts[ordered[starts] >= 0]
        tokens = ordered[starts]
        return order, np.append(starts, len(order)).astype(np.int32), tokens, self.weights[tokens]


def cut_tokens(starts: npt.NDArray[np.int32], parts: int) -> list[tuple[int, int]]:
    """Return the tokens, from which up to which, that are added up together; `starts`: where their rows begin, and end.

    A token's rows are read, and once its sums as well.
    """
    work = starts - starts[0] + np.arange(len(starts))
    cuts = np.searchsorted(work, np.linspace(0, work[-1], parts + 1))
    return list(pairwise(cuts.tolist()))


def share_out(pool: ThreadPoolExecutor, others: int, pieces: Iterator[Callable[[], int]]) -> int:
    """Do all pieces of work, with so many other threads as far as they come to it; return the sum of their results."""

    def take() -> int:
        return sum(piece() for piece in pieces)

    waiting = [pool.submit(take) for _ in range(others)]
    done = take()
    # One that has not begun, as other programs have the core, would find nothing left.
    return done + sum(other.result() for other in waiting if not other.cancel())


class Collector:
    """Collects the chunks of one shard. What is done is kept in `folder`; begun again, it goes on from there."""

    def __init__(
        self,
        subject: TransformerSubject,
        corpus: Corpus,
        order: npt.NDArray[np.int64],
        settings: Settings,
        folder: Path,
        layers: Sequence[int] | None = None,
    ) -> None:
        chosen = [point for point in subject.points if layers is None or point.layer in layers]
        self._subject, self._corpus, self._order, self._settings, self._folder = (
            subject, corpus, order, settings, folder
        )  # fmt: skip
        self.points = {point.layer: point for point in chosen}
        width = chosen[0].width
        self.tokens = Tokens(corpus, order, settings, subject.texts.vocabulary, width * len(chosen))
        dtype = "uint16" if subject.precision == "bfloat16" else "float32"
        self.shape = Shape(tuple(self.points), width, len(order), settings.excerpt_tokens, len(self.tokens.ids), dtype)
        self.chunks = -(-len(order) // settings.chunk)
        self._maxima = {layer: maxima_rows(folder, layer, self.shape) for layer in self.points}
        self._whole = {layer: pool_rows(folder, layer, self.shape) for layer in self.points}
        self._draws = {layer: Draws(self.shape, settings, layer) for layer in self.points}
        self._threads = max(1, torch.get_num_threads())
        cuts = np.linspace(0, -(-width // kernels.BLOCK), self._threads * PIECES_A_THREAD + 1).astype(int)
        self._parts = [(low, min(high, width)) for low, high in pairwise((cuts * kernels.BLOCK).tolist()) if low < high]
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1))

    def places(self, chunk: int) -> tuple[int, int]:
        """Return where a chunk's excerpts begin and end in the order."""
        return chunk * self._settings.chunk, min((chunk + 1) * self._settings.chunk, self.shape.excerpts)

    def run(self, first: int, end: int, advance: Callable[[int], None], stopping: Callable[[], bool]) -> State | None:
        """Collect the chunks from `first` up to `end`; return the state, or None where it was told to stop.

        `advance` is told the tokens of each chunk that this run collects.
        """
        state = load_state(self._folder) or self.begin(first)
        saved = time.monotonic()
        while state.end < end:
            self.collect(state, state.end)
            advance(self.tokens_in(state.end, state.end + 1))
            state.end += 1
            if stopping():
                save_state(self._folder, state)
                return None
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES and state.end < end:
                save_state(self._folder, state)
                saved = time.monotonic()
        return state

    def begin(self, first: int) -> State:
        """Return the state in which nothing is collected, to be gone on with from this chunk."""
        layers = {layer: LayerState.empty(self.shape, self._settings) for layer in self.points}
        return State(layers, self.measure_grid(), first, first)

    def run_bare(self, chunk: int) -> None:
        """Run the model on a chunk and look at nothing: what collecting is measured against."""
        ids = self._subject.with_sink(torch.from_numpy(self._rows(chunk).astype(np.int64)))
        self._subject.run(ids, lambda _point, _values: None, [])

    def tokens_in(self, first: int, end: int) -> int:
        """Return how many tokens the chunks from `first` up to `end` have, those in front not counted."""
        return (self.places(end - 1)[1] - self.places(first)[0]) * self.shape.positions if first < end else 0

    def _rows(self, chunk: int) -> npt.NDArray[np.uint32]:
        first, end = self.places(chunk)
        return self._corpus.rows[self._order[first:end]]

    def _feed(self, rows: npt.NDArray[np.uint32], receive: Callable[[Point, Any], None]) -> None:
        ids = self._subject.with_sink(torch.from_numpy(rows.astype(np.int64)))  # [batch, 1 + pos]
        self._subject.run(ids, receive, list(self.points.values()))

    def measure_grid(self) -> npt.NDArray[np.float32]:
        """Return how many steps a unit of each neuron's activation has in sums by token [layer, neuron].

        By what the first chunk of all shows, whichever shard this is: a step is 2^-16 of its largest magnitude there,
        up to a power of two.
        """
        largest = np.zeros((len(self.points), self.shape.neurons), np.float32)
        place = {layer: row for row, layer in enumerate(self.points)}

        def look(point: Point, values: Any) -> None:
            found = values[:, self._subject.recorded :].abs().amax(dim=(0, 1))  # [d_mlp]
            largest[place[point.layer]] = found.float().cpu().numpy()

        self._feed(self._rows(0), look)
        # Neurons that slept through the first chunk get the steps of the layer's livelier ones.
        largest = np.maximum(largest, largest.max(axis=1, keepdims=True) / 64)
        exponents = np.frexp(np.where(largest > 0, largest, 1.0))[1]
        steps: npt.NDArray[np.float32] = np.ldexp(1.0, BITS_OF_A_VALUE - exponents).astype(np.float32)
        return steps

    def collect(self, state: State, chunk: int) -> None:
        """Take a chunk in."""
        first, end = self.places(chunk)
        rows = self._rows(chunk)
        numbers = self._order[first:end].astype(np.int32)
        by_token = self.tokens.group(rows)
        parts = cut_tokens(by_token[1], self._threads * PIECES_A_THREAD)
        grids = dict(zip(self.points, state.grid, strict=True))

        def take(point: Point, values: Any) -> None:
            kept, raw = state.layers[point.layer], as_array(values, self.shape.dtype)
            is_ranked = first < self._settings.ranked(self.shape.excerpts)
            high = kept.ranked if is_ranked else kept.rest
            excerpts, neurons, places = self._draws[point.layer].of_chunk(first, end)
            draws = excerpts - first, neurons, places
            maxima, moments = self._observe(raw, numbers, by_token, parts, grids[point.layer], kept, high.arrays, draws)
            if not np.isfinite(moments).all():
                raise SubjectModelError(f"the model computes numbers that are not finite in layer {point.layer}")
            kept.moments.add(chunk, Moments((end - first) * self.shape.positions, moments))
            self._keep_whole(point.layer, first, raw[:, self._subject.recorded :], maxima)

        self._feed(rows, take)

    def _observe(
        self,
        raw: npt.NDArray[Any],
        numbers: npt.NDArray[np.int32],
        by_token: tuple[npt.NDArray[Any], ...],
        token_parts: list[tuple[int, int]],
        grid: npt.NDArray[np.float32],
        kept: LayerState,
        high: tuple[npt.NDArray[Any], ...],
        draws: tuple[npt.NDArray[np.int64], ...],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Return the maxima [excerpt, neuron] and the chunk's moments [4, neuron]; the rest goes to `kept`."""
        moments = np.empty((4, self.shape.neurons))
        maxima = np.empty((len(raw), self.shape.neurons), np.float32)

        first = self._subject.recorded

        def observe(neurons: tuple[int, int]) -> int:
            kernels.observe(
                raw, first, neurons, numbers, draws, moments, maxima, high, kept.low.arrays, kept.random
            )  # fmt: skip
            return 0

        def add(tokens: tuple[int, int]) -> int:
            missed: int = kernels.add_by_token(raw, first, tokens, by_token, grid, kept.sums)
            return missed

        pieces = [*(partial(observe, part) for part in self._parts), *(partial(add, part) for part in token_parts)]
        kept.missed += share_out(self._pool, self._threads - 1, iter(pieces))
        return maxima, moments

    def _keep_whole(self, layer: int, first: int, recorded: npt.NDArray[Any], maxima: npt.NDArray[np.float32]) -> None:
        """Write what quantile ranges are told by and sampled from."""
        if not self._settings.per_quantile:
            return
        ranked = self._settings.ranked(self.shape.excerpts) - first
        if ranked > 0:
            kept = from_single(maxima[:ranked], self.shape.dtype)
            self._maxima[layer].write(first, kept)
        pool = self._settings.pool(self.shape.excerpts) - first
        if pool > 0:
            self._whole[layer].write(first, recorded[:pool])


def as_array(values: Any, dtype: str) -> npt.NDArray[Any]:
    """Return a tensor as numpy has it: bfloat16 as uint16, anything else in single precision."""
    values = values.contiguous().cpu()
    if dtype == "uint16":
        found: npt.NDArray[Any] = values.view(torch.int16).numpy().view(np.uint16)
        return found
    return values.float().numpy()  # type: ignore[no-any-return]
