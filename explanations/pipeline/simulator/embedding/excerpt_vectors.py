"""The words of excerpts and of explanations as vectors, less what every word, or every explanation, has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from explanations.pipeline.simulator.embedding.literal_features import Singles, is_content
from explanations.pipeline.simulator.embedding.model_file import BACKGROUND_FILE
from explanations.pipeline.simulator.embedding.sentence_embedder import Embedder, Vectors, unit
from explanations.pipeline.simulator.embedding.spots import Spot, excerpt_spots, is_punctuation

DECAY = 0.6
"""What the words before a token still weigh, a word further back."""
CACHED_EXCERPTS = 200
"""Of 64 tokens: 60 MB at most."""


@dataclass(frozen=True, slots=True)
class ExcerptVectors:
    """An excerpt's words as centred unit vectors."""

    spots: tuple[Spot, ...]
    """[pos]"""
    token: Vectors
    """[pos, d_embedding], each token alone"""
    word: Vectors
    """[pos, d_embedding], the whole word that it belongs to"""
    trail: Vectors
    """[pos, d_embedding], the word with those before it, decaying"""
    common: Singles
    """[pos], 1 at function words and punctuation"""


class CentredEmbedder:
    """Words, explanations and excerpts to centred unit vectors."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.excerpt = lru_cache(maxsize=CACHED_EXCERPTS)(self._excerpt)

    def words(self, words: Sequence[str]) -> Vectors:
        """Return what each word means beyond being a word: [word, d_embedding]."""
        return unit(self._embedder.embed(words) - self._background[0])

    def explanation(self, text: str) -> Vectors:
        """Return what an explanation, or a part of one, says beyond being one: [d_embedding]."""
        return unit(self._embedder.embed([text or " "])[0] - self._background[1])

    def _excerpt(self, tokens: tuple[str, ...]) -> ExcerptVectors:
        spots = excerpt_spots(tokens)
        word = self.words([s.shape or s.token for s in spots])
        trail, so_far = np.zeros_like(word), np.zeros(word.shape[1], dtype=np.float32)
        for pos, vector in enumerate(word):
            trail[pos] = so_far = so_far * DECAY + vector
        return ExcerptVectors(
            spots=spots,
            token=self.words([s.token.strip() or s.token for s in spots]),
            word=word,
            trail=unit(trail),
            common=np.array([not is_content(s) or is_punctuation(s) for s in spots], dtype=np.float32),
        )

    @cached_property
    def _background(self) -> tuple[Vectors, Vectors]:
        """The mean vectors of common words and of explanations."""
        with np.load(BACKGROUND_FILE) as stored:
            return stored["words"], stored["explanations"]
