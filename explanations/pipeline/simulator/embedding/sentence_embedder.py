"""Sentence embeddings on a CPU without torch: all-MiniLM-L6-v2 as an ONNX file, run by onnxruntime.

Source: Reimers and Gurevych 2019, "Sentence-BERT", and the model card of sentence-transformers/all-MiniLM-L6-v2:
the mean of the last hidden states over the real tokens, at length 1.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from explanations.pipeline.simulator.embedding.model_file import TOKENIZER_FILE, check_model_file

Vectors: TypeAlias = npt.NDArray[np.float32]

D_EMBEDDING = 384
BATCH = 64
MAX_PIECES = 128
THREADS = 2
CACHED_TEXTS = 50_000
"""Vectors that are kept before the cache starts anew: 77 MB at most."""


class Embedder(Protocol):
    """Something that gives texts a place among meanings."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector of length 1 a text: [text, d_embedding]."""


class SentenceEmbedder:
    """Texts to unit vectors. Nothing is loaded before the first text; a text is embedded once while the cache holds.

    Several threads may share one.
    """

    def __init__(self, model: Path) -> None:
        self.model = model
        self._loaded: tuple[Any, Any] | None = None
        self._cache: dict[str, Vectors] = {}
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text: [text, d_embedding]. ModelFileError where the model cannot be used."""
        with self._lock:
            self._learn(texts)
            return np.array([self._cache[t] for t in texts], dtype=np.float32).reshape(-1, D_EMBEDDING)

    def _learn(self, texts: Sequence[str]) -> None:
        distinct = list(dict.fromkeys(texts))
        unseen = [t for t in distinct if t not in self._cache]
        if unseen and len(self._cache) + len(unseen) > CACHED_TEXTS:
            self._cache.clear()
            unseen = distinct
        # Texts of like length share a batch: padding costs as much as words do.
        unseen.sort(key=len)
        for batch in _batches(unseen):
            self._cache.update(zip(batch, self._run(batch), strict=True))

    def _run(self, texts: Sequence[str]) -> Vectors:
        session, encoder = self._loaded = self._loaded or _load(self.model)
        # A token may hold half a surrogate pair, which the tokenizer refuses.
        encoded = encoder.encode_batch([t.encode("utf-8", "replace").decode() for t in texts])
        ids = np.array([e.ids for e in encoded], dtype=np.int64)  # [text, piece]
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)  # [text, piece]
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, inputs)[0]  # [text, piece, d_embedding]
        mean = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)  # [text, d_embedding]
        return unit(mean.astype(np.float32))


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), BATCH):
        yield texts[start : start + BATCH]


def _load(model: Path) -> tuple[Any, Any]:
    """Return the session that runs the model, and the tokenizer that encodes for it. ModelFileError."""
    check_model_file(model)
    # By their names: pages offer what is built on this, and must reach neither library by what they import.
    onnxruntime, tokenizers = import_module("onnxruntime"), import_module("tokenizers")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    # Threads that wait would otherwise keep a core busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    encoder = tokenizers.Tokenizer.from_file(str(TOKENIZER_FILE))
    encoder.enable_truncation(MAX_PIECES)
    # The file as published pads everything to 128 pieces.
    encoder.enable_padding(length=None)
    return session, encoder


def unit(vectors: Vectors) -> Vectors:
    """Return the vectors at length 1; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return scaled
