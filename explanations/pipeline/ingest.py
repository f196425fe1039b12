"""A neuron's public files as what the database keeps of them: all arithmetic of an import, none of its database.

Done in this process, or in several beside it.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from explanations.pipeline import dataset, packing
from explanations.pipeline.dataset import ExplanationColumns, RecordColumns, SimulationColumns
from explanations.pipeline.dataset_objects import BrokenFileError, Excerpts, Tokens
from explanations.pipeline.layout import DataKind, Source
from explanations.pipeline.packing import Doubles, PackingError
from explanations.pipeline.records import Kind, NeuronId, Related, Scores
from explanations.pipeline.scorer import correlation


@dataclass(frozen=True, slots=True)
class PackedActivations:
    """What is kept of a file of activation records."""

    data: bytes
    """packing.pack_records"""
    moments: tuple[float | None, float | None, float | None, float | None]
    """mean, variance, skewness, kurtosis"""
    max_activation: float | None
    peak: bytes
    """packing.pack_peak of the best top record"""


@dataclass(frozen=True, slots=True)
class PackedSimulation:
    """What is kept of a simulation."""

    data: bytes
    """packing.pack_sequences"""
    excerpts: int
    scale: str
    scores: Scores
    top_only: float | None
    random_only: float | None


@dataclass(frozen=True, slots=True)
class PackedExplanation:
    """What is kept of one explanation of a file."""

    text: str
    simulation: PackedSimulation | None


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was not taken."""

    path: str
    reason: str


@dataclass(slots=True)
class PackedNeuron:
    """What is kept of a neuron's files; None for those that were not asked for, are missing or broken."""

    neuron_id: NeuronId
    activations: PackedActivations | None = None
    explanations: tuple[PackedExplanation, ...] | None = None
    related: bytes | None = None
    """packing.pack_related of the parts that were read"""
    excerpts: dict[int, bytes] = field(default_factory=dict)
    """packed tokens by key: those excerpts that no earlier neuron brought"""
    gaps: list[DataKind] = field(default_factory=list)
    """missing files"""
    problems: list[Problem] = field(default_factory=list)
    """broken files"""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was read."""
        return self.activations is None and self.explanations is None and self.related is None


class _Keys(dict[Tokens, int]):
    """Excerpts' keys by their tokens. One that it is asked for the first time goes to `fresh`."""

    def __init__(self) -> None:
        self.fresh: dict[int, bytes] = {}

    def __missing__(self, tokens: Tokens) -> int:
        packed = packing.pack_tokens(tokens)
        key = packing.excerpt_key(packed)
        if len(self) >= Excerpts.LIMIT:
            self.clear()
        self[tokens] = key
        self.fresh[key] = packed
        return key


class _Records:
    """A neuron's activation records, as a simulation's excerpts are looked up in them."""

    def __init__(self, keys: Sequence[int], kinds: Sequence[int], parts: Sequence[Doubles], is_kept: bool) -> None:
        self._parts = dict(zip(keys, parts, strict=True))
        self._is_kept = is_kept
        self._top = {key for key, kind in zip(keys, kinds, strict=True) if kind == Kind.TOP}
        self._random = {key for key, kind in zip(keys, kinds, strict=True) if kind == Kind.RANDOM}

    @classmethod
    def unpack(cls, data: bytes | None) -> _Records:
        """Return the records that the database keeps; none where it keeps none."""
        records = [] if data is None else packing.unpack_records(data)[0]
        parts = [np.asarray(r.activations, dtype=np.float64) for r in records]
        return cls([r.key for r in records], [r.kind for r in records], parts, is_kept=True)

    def kinds(self, keys: Sequence[int]) -> list[int]:
        """Return each excerpt's kind: where the neuron shows it, else by its place in the file."""
        kinds = []
        for place, key in enumerate(keys):
            in_top = key in self._top
            if in_top == (key in self._random):
                in_top = place < dataset.TOP_SEQUENCES
            kinds.append(int(Kind.TOP if in_top else Kind.RANDOM))
        return kinds

    def hold(self, key: int, real: Doubles) -> bool:
        """Return whether these values, once kept, are those of the neuron's record of the same excerpt."""
        part = self._parts.get(key)
        if part is None or len(part) != len(real):
            return False
        if part.tobytes() == real.tobytes():
            return True
        lengths = np.array([len(real)])
        kept = part if self._is_kept else packing.round_trip(part, lengths)
        return np.array_equal(packing.round_trip(real, lengths), kept)


def _max_activation(columns: RecordColumns) -> float | None:
    return float(columns.activations.max()) if len(columns.activations) else None


def _peak(columns: RecordColumns, parts: Sequence[Doubles]) -> bytes:
    """Return the packed peak of the top record with the highest activation, the first of equals."""
    tops = [i for i, kind in enumerate(columns.kinds) if kind == Kind.TOP and len(parts[i])]
    if not tops:
        return b""
    best = max(tops, key=lambda i: float(parts[i].max()))
    return packing.pack_peak(columns.tokens[best], parts[best])


def _pack_simulation(columns: SimulationColumns, keys: Sequence[int], records: _Records) -> PackedSimulation:
    kinds = records.kinds(keys)
    parts = dataset.split_columns(columns.real, columns.lengths)
    has_real = np.array([not records.hold(key, part) for key, part in zip(keys, parts, strict=True)], dtype=bool)
    is_top = np.repeat(np.array(kinds, dtype=np.int64) == Kind.TOP, columns.lengths)  # [token]
    data = packing.pack_sequence_columns(
        keys=keys,
        kinds=kinds,
        lengths=columns.lengths,
        simulated=columns.simulated,
        has_real=has_real,
        real=columns.real[np.repeat(has_real, columns.lengths)],
        scores=columns.sequence_scores,
    )
    return PackedSimulation(
        data,
        len(keys),
        columns.scale,
        columns.scores,
        top_only=correlation(columns.real[is_top], columns.simulated[is_top]),
        random_only=correlation(columns.real[~is_top], columns.simulated[~is_top]),
    )


class Ingester:
    """Reads neurons of one source. It remembers excerpts from neuron to neuron."""

    def __init__(self, source: Source, kinds: Sequence[DataKind]) -> None:
        self._source = source
        self._kinds = frozenset(kinds)
        self._excerpts = Excerpts()
        self._keys = _Keys()

    def ingest(self, neuron_id: NeuronId, stored: bytes | None = None) -> PackedNeuron:
        """Return a neuron's files as the database keeps them; a broken file is named and left out.

        `stored` are the neuron's activation records in the database: they tell which simulated excerpts are top ones
        where this source has no activations.
        """
        neuron = PackedNeuron(neuron_id)
        records = self._read_activations(neuron)
        self._read_explanations(neuron, records, stored)
        self._read_related(neuron)
        neuron.excerpts, self._keys.fresh = self._keys.fresh, {}
        return neuron

    def _read(self, neuron: PackedNeuron, kind: DataKind) -> bytes | None:
        """Return a file's bytes; None where it was not asked for, is missing or cannot be read."""
        if kind not in self._kinds:
            return None
        path = kind.path(neuron.neuron_id)
        try:
            data = self._source.read(path)
        except OSError as error:
            neuron.problems.append(Problem(path, f"cannot be read: {error.strerror or error}"))
            return None
        if data is None:
            neuron.gaps.append(kind)
        return data

    def _refuse(self, neuron: PackedNeuron, kind: DataKind, error: ValueError) -> None:
        neuron.problems.append(Problem(kind.path(neuron.neuron_id), str(error)))

    def _read_activations(self, neuron: PackedNeuron) -> _Records | None:
        data = self._read(neuron, DataKind.ACTIVATIONS)
        if data is None:
            return None
        try:
            columns = dataset.decode_record(data, neuron.neuron_id, self._excerpts)
            return self._pack_activations(neuron, columns)
        except (BrokenFileError, PackingError) as error:
            self._refuse(neuron, DataKind.ACTIVATIONS, error)
            return None

    def _pack_activations(self, neuron: PackedNeuron, columns: RecordColumns) -> _Records:
        keys = [self._keys[tokens] for tokens in columns.tokens]
        parts = dataset.split_columns(columns.activations, columns.lengths)
        data = packing.pack_record_columns(
            keys=keys,
            kinds=columns.kinds,
            lengths=columns.lengths,
            activations=columns.activations,
            quantile_boundaries=columns.quantile_boundaries,
        )
        peak = _peak(columns, parts)
        neuron.activations = PackedActivations(data, columns.moments, _max_activation(columns), peak)
        return _Records(keys, columns.kinds, parts, is_kept=False)

    def _read_explanations(self, neuron: PackedNeuron, records: _Records | None, stored: bytes | None) -> None:
        data = self._read(neuron, DataKind.EXPLANATIONS)
        if data is None:
            return
        try:
            given = dataset.decode_explanations(data, neuron.neuron_id, self._excerpts)
            records = _Records.unpack(stored) if records is None else records
            neuron.explanations = tuple([self._pack_explanation(item, records) for item in given])
        except (BrokenFileError, PackingError) as error:
            self._refuse(neuron, DataKind.EXPLANATIONS, error)

    def _pack_explanation(self, given: ExplanationColumns, records: _Records) -> PackedExplanation:
        if given.simulation is None:
            return PackedExplanation(given.text, None)
        keys = [self._keys[tokens] for tokens in given.simulation.tokens]
        return PackedExplanation(given.text, _pack_simulation(given.simulation, keys, records))

    def _read_related(self, neuron: PackedNeuron) -> None:
        decoders = {
            DataKind.TOKENS_BY_ACTIVATION: ("tokens_by_activation", dataset.decode_tokens_by_activation),
            DataKind.TOKENS_BY_WEIGHT: ("tokens_by_weight", dataset.decode_tokens_by_weight),
            DataKind.RELATED_NEURONS: ("neurons", dataset.decode_related_neurons),
        }
        parts = {}
        for kind, (name, decode) in decoders.items():
            if (data := self._read(neuron, kind)) is not None:
                try:
                    parts[name] = decode(data)
                except BrokenFileError as error:
                    self._refuse(neuron, kind, error)
        if parts:
            neuron.related = packing.pack_related(Related(**parts))  # type: ignore[arg-type]


# Many neurons

Chunk = Sequence[tuple[NeuronId, bytes | None]]
"""Neurons with the activation records that the database keeps of them."""

_of_this_process: list[Ingester] = []


def _start_process(source: Source, kinds: Sequence[DataKind]) -> None:
    # Ctrl-C reaches every process of the terminal; only the one that holds the database answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _of_this_process.append(Ingester(source, kinds))


def _ingest_in_process(chunk: Chunk) -> list[PackedNeuron]:
    return [_of_this_process[0].ingest(*item) for item in chunk]


def ingest_chunks(
    source: Source, kinds: Sequence[DataKind], chunks: Iterable[Chunk], processes: int = 1
) -> Iterator[list[PackedNeuron]]:
    """Yield the chunks' neurons in order; with more than one process, some chunks ahead."""
    if processes == 1:
        ingester = Ingester(source, kinds)
        for chunk in chunks:
            yield [ingester.ingest(*item) for item in chunk]
        return
    # Spawned and not forked: a forked process would share, and close, the connection to the database.
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_start_process, initargs=(source, kinds)
    )
    ahead: deque[Future[list[PackedNeuron]]] = deque()
    try:
        for chunk in chunks:
            ahead.append(pool.submit(_ingest_in_process, chunk))
            if len(ahead) > processes + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
