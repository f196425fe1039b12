"""The excerpts and activation records that a neuron's simulations are looked up in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explanations.pipeline import dataset, packing
from explanations.pipeline.dataset_objects import Excerpts, Tokens
from explanations.pipeline.packing import Doubles
from explanations.pipeline.records import Kind


class Keys(dict[Tokens, int]):
    """Excerpts' keys by their tokens. Those that it is asked for the first time it holds ready."""

    def __init__(self) -> None:
        self._fresh: dict[int, bytes] = {}

    def __missing__(self, tokens: Tokens) -> int:
        packed = packing.pack_tokens(tokens)
        key = packing.excerpt_key(packed)
        if len(self) >= Excerpts.LIMIT:
            self.clear()
        self[tokens] = key
        self._fresh[key] = packed
        return key

    def take_fresh(self) -> dict[int, bytes]:
        """Return the packed tokens, by key, of excerpts that were new since the last call."""
        fresh, self._fresh = self._fresh, {}
        return fresh


class Records:
    """A neuron's activation records, as a simulation's excerpts are looked up in them."""

    def __init__(self, keys: Sequence[int], kinds: Sequence[int], parts: Sequence[Doubles], is_kept: bool) -> None:
        self._parts = dict(zip(keys, parts, strict=True))
        self._is_kept = is_kept
        self._top = {key for key, kind in zip(keys, kinds, strict=True) if kind == Kind.TOP}
        self._random = {key for key, kind in zip(keys, kinds, strict=True) if kind == Kind.RANDOM}

    @classmethod
    def unpack(cls, data: bytes | None) -> Records:
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
