"""A neuron's own explanation against other neurons' ones, each scored on the same excerpts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from explanations.pipeline.evaluation.contestants import CORRELATION, Contestant, ScoreText, Simulating, TextScores
from explanations.pipeline.evaluation.neurons import ExplainedNeuron
from explanations.pipeline.records import NeuronId, NeuronRecord, Split, split_records, split_top
from explanations.pipeline.run import check_excerpts
from explanations.pipeline.scorer import Doubles
from explanations.pipeline.simulator import TokenLookupSimulator

WRONG_EXPLANATIONS = 5
SEED = 5
RESAMPLES = 2000

Tell: TypeAlias = Callable[[int], None]
"""Told how many excerpts were simulated since it was last told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One neuron's scores by one measure; None is undefined."""

    right: float | None
    """by its own explanation"""
    wrong: tuple[float | None, ...]
    """by other neurons' explanations"""
    failures: int
    """excerpts that could not be simulated"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a contestant made of one neuron's explanations, the right one first."""

    texts: tuple[TextScores, ...]

    def outcome(self, measure: str = CORRELATION) -> Outcome:
        right, *wrong = (text.measures.get(measure) for text in self.texts)
        return Outcome(right, tuple(wrong), sum(text.failures for text in self.texts))


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where 95 % of the resampled ones lie."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcomes of many neurons. An undefined score counts as chance, so that leaving out gains nothing."""

    neurons: int
    right: Interval | None
    """mean score by the right explanation; None without neurons"""
    wrong: float | None
    """mean score by wrong ones; None where none were tried"""
    pairs: Interval | None
    """share of pairs in which the right one scores higher; equal ones count half"""
    undefined: int
    """neurons whose right explanation has no score"""
    failures: int


def wrong_explanations(
    neurons: Sequence[ExplainedNeuron], count: int = WRONG_EXPLANATIONS
) -> dict[NeuronId, tuple[str, ...]]:
    """Return for each neuron the explanations of a few others, always the same; none where it is the only one."""
    order = list(neurons)
    random.Random(SEED).shuffle(order)  # noqa: S311
    shifts = range(1, min(count, len(order) - 1) + 1)
    return {
        neuron.record.neuron_id: tuple(order[(place + shift) % len(order)].text for shift in shifts)
        for place, neuron in enumerate(order)
    }


def try_explanations(neuron: ExplainedNeuron, wrong: Sequence[str], contestant: Contestant, tell: Tell) -> Trial:
    """Return what comes of scoring the neuron's own explanation and wrong ones on *valid*. PipelineError."""
    record = neuron.record
    check_excerpts(record.neuron_id, len(record.top), len(record.random))
    excerpts = split_records(record, Split.VALID)
    score = contestant.on(split_top(record, Split.TRAIN), excerpts)
    return try_texts((neuron.text, *wrong), score, lambda: tell(len(excerpts)))


def try_texts(texts: Sequence[str], score: ScoreText, tell: Callable[[], None]) -> Trial:
    """Return the scores of the right explanation, which comes first, and of wrong ones on the same excerpts."""
    found: list[TextScores] = []
    for text in texts:
        found.append(score(text))
        tell()
    return Trial(tuple(found))


def lookup_score(record: NeuronRecord) -> float | None:
    """Return how well the token lookup baseline, which reads no explanation, does on *valid*."""
    baseline = Simulating(TokenLookupSimulator())
    return try_explanations(ExplainedNeuron(record, "-"), (), baseline, lambda _: None).outcome().right


def summarise(outcomes: Sequence[Outcome], chance: float = 0.0) -> Summary:
    """Return the means over neurons, with intervals by drawing neurons again. Undefined scores count as `chance`."""
    filled = [Outcome(_or(o.right, chance), tuple(_or(w, chance) for w in o.wrong), o.failures) for o in outcomes]
    right = np.array([o.right for o in filled], dtype=np.float64)
    tried = [o for o in filled if o.wrong]
    wrong = np.array([np.mean([w for w in o.wrong if w is not None]) for o in tried])
    return Summary(
        len(outcomes),
        mean_interval(right),
        float(wrong.mean()) if len(wrong) else None,
        mean_interval(np.array([_share_won(o) for o in tried])),
        sum(o.right is None for o in outcomes),
        sum(o.failures for o in outcomes),
    )


def _or(score: float | None, chance: float) -> float:
    return chance if score is None else score


def _share_won(outcome: Outcome) -> float:
    right, wrong = outcome.right, np.array(outcome.wrong)
    return float(((right > wrong) + (right == wrong) / 2).mean())


def mean_interval(values: Doubles) -> Interval | None:
    """Return the mean with its 95 % bootstrap interval; None of nothing."""
    if not values.size:
        return None
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
