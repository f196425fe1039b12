"""The models that the settings name, made once a process. Nothing is loaded or asked before it is used."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from explanations.pipeline.language_models import LanguageModel
from explanations.pipeline.language_models.endpoint import EndpointModel, Price
from explanations.pipeline.language_models.loading import load_local, why_not_loadable
from explanations.pipeline.language_models.transport import Transport
from explanations.pipeline.simulator.embedding import EmbeddingSimulator, embedding_simulator, why_no_embeddings

_loading = threading.Lock()


def endpoint_model() -> EndpointModel | None:
    """Return the model at the endpoint; None where none is configured."""
    return _endpoint() if settings.LLM_BASE_URL else None


def local_model() -> LanguageModel | None:
    """Return the model of this machine, loaded at the first call; None where none is configured. LanguageModelError."""
    path = settings.LOCAL_MODEL
    if path is None:
        return None
    with _loading:  # two threads must not load it twice
        return _local(path)


def why_no_local_model() -> str:
    """Return why there is no local model to offer, without loading one; empty where there is."""
    if settings.LOCAL_MODEL is None:
        return "LOCAL_MODEL names no folder or GGUF file."
    return why_not_loadable(settings.LOCAL_MODEL)


def simulator_by_embedding() -> EmbeddingSimulator | None:
    """Return the simulator that needs no language model; None where its model or libraries are not installed."""
    return None if why_no_embedding_model() else _embedding(settings.EMBEDDING_MODEL)


def why_no_embedding_model() -> str:
    """Return why there is no embedding model, looking at names only; empty where there is one."""
    return why_no_embeddings(settings.EMBEDDING_MODEL)


@lru_cache(maxsize=1)
def _embedding(path: Path | None) -> EmbeddingSimulator:
    return embedding_simulator(path)


@lru_cache(maxsize=1)
def _endpoint() -> EndpointModel:
    transport = Transport(
        settings.LLM_BASE_URL, settings.LLM_API_KEY, settings.LLM_CONCURRENCY, timeout=settings.LLM_TIMEOUT
    )
    return EndpointModel(
        transport,
        settings.LLM_MODEL,
        price=Price(settings.LLM_PRICE_IN, settings.LLM_PRICE_OUT),
        context_window=settings.LLM_CONTEXT_WINDOW or None,
    )


@lru_cache(maxsize=1)
def _local(path: Path) -> LanguageModel:
    return load_local(path)
