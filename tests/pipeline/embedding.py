"""What tests of the embedding simulator share: where its model is, and an embedder that needs none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from explanations.pipeline.simulator.embedding import EmbeddingSimulator, why_no_embeddings
from explanations.pipeline.simulator.embedding.sentence_embedder import D_EMBEDDING, Vectors, unit

needs_model = pytest.mark.skipif(bool(why_no_embeddings(None)), reason=why_no_embeddings(None) or "it is there")


class HashedEmbedder:
    """Every text a direction of its own: equal texts are near, all others are not."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return unit(np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(-1, D_EMBEDDING))

    def _vector(self, text: str) -> Vectors:
        seed = hashlib.sha256(text.lower().encode("utf-8", "replace")).digest()[:8]
        vector: Vectors = np.random.default_rng(int.from_bytes(seed, "big")).normal(size=D_EMBEDDING).astype(np.float32)
        return vector


def hashed_simulator() -> EmbeddingSimulator:
    return EmbeddingSimulator(HashedEmbedder())
