"""The tokens around a neuron's maximum as bytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from explanations.pipeline.packing.tokens import pack_tokens, unpack_texts
from explanations.pipeline.records import Floats, normalise

PEAK_BEFORE, PEAK_AFTER = 11, 5
"""Tokens around the maximum in a neuron's peak."""


def pack_peak(tokens: Sequence[str], activations: Floats) -> bytes:
    """Return the tokens around an excerpt's maximum with their levels, packed; empty where it has no tokens."""
    if not tokens:
        return b""
    at = int(np.argmax(activations))
    window = slice(max(0, at - PEAK_BEFORE), at + PEAK_AFTER + 1)
    levels = normalise(activations[window], float(activations[at]))
    return msgspec.msgpack.encode([pack_tokens(tokens[window]), levels.astype("u1").tobytes()])


def unpack_peak(data: bytes | memoryview) -> list[tuple[str, int]]:
    """Return (token, level 0 to 10) pairs of what `pack_peak` packed."""
    if not data:
        return []
    tokens, levels = msgspec.msgpack.decode(bytes(data))
    return list(zip(unpack_texts(tokens), levels, strict=True))
