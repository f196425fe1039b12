"""Pack what has been read of many neurons together: numpy's cost a call is more than that of one neuron's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np

from explanations.pipeline import packing
from explanations.pipeline.dataset import RecordColumns, SimulationColumns
from explanations.pipeline.ingest.known_values import KnownRecords, Records
from explanations.pipeline.ingest.packed import PackedActivations, PackedExplanation, PackedSimulation
from explanations.pipeline.ingest.reading import Draft
from explanations.pipeline.layout import DataKind
from explanations.pipeline.packing import Doubles, Lengths, PackingError, RecordTable, SequenceTable
from explanations.pipeline.records import Kind
from explanations.pipeline.scorer import correlation_by_group

T = TypeVar("T")
_TOP = int(Kind.TOP)
_NO_TOKENS = -np.inf


def pack_chunk(drafts: Sequence[Draft]) -> None:
    """Pack the drafts' files into their neurons; a file that cannot be kept is named and left out."""
    known, records = _pack_activations(drafts)
    _pack_explanations(drafts, known, records)
    for draft in drafts:
        if draft.related is not None:
            draft.neuron.related = packing.pack_related(draft.related)


def _pack_those_that_can(
    drafts: Sequence[Draft], kind: DataKind, pack: Callable[[Sequence[Draft]], T]
) -> tuple[Sequence[Draft], T]:
    """Return drafts packed together, without those whose file cannot be kept, which are told why."""
    try:
        return drafts, pack(drafts)
    except PackingError:
        kept = [draft for draft in drafts if _can(draft, kind, pack)]
        return kept, pack(kept)


def _can(draft: Draft, kind: DataKind, pack: Callable[[Sequence[Draft]], object]) -> bool:
    try:
        pack([draft])
    except PackingError as error:
        draft.refuse(kind, error)
        return False
    return True


def _joined(parts: Iterable[Doubles]) -> Doubles:
    return np.concatenate([np.zeros(0), *parts])


def _lengths(parts: Iterable[Sequence[int]]) -> Lengths:
    return np.array(list(chain.from_iterable(parts)), dtype=np.int64)


# Activations


def _pack_activations(drafts: Sequence[Draft]) -> tuple[KnownRecords, dict[int, Records]]:
    """Pack the drafts' activation records; return what simulations are looked up in, by the draft's id."""
    given = [draft for draft in drafts if draft.records is not None]
    kept, (table, packed) = _pack_those_that_can(given, DataKind.ACTIVATIONS, _pack_records)
    maxima: list[float] = packing.excerpt_maxima(table.activations, table.lengths, empty=_NO_TOKENS).tolist()
    first = 0
    records: dict[int, Records] = {}
    for draft, data in zip(kept, packed, strict=True):
        columns = _records(draft)
        count = len(columns.kinds)
        peak = _maximum_and_peak(columns, maxima[first : first + count])
        draft.neuron.activations = PackedActivations(data, columns.moments, *peak)
        records[id(draft)] = Records(table.keys[first : first + count], columns.kinds, first)
        first += count
    return KnownRecords(table.activations, table.lengths), records


def _records(draft: Draft) -> RecordColumns:
    assert draft.records is not None
    return draft.records


def _pack_records(drafts: Sequence[Draft]) -> tuple[RecordTable, list[bytes]]:
    columns = [_records(draft) for draft in drafts]
    table = RecordTable(
        counts=[len(c.kinds) for c in columns],
        keys=list(chain.from_iterable(c.keys for c in columns)),
        kinds=list(chain.from_iterable(c.kinds for c in columns)),
        lengths=_lengths(c.lengths for c in columns),
        activations=_joined(c.activations for c in columns),
        quantile_boundaries=[c.quantile_boundaries for c in columns],
    )
    return table, packing.pack_record_table(table)


def _maximum_and_peak(columns: RecordColumns, maxima: Sequence[float]) -> tuple[float | None, bytes]:
    """Return the highest activation of all, and the packed peak of the top record with the highest one."""
    highest = max(maxima, default=_NO_TOKENS)
    if highest == _NO_TOKENS:
        return None, b""
    tops = [at for at, kind in enumerate(columns.kinds) if kind == _TOP and maxima[at] != _NO_TOKENS]
    if not tops:
        return highest, b""
    best = max(tops, key=maxima.__getitem__)
    start = sum(columns.lengths[:best])
    values = columns.activations[start : start + columns.lengths[best]]
    return highest, packing.pack_peak(columns.excerpts[best].tokens, values)


# Explanations


def _pack_explanations(drafts: Sequence[Draft], known: KnownRecords, records: dict[int, Records]) -> None:
    """Pack the drafts' explanations with their simulations."""
    given = [draft for draft in drafts if draft.explanations is not None]
    for draft in given:
        if id(draft) not in records:
            records[id(draft)] = known.unpack(draft.stored)
    kept, packed = _pack_those_that_can(
        given, DataKind.EXPLANATIONS, lambda some: _pack_simulations(some, known, records)
    )
    simulations = iter(packed)
    for draft in kept:
        draft.neuron.explanations = tuple(
            [PackedExplanation(e.text, next(simulations) if e.simulation else None) for e in draft.explanations or ()]
        )


def _pack_simulations(
    drafts: Sequence[Draft], known: KnownRecords, records: dict[int, Records]
) -> list[PackedSimulation]:
    """Return the simulations of the drafts' explanations, one after the other."""
    simulations = [(records[id(d)], e.simulation) for d in drafts for e in d.explanations or () if e.simulation]
    columns = [simulation for _, simulation in simulations]
    real, lengths = _joined(c.real for c in columns), _lengths(c.lengths for c in columns)
    keys = [c.keys for c in columns]
    places = [places for (own, _), some in zip(simulations, keys, strict=True) for places in own.places(some)]
    has_real = ~known.hold(places, real, lengths)
    table = SequenceTable(
        counts=[len(some) for some in keys],
        keys=list(chain.from_iterable(keys)),
        kinds=[kind for (own, _), some in zip(simulations, keys, strict=True) for kind in own.kinds(some)],
        lengths=lengths,
        simulated=_joined(c.simulated for c in columns),
        has_real=has_real,
        real=real[np.repeat(has_real, lengths)],
        scores=np.array([row for c in columns for row in c.sequence_scores], dtype=np.float64).reshape(-1, 3),
    )
    parts = zip(packing.pack_sequence_table(table), columns, _top_and_random(table, real), strict=True)
    return [_packed_simulation(*part) for part in parts]


def _packed_simulation(
    data: bytes, columns: SimulationColumns, top_and_random: tuple[float | None, float | None]
) -> PackedSimulation:
    return PackedSimulation(data, len(columns.excerpts), columns.scale, columns.scores, *top_and_random)


def _top_and_random(table: SequenceTable, real: Doubles) -> list[tuple[float | None, float | None]]:
    """Return each simulation's correlation over its top excerpts alone and over the others alone."""
    simulation = np.repeat(np.arange(len(table.counts)), table.counts)  # [excerpt]
    group = 2 * simulation + (np.array(table.kinds, dtype=np.int64) != _TOP)  # [excerpt]
    found = correlation_by_group(
        real,
        np.asarray(table.simulated, dtype=np.float64),
        np.repeat(group, table.lengths),
        groups=2 * len(table.counts),
    )
    return list(zip(found[::2], found[1::2], strict=True))
