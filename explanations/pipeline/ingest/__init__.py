"""Neurons' public files as what the database keeps of them: all arithmetic of an import, none of its database."""

from explanations.pipeline.ingest.ingester import Chunk, Ingester
from explanations.pipeline.ingest.packed import (
    PackedActivations,
    PackedExplanation,
    PackedNeuron,
    PackedSimulation,
    Problem,
)
from explanations.pipeline.ingest.processes import Ingest, default_processes, open_ingesters

__all__ = [
    "Chunk",
    "Ingest",
    "Ingester",
    "PackedActivations",
    "PackedExplanation",
    "PackedNeuron",
    "PackedSimulation",
    "Problem",
    "default_processes",
    "open_ingesters",
]
