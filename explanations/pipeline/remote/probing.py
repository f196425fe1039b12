"""Where below a base address a dataset lies, and what it has: a few files are asked for, since nothing lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import NeuronId
from explanations.pipeline.remote.fetching import FetchError, RemoteSource, SourceError

FIRST = 5
SPREAD = 40
"""Neurons that are asked for where the first few are missing."""
TRIES = 3
"""Fewer than for a file in the middle of an import: who has mistyped an address wants to hear it soon."""


def probe(
    source: RemoteSource,
    kinds: Sequence[DataKind],
    neurons: Sequence[NeuronId],
    prefixes: Sequence[str],
    *,
    is_first_meant: bool,
) -> tuple[str, list[DataKind]]:
    """Return the prefix of the layout below the base address, and those of the kinds that some of `neurons` have there.

    With `is_first_meant`, the first prefix that has files is taken. SourceError where there is no dataset, more than
    one, or none can be read.
    """
    found: dict[str, list[DataKind]] = {}
    for prefix in prefixes:
        if present := _kinds_at(source, prefix, kinds, neurons):
            found[prefix] = present
            if is_first_meant:
                break
    if len(found) > 1:
        choices = " or ".join(source.base + prefix for prefix in found)
        raise SourceError(f"{source.base} holds more than one dataset; name the one you mean: {choices}")
    if not found:
        asked = " nor ".join(source.base + prefix + kinds[0].path(neurons[0]) for prefix in prefixes)
        raise SourceError(f"{source.base} has none of the files that were looked for (404), neither {asked}")
    return next(iter(found.items()))


def _kinds_at(
    source: RemoteSource, prefix: str, kinds: Sequence[DataKind], neurons: Sequence[NeuronId]
) -> list[DataKind]:
    return [kind for kind in kinds if _has_kind(source, [prefix + kind.path(neuron_id) for neuron_id in neurons])]


def _has_kind(source: RemoteSource, paths: Sequence[str]) -> bool:
    """Return whether any of these files is there: a few one by one, since one is enough, then all others."""
    if any(_has(source, path) for path in paths[:FIRST]):
        return True
    with ThreadPoolExecutor(source.connections) as pool:
        return any(pool.map(partial(_has, source), paths[FIRST:]))


def _has(source: RemoteSource, path: str) -> bool:
    """Return whether there is such a file. SourceError where it does not come."""
    try:
        return source.fetch(path, attempts=TRIES) is not None
    except FetchError as error:
        if not error.is_of_source:
            return True  # there, though broken
        raise SourceError(f"{source.base}{path} {error.strerror}") from None


def neurons_to_probe(places: Mapping[int, Sequence[int]], layers: int, neurons_per_layer: int) -> list[NeuronId]:
    """Return neurons from all over those at `places`, and corners of the whole model: a dataset may lack many."""
    chosen = [(layer, indexes) for layer, indexes in places.items() if indexes]
    total = sum(len(indexes) for _, indexes in chosen)
    width = len(chosen[0][1])
    corners = [(0, 0), (layers // 2, neurons_per_layer // 2), (layers - 1, neurons_per_layer - 1)]
    spread = [divmod(step * (total - 1) // (SPREAD - 1), width) for step in range(SPREAD)]
    first, last = (chosen[0][0], chosen[0][1][0]), (chosen[-1][0], chosen[-1][1][-1])
    some = [first, last, *corners, *((chosen[row][0], chosen[row][1][column]) for row, column in spread)]
    return [NeuronId(*place) for place in dict.fromkeys(some)]
