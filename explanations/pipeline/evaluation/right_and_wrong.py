"""A neuron's own explanation against other neurons' ones, each scored on the same excerpts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from explanations.pipeline.evaluation.neurons import ExplainedNeuron
from explanations.pipeline.records import (
    ActivationRecord,
    Kind,
    NeuronId,
    NeuronRecord,
    Split,
    split_records,
    split_top,
)
from explanations.pipeline.run import SimulationRun, check_excerpts
from explanations.pipeline.scorer import Doubles, correlation
from explanations.pipeline.scorer.formulas import concatenated
from explanations.pipeline.simulator import Simulate, Simulator, TokenLookupSimulator

WRONG_EXPLANATIONS = 5
SEED = 5
RESAMPLES = 2000

Tell: TypeAlias = Callable[[int], None]
"""Told how many excerpts were simulated since it was last told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One neuron's scores on *valid*; None is undefined."""

    right: float | None
    """by its own explanation"""
    wrong: tuple[float | None, ...]
    """by other neurons' explanations"""
    failures: int
    """excerpts that could not be simulated"""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where 95 % of the resampled ones lie."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcomes of many neurons. An undefined score counts as 0 here, so that leaving out gains nothing."""

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


def wrong_explanations(neurons: Sequence[ExplainedNeuron]) -> dict[NeuronId, tuple[str, ...]]:
    """Return for each neuron the explanations of a few others, always the same; none where it is the only one."""
    order = list(neurons)
    random.Random(SEED).shuffle(order)  # noqa: S311
    shifts = range(1, min(WRONG_EXPLANATIONS, len(order) - 1) + 1)
    return {
        neuron.record.neuron_id: tuple(order[(place + shift) % len(order)].text for shift in shifts)
        for place, neuron in enumerate(order)
    }


def try_explanations(neuron: ExplainedNeuron, wrong: Sequence[str], simulator: Simulator, tell: Tell) -> Outcome:
    """Return what comes of simulating the neuron from its own explanation and from wrong ones. PipelineError."""
    record = neuron.record
    check_excerpts(record.neuron_id, len(record.top), len(record.random))
    simulate = simulator.fit(split_top(record, Split.TRAIN))
    return score_texts((neuron.text, *wrong), split_records(record, Split.VALID), simulator, simulate, tell)


def score_texts(
    texts: Sequence[str],
    excerpts: Sequence[tuple[Kind, ActivationRecord]],
    simulator: Simulator,
    simulate: Simulate,
    tell: Tell,
) -> Outcome:
    """Return the scores of the right explanation, which comes first, and of wrong ones on the same excerpts."""
    scores: list[float | None] = []
    failures = 0
    for text in texts:
        run = SimulationRun(text, simulator, simulate)
        run.add_all(excerpts, lambda _stage, _done: None)
        scores.append(correlation(*concatenated(run.pairs)))
        failures += len(run.failures)
        tell(len(excerpts))
    return Outcome(scores[0], tuple(scores[1:]), failures)


def lookup_score(record: NeuronRecord) -> float | None:
    """Return how well the token lookup baseline, which reads no explanation, does on *valid*."""
    return try_explanations(ExplainedNeuron(record, "-"), (), TokenLookupSimulator(), lambda _: None).right


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Return the means over neurons, with intervals by drawing neurons again."""
    right = np.array([o.right or 0.0 for o in outcomes])
    tried = [o for o in outcomes if o.wrong]
    wrong = np.array([np.mean([w or 0.0 for w in o.wrong]) for o in tried])
    return Summary(
        len(outcomes),
        mean_interval(right),
        float(wrong.mean()) if len(wrong) else None,
        mean_interval(np.array([_share_won(o) for o in tried])),
        sum(o.right is None for o in outcomes),
        sum(o.failures for o in outcomes),
    )


def _share_won(outcome: Outcome) -> float:
    right, wrong = outcome.right or 0.0, np.array([w or 0.0 for w in outcome.wrong])
    return float(((right > wrong) + (right == wrong) / 2).mean())


def mean_interval(values: Doubles) -> Interval | None:
    """Return the mean with its 95 % bootstrap interval; None of nothing."""
    if not values.size:
        return None
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
