"""The activation records that neurons' simulations are looked up in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from explanations.pipeline import dataset, packing
from explanations.pipeline.packing import Doubles, Lengths
from explanations.pipeline.records import Kind

_TOP, _RANDOM = int(Kind.TOP), int(Kind.RANDOM)


class Records:
    """Where a neuron's activation records lie among `KnownRecords`, by excerpt."""

    def __init__(self, keys: Sequence[int], kinds: Sequence[int], first: int) -> None:
        self._places = dict(zip(keys, range(first, first + len(keys)), strict=True))
        self._top = {key for key, kind in zip(keys, kinds, strict=True) if kind == _TOP}
        self._random = {key for key, kind in zip(keys, kinds, strict=True) if kind == _RANDOM}

    def places(self, keys: Sequence[int]) -> list[int]:
        """Return each excerpt's place; -1 where there is no record of it."""
        return [self._places.get(key, -1) for key in keys]

    def kinds(self, keys: Sequence[int]) -> list[int]:
        """Return each excerpt's kind: where the neuron shows it, else by its place in the file."""
        kinds = []
        for place, key in enumerate(keys):
            in_top = key in self._top
            if in_top == (key in self._random):
                in_top = place < dataset.TOP_SEQUENCES
            kinds.append(_TOP if in_top else _RANDOM)
        return kinds


class KnownRecords:
    """The values of many neurons' activation records."""

    def __init__(self, values: Doubles, lengths: Lengths) -> None:
        self._values = [values]
        self._lengths = [lengths]
        self._count = len(lengths)

    def unpack(self, data: bytes | None) -> Records:
        """Add the records of a neuron that the database keeps; none where it keeps none."""
        records = [] if data is None else packing.unpack_records(data)[0]
        first = self._count
        self._count += len(records)
        self._values += [np.asarray(r.activations, dtype=np.float64) for r in records]
        self._lengths.append(np.array([len(r.activations) for r in records], dtype=np.int64))
        return Records([r.key for r in records], [r.kind for r in records], first)

    def hold(self, places: Sequence[int], real: Doubles, lengths: Lengths) -> npt.NDArray[np.bool_]:
        """Return whether each excerpt's values, once kept, are those of the record at its place [excerpt].

        `real` are the excerpts' concatenated values.
        """
        values, known_lengths = np.concatenate(self._values), np.concatenate(self._lengths)
        at = np.array(places, dtype=np.int64)
        held = at >= 0
        held[held] = known_lengths[at[held]] == lengths[held]
        if not held.any():
            return held
        starts = np.cumsum(known_lengths) - known_lengths
        known, given = _taken(values, starts[at[held]], lengths[held]), real[np.repeat(held, lengths)]
        equal = _each(known == given, lengths[held])
        if not equal.all():
            equal[~equal] = _equal_once_kept(known, given, lengths[held], ~equal)
        held[held] = equal
        return held


def _taken(values: Doubles, starts: Lengths, lengths: Lengths) -> Doubles:
    """Return the parts of these starts and lengths, concatenated."""
    ends = np.cumsum(lengths)
    taken: Doubles = values[np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)]
    return taken


def _each(is_true: npt.NDArray[np.bool_], lengths: Lengths) -> npt.NDArray[np.bool_]:
    """Return whether something is true of all tokens of each excerpt [excerpt]."""
    false = np.concatenate([[0], np.cumsum(~is_true)])  # [token + 1], before each
    ends = np.cumsum(lengths)
    is_true_of_all: npt.NDArray[np.bool_] = false[ends] == false[ends - lengths]
    return is_true_of_all


def _equal_once_kept(
    known: Doubles, given: Doubles, lengths: Lengths, asked: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return whether packing makes the values of those excerpts that are asked for the same [asked excerpt]."""
    tokens, lengths = np.repeat(asked, lengths), lengths[asked]
    # What is kept already is kept as it is.
    return _each(packing.round_trip(known[tokens], lengths) == packing.round_trip(given[tokens], lengths), lengths)
