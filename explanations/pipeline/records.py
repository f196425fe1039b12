"""What the pipeline speaks of: neurons, their activation records, explanations, simulations and scores.

The lowest layer: plain data and the two rules that everything else rests on, the train/calibration/valid/test
splits and the normalised activation. Source of both: Bills et al. 2023, "Language models can explain neurons in
language models", and its released code.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

LEVELS = 10
"""The highest normalised activation; levels are the integers 0 to 10."""
EXCERPTS_PER_SPLIT = 5
"""Top excerpts (and random ones) in each split of the released protocol."""

Floats: TypeAlias = npt.NDArray[np.floating]
Levels: TypeAlias = npt.NDArray[np.int8]


class Kind(enum.IntEnum):
    """Why a neuron's excerpt was recorded. `QUANTILE + q` is the q-th quantile range, lowest first."""

    TOP = 0
    RANDOM = 1
    BOTTOM = 2
    OTHER = 3
    QUANTILE = 16


class Split(enum.Enum):
    """A disjoint quarter of a neuron's excerpts: explain from TRAIN, fit on CALIBRATION, score on VALID."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    VALID = "valid"
    TEST = "test"


class NeuronId(msgspec.Struct, frozen=True, order=True):
    """Where a neuron sits in its subject model, both counted from 0."""

    layer: int
    index: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.index}"


@dataclass(frozen=True, slots=True)
class ActivationRecord:
    """One excerpt and what a neuron did on it."""

    tokens: tuple[str, ...]
    """[pos]"""
    activations: Floats
    """[pos], in the subject model's own units"""

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.activations):
            raise ValueError(f"{len(self.tokens)} tokens but {len(self.activations)} activations")


@dataclass(frozen=True, slots=True)
class NeuronRecord:
    """Everything that was recorded of one neuron over a corpus. `None` is a statistic that is not known."""

    neuron_id: NeuronId
    top: tuple[ActivationRecord, ...]
    """excerpts by their maximum activation, best first"""
    random: tuple[ActivationRecord, ...]
    """an independent random sample of excerpts"""
    by_quantile: tuple[tuple[ActivationRecord, ...], ...] = ()
    """a sample of excerpts in each quantile range of the maximum activation, lowest range first"""
    quantile_boundaries: tuple[float, ...] | None = None
    mean: float | None = None
    variance: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    bottom: tuple[ActivationRecord, ...] = ()
    """excerpts by their minimum activation, lowest first, of a neuron whose activations are signed"""

    @property
    def max_activation(self) -> float | None:
        """The highest activation in any record; None where nothing was recorded."""
        return max((float(r.activations.max()) for _, r in self.labelled() if len(r.activations)), default=None)

    def labelled(self) -> list[tuple[int, ActivationRecord]]:
        """Return every record with its `Kind`: top, random, then the quantile ranges, then the lowest."""
        quantiles = [(Kind.QUANTILE + q, r) for q, records in enumerate(self.by_quantile) for r in records]
        bottom = [(int(Kind.BOTTOM), r) for r in self.bottom]
        return (
            [(int(Kind.TOP), r) for r in self.top] + [(int(Kind.RANDOM), r) for r in self.random] + quantiles + bottom
        )


class Scores(msgspec.Struct, frozen=True):
    """How well simulated activations match the real ones; None is undefined (one side constant), never zero."""

    ev_correlation: float | None
    """Pearson r, -1 to 1: the headline"""
    rsquared: float | None = None
    absolute_dev_explained: float | None = None


@dataclass(frozen=True, slots=True)
class SequenceSimulation:
    """One excerpt, simulated."""

    tokens: tuple[str, ...]
    """[pos]"""
    simulated: Floats
    """[pos], on the scale that the simulation names"""
    real: Floats
    """[pos], in the subject model's own units"""
    kind: int
    """`Kind.TOP`, `Kind.RANDOM` or `Kind.OTHER`"""
    scores: Scores
    """for this excerpt alone"""


@dataclass(frozen=True, slots=True)
class Failure:
    """An excerpt that could not be simulated, and why."""

    excerpt: int
    """its place among the excerpts that were asked for, from 0"""
    reason: str


NORMALISED_SCALE = "simulated_normalized_activations"
"""Simulated values run from 0 to 10."""
NEURON_SCALE = "neuron_activations"
"""Simulated values are calibrated to the neuron's own units."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a simulator made of an explanation over some excerpts, scored against the real activations."""

    sequences: tuple[SequenceSimulation, ...]
    scores: Scores
    """over all tokens of all sequences, concatenated"""
    simulator: str = ""
    """the simulator's name; empty where the source does not say"""
    method: str = ""
    scale: str = NORMALISED_SCALE
    top_only: float | None = None
    """ev_correlation over the top excerpts alone"""
    random_only: float | None = None
    failures: tuple[Failure, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class ScoredExplanation:
    """An explanation with the simulation that scores it; None where it has none."""

    text: str
    simulation: Simulation | None
    explainer: str = ""
    prompt_version: str = ""


@dataclass(frozen=True, slots=True)
class TokenValues:
    """Tokens with a number each, strongest first. None is an entry that the source left empty."""

    tokens: tuple[str | None, ...]
    values: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.values):
            raise ValueError(f"{len(self.tokens)} tokens but {len(self.values)} values")


@dataclass(frozen=True, slots=True)
class WeightTokens:
    """The tokens that a neuron's weights read (input) and write (output) most, for and against."""

    input_positive: TokenValues
    input_negative: TokenValues
    output_positive: TokenValues
    output_negative: TokenValues


@dataclass(frozen=True, slots=True)
class NeuronWeights:
    """Neurons with the weight that joins them to this one, strongest first."""

    neurons: tuple[NeuronId, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.neurons) != len(self.weights):
            raise ValueError(f"{len(self.neurons)} neurons but {len(self.weights)} weights")


@dataclass(frozen=True, slots=True)
class RelatedNeurons:
    """Neurons up- and downstream by weight; None where there is no layer on that side."""

    upstream_positive: NeuronWeights | None
    upstream_negative: NeuronWeights | None
    downstream_positive: NeuronWeights | None
    downstream_negative: NeuronWeights | None


@dataclass(frozen=True, slots=True)
class Related:
    """What is known of a neuron's surroundings; None is a file that is not there."""

    tokens_by_activation: TokenValues | None = None
    tokens_by_weight: WeightTokens | None = None
    neurons: RelatedNeurons | None = None


def normalise(activations: Floats, maximum: float) -> Levels:
    """Return levels 0 to 10 [same shape]: relu(a) / maximum * 10, floored, capped; all 0 where maximum <= 0."""
    if not maximum > 0:
        return np.zeros(np.shape(activations), dtype=np.int8)
    scaled = np.maximum(np.asarray(activations, dtype=np.float64), 0) / maximum * LEVELS
    return np.minimum(np.floor(scaled), LEVELS).astype(np.int8)


def shade(value: float, maximum: float) -> str:
    """Return the name of a value's shade: "" for zero, "p0" to "p10" above it, "n0" to "n10" below it.

    The number is the level that `normalise` gives its magnitude, so "p0" is a small positive value, not zero.
    """
    if value == 0 or not maximum > 0:
        return ""
    level = min(LEVELS, int(abs(value) / maximum * LEVELS))
    return f"p{level}" if value > 0 else f"n{level}"


def maximum_of(records: Sequence[ActivationRecord]) -> float:
    """Return the highest activation over `records`, at least 0: what `normalise` divides by."""
    return max([0.0, *(float(r.activations.max()) for r in records if len(r.activations))])


_TOP_OFFSET = {Split.TRAIN: 0, Split.CALIBRATION: 1, Split.VALID: 2, Split.TEST: 3}
_RANDOM_OFFSET = {Split.CALIBRATION: 0, Split.VALID: 1, Split.TEST: 2}


def top_ranks(split: Split, n: int = EXCERPTS_PER_SPLIT) -> range:
    """Return the ranks of the top excerpts of a split, counted from 0: every fourth of the first 4 n."""
    return range(_TOP_OFFSET[split], len(_TOP_OFFSET) * n, len(_TOP_OFFSET))


def random_ranks(split: Split, n: int = EXCERPTS_PER_SPLIT) -> range:
    """Return the places of the random excerpts of a split, every third of the first 3 n; TRAIN has none."""
    if split is Split.TRAIN:
        return range(0)
    return range(_RANDOM_OFFSET[split], len(_RANDOM_OFFSET) * n, len(_RANDOM_OFFSET))


def split_top(record: NeuronRecord, split: Split, n: int = EXCERPTS_PER_SPLIT) -> tuple[ActivationRecord, ...]:
    """Return the top excerpts of a split: ranks offset, offset + 4, ... of the first 4 n."""
    return tuple(record.top[rank] for rank in top_ranks(split, n) if rank < len(record.top))


def split_random(record: NeuronRecord, split: Split, n: int = EXCERPTS_PER_SPLIT) -> tuple[ActivationRecord, ...]:
    """Return the random excerpts of a split, every third of the first 3 n; TRAIN has none."""
    return tuple(record.random[rank] for rank in random_ranks(split, n) if rank < len(record.random))


def split_records(
    record: NeuronRecord, split: Split, n: int = EXCERPTS_PER_SPLIT
) -> tuple[tuple[Kind, ActivationRecord], ...]:
    """Return a split's excerpts with their kind: top ones, best first, then random ones."""
    top = tuple((Kind.TOP, r) for r in split_top(record, split, n))
    return top + tuple((Kind.RANDOM, r) for r in split_random(record, split, n))
