"""A subject model of two layers of four neurons that needs no torch, for texts that people try."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from explanations.pipeline.records import Floats
from explanations.pipeline.subject import Point, Tokenised

LAYERS, WIDTH = 2, 4


class FakeSubject:
    """Neuron 0:0 is 3 at " Tuesday" and 0 elsewhere, 1:1 is 2 everywhere; the others vary by the token, signed."""

    name = "fake"
    context_window: int | None = 40

    def __init__(self) -> None:
        self.points = tuple(Point(layer, f"layers.{layer}", WIDTH, 2) for layer in range(LAYERS))
        self.asked: list[str] = []
        self._tokens: dict[int, str] = {}

    def tokenise(self, text: str) -> Tokenised:
        self.asked.append(text)
        tokens = tuple(re.findall(r"\s?\w+|\s|\W", text))
        ids = tuple(zlib.crc32(token.encode()) for token in tokens)
        self._tokens.update(zip(ids, tokens, strict=True))
        return Tokenised(ids, tokens)

    def activations(self, rows: Sequence[Sequence[int]]) -> list[Floats]:
        [row] = rows
        found = [np.zeros((1, len(row), WIDTH), np.float32) for _ in range(LAYERS)]
        for layer, values in enumerate(found):
            for index in range(WIDTH):
                values[0, :, index] = [((number >> (layer * 8 + index)) % 200 - 100) / 25 for number in row]
        found[0][0, :, 0] = [3 * (self._tokens[number] == " Tuesday") for number in row]
        found[1][0, :, 1] = 2
        return found
