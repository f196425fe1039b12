"""Neurons' public files as what the database keeps of them: all arithmetic of an import, none of its database."""

from explanations.pipeline.ingest.ingester import Chunk, Ingester
from explanations.pipeline.ingest.packed import (
    PackedActivations,
    PackedExplanation,
    PackedNeuron,
    PackedSimulation,
    Problem,
)
from explanations.pipeline.ingest.processes import default_processes, ingest_chunks

__all__ = [
    "Chunk",
    "Ingester",
    "PackedActivations",
    "PackedExplanation",
    "PackedNeuron",
    "PackedSimulation",
    "Problem",
    "default_processes",
    "ingest_chunks",
]
