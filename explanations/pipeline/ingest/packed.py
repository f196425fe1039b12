"""What is kept of a neuron's public files. Structs, since processes hand them on: dataclasses take twice as long."""

from __future__ import annotations

from msgspec import Struct, field

from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import NeuronId, Scores


class PackedActivations(Struct, frozen=True):
    """What is kept of a file of activation records."""

    data: bytes | None
    """packing.pack_records; None where the records themselves are left out (a sample's, to keep it small)"""
    moments: tuple[float | None, float | None, float | None, float | None]
    """mean, variance, skewness, kurtosis"""
    max_activation: float | None
    peak: bytes
    """packing.pack_peak of the best top record"""


class PackedSimulation(Struct, frozen=True):
    """What is kept of a simulation."""

    data: bytes
    """packing.pack_sequences; of no sequences where the values themselves are left out"""
    excerpts: int
    """that were simulated"""
    scale: str
    scores: Scores
    top_only: float | None
    random_only: float | None


class PackedExplanation(Struct, frozen=True):
    """What is kept of one explanation of a file."""

    text: str
    simulation: PackedSimulation | None


class Problem(Struct, frozen=True):
    """A file that was not taken."""

    path: str
    reason: str


class PackedNeuron(Struct):
    """What is kept of a neuron's files; None for those that were not asked for, are missing or broken."""

    neuron_id: NeuronId
    activations: PackedActivations | None = None
    explanations: tuple[PackedExplanation | None, ...] | None = None
    """by position, which says where one comes from; None where a sample has none at a position"""
    related: bytes | None = None
    """packing.pack_related of the parts that were read"""
    excerpts: dict[int, bytes] = field(default_factory=dict)
    """packed tokens by key: those excerpts that no earlier neuron brought"""
    gaps: list[DataKind] = field(default_factory=list)
    """missing files"""
    problems: list[Problem] = field(default_factory=list)
    """broken files"""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was read."""
        return self.activations is None and self.explanations is None and self.related is None
