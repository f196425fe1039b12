"""Simulating without a language model, by sentence embeddings. Nothing is loaded before the first excerpt."""

from __future__ import annotations

from pathlib import Path

from explanations.pipeline.simulator.embedding.model_file import (
    INSTALL,
    ModelFileError,
    packaged_model_file,
    why_no_embeddings,
)
from explanations.pipeline.simulator.embedding.sentence_embedder import Embedder, SentenceEmbedder
from explanations.pipeline.simulator.embedding.simulator import EMBEDDING, EMBEDDING_SIMULATOR, EmbeddingSimulator


def embedding_simulator(model: Path | None = None) -> EmbeddingSimulator:
    """Return the simulator, with the model in its package or in another place. ModelFileError where there is none."""
    path = model or packaged_model_file()
    if path is None or why_no_embeddings(model):
        raise ModelFileError(why_no_embeddings(model))
    return EmbeddingSimulator(SentenceEmbedder(path))


__all__ = [
    "EMBEDDING",
    "EMBEDDING_SIMULATOR",
    "INSTALL",
    "Embedder",
    "EmbeddingSimulator",
    "ModelFileError",
    "SentenceEmbedder",
    "embedding_simulator",
    "packaged_model_file",
    "why_no_embeddings",
]
