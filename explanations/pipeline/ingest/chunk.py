"""Pack what has been read of many neurons together: numpy's cost a call is more than that of one neuron's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from explanations.pipeline import dataset, packing
from explanations.pipeline.dataset import RecordColumns, SimulationColumns
from explanations.pipeline.ingest.known_values import Records
from explanations.pipeline.ingest.packed import PackedActivations, PackedExplanation, PackedSimulation
from explanations.pipeline.ingest.reading import Draft
from explanations.pipeline.layout import DataKind
from explanations.pipeline.packing import Doubles, PackingError, RecordBatch, SequenceBatch
from explanations.pipeline.records import Kind
from explanations.pipeline.scorer import correlation_by_group

T = TypeVar("T")


def pack_chunk(drafts: Sequence[Draft]) -> None:
    """Pack the drafts' files into their neurons; a file that cannot be kept is named and left out."""
    records = _pack_activations(drafts)
    _pack_explanations(drafts, records)
    for draft in drafts:
        if draft.related is not None:
            draft.neuron.related = packing.pack_related(draft.related)


def _pack_each(items: Sequence[T], pack: Callable[[Sequence[T]], list[bytes]]) -> list[bytes | PackingError]:
    """Return each item packed, or why it cannot be: all at once where all can be."""
    try:
        return list(pack(items))
    except PackingError as error:
        if len(items) == 1:
            return [error]
    return [_pack_each([item], pack)[0] for item in items]


def _pack_activations(drafts: Sequence[Draft]) -> list[Records | None]:
    """Pack the drafts' activation records; return what simulations are looked up in, None where none were read."""
    columns = [(draft, draft.records) for draft in drafts if draft.records is not None]
    batches = [
        RecordBatch(draft.record_keys, given.kinds, given.lengths, given.activations, given.quantile_boundaries)
        for draft, given in columns
    ]
    known: dict[int, Records] = {}
    for (draft, given), packed in zip(columns, _pack_each(batches, packing.pack_record_batch), strict=True):
        if isinstance(packed, PackingError):
            draft.refuse(DataKind.ACTIVATIONS, packed)
            continue
        parts = dataset.split_columns(given.activations, given.lengths)
        draft.neuron.activations = PackedActivations(packed, given.moments, *_maximum_and_peak(given, parts))
        known[id(draft)] = Records(draft.record_keys, given.kinds, parts, is_kept=False)
    return [known.get(id(draft)) for draft in drafts]


def _maximum_and_peak(columns: RecordColumns, parts: Sequence[Doubles]) -> tuple[float | None, bytes]:
    """Return the highest activation of all, and the packed peak of the top record with the highest one."""
    filled = np.flatnonzero(columns.lengths)
    if not len(filled):
        return None, b""
    ends = np.cumsum(columns.lengths)
    maxima = np.maximum.reduceat(columns.activations, (ends - columns.lengths)[filled])  # [filled excerpt]
    tops = np.array(columns.kinds)[filled] == Kind.TOP
    if not tops.any():
        return float(maxima.max()), b""
    best = int(filled[tops][np.argmax(maxima[tops])])
    return float(maxima.max()), packing.pack_peak(columns.tokens[best], parts[best])


def _pack_explanations(drafts: Sequence[Draft], records: Sequence[Records | None]) -> None:
    """Pack the drafts' explanations with their simulations."""
    columns: list[SimulationColumns] = []
    batches: list[SequenceBatch] = []
    for draft, known in zip(drafts, records, strict=True):
        if draft.explanations is None:
            continue
        known = Records.unpack(draft.stored) if known is None else known
        for explanation, keys in zip(draft.explanations, draft.explanation_keys, strict=True):
            if explanation.simulation is not None:
                columns.append(explanation.simulation)
                batches.append(_sequence_batch(explanation.simulation, keys, known))
    packed = _pack_each(batches, packing.pack_sequence_batch)
    parts = _top_and_random(columns, batches)
    simulations = iter(
        [
            data if isinstance(data, PackingError) else _packed_simulation(data, given, *scores)
            for data, given, scores in zip(packed, columns, parts, strict=True)
        ]
    )
    for draft in drafts:
        _keep_explanations(draft, [next(simulations) if e.simulation else None for e in draft.explanations or ()])


def _keep_explanations(draft: Draft, simulations: Sequence[PackedSimulation | PackingError | None]) -> None:
    """Keep a draft's explanations; none where one of their simulations cannot be."""
    if draft.explanations is None:
        return
    kept = []
    for explanation, simulation in zip(draft.explanations, simulations, strict=True):
        if isinstance(simulation, PackingError):
            draft.refuse(DataKind.EXPLANATIONS, simulation)
            return
        kept.append(PackedExplanation(explanation.text, simulation))
    draft.neuron.explanations = tuple(kept)


def _sequence_batch(columns: SimulationColumns, keys: list[int], known: Records) -> SequenceBatch:
    parts = dataset.split_columns(columns.real, columns.lengths)
    has_real = np.array([not known.hold(key, part) for key, part in zip(keys, parts, strict=True)], dtype=bool)
    real = columns.real if has_real.all() else columns.real[np.repeat(has_real, columns.lengths)]
    return SequenceBatch(
        keys, known.kinds(keys), columns.lengths, columns.simulated, has_real, real, columns.sequence_scores
    )


def _top_and_random(
    columns: Sequence[SimulationColumns], batches: Sequence[SequenceBatch]
) -> list[tuple[float | None, float | None]]:
    """Return each simulation's correlation over its top excerpts alone and over the others alone."""
    if not columns:
        return []
    lengths = np.concatenate([c.lengths for c in columns])
    is_top = np.concatenate([np.array(b.kinds, dtype=np.int64) == Kind.TOP for b in batches])  # [excerpt]
    simulation = np.repeat(np.arange(len(columns)), [len(b.keys) for b in batches])  # [excerpt]
    found = correlation_by_group(
        np.concatenate([c.real for c in columns]),
        np.concatenate([c.simulated for c in columns]),
        np.repeat(2 * simulation + ~is_top, lengths),  # [token]
        groups=2 * len(columns),
    )
    return list(zip(found[::2], found[1::2], strict=True))


def _packed_simulation(
    data: bytes, columns: SimulationColumns, top_only: float | None, random_only: float | None
) -> PackedSimulation:
    return PackedSimulation(data, len(columns.tokens), columns.scale, columns.scores, top_only, random_only)
