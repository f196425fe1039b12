"""Explain, simulate, score: the one composition.

Explains from *train* and scores on *valid*, so that no score is had by remembering what was explained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from explanations.pipeline.explainer import Explainer, ExplanationError
from explanations.pipeline.language_models import NO_USAGE, LanguageModelError, Usage
from explanations.pipeline.records import (
    EXCERPTS_PER_SPLIT,
    ActivationRecord,
    Failure,
    Floats,
    Kind,
    NeuronId,
    NeuronRecord,
    ScoredExplanation,
    SequenceSimulation,
    Simulation,
    Split,
    split_records,
    split_top,
)
from explanations.pipeline.scorer import ScoredPair, score_sequences
from explanations.pipeline.simulator import Simulate, SimulationError, Simulator

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told (what happens next, excerpts simulated, excerpts in all) before each step. What it raises stops the run."""

TOP_NEEDED = 4 * (EXCERPTS_PER_SPLIT - 1) + 3
"""Top excerpts without which *valid* is not complete: its last one has rank 18, counted from 0."""
RANDOM_NEEDED = 3 * (EXCERPTS_PER_SPLIT - 1) + 2


class PipelineError(Exception):
    """The neuron could not be explained or scored; the message says why, in words for the person who asked."""


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def reexplain(
    record: NeuronRecord, explainer: Explainer, simulator: Simulator, progress: Progress = no_progress
) -> ScoredExplanation:
    """Return a new explanation of a neuron with the simulation that scores it; its usage is that of both steps.

    PipelineError where the neuron has too few excerpts, cannot be explained, or no excerpt could be simulated.
    """
    check_excerpts(record.neuron_id, len(record.top), len(record.random))
    train, valid = split_top(record, Split.TRAIN), split_records(record, Split.VALID)
    progress(f"explaining from {len(train)} train excerpts", 0, len(valid))
    try:
        explained = explainer.explain(train)
    except (ExplanationError, LanguageModelError) as error:
        raise PipelineError(str(error)) from error
    run = SimulationRun(explained.text, simulator, simulator.fit(train), explained.usage)
    for place, (kind, excerpt) in enumerate(valid):
        progress(f"simulating excerpt {place + 1} of {len(valid)}", place, len(valid))
        run.add(place, kind, excerpt)
    progress("scoring", len(valid), len(valid))
    return ScoredExplanation(explained.text, run.score(), explainer.name, explainer.prompt_version)


def check_excerpts(neuron_id: NeuronId, top: int, random: int) -> None:
    """Raise PipelineError where *train* and *valid* would not be complete: their scores could not be compared."""
    if top == random == 0:
        raise PipelineError(f"Neuron {neuron_id} has no activation records, so there is nothing to explain.")
    if top < TOP_NEEDED or random < RANDOM_NEEDED:
        raise PipelineError(
            f"Neuron {neuron_id} has {top} top and {random} random excerpts. Explaining and scoring it takes at least "
            f"{TOP_NEEDED} top and {RANDOM_NEEDED} random ones."
        )


class SimulationRun:
    """One explanation's simulation, excerpt by excerpt. A failed excerpt is kept with its reason, never as zeros."""

    def __init__(self, explanation: str, simulator: Simulator, simulate: Simulate, usage: Usage = NO_USAGE) -> None:
        self.explanation = explanation
        self.simulator = simulator
        self.simulate = simulate
        self.usage = usage
        self.done: list[tuple[ActivationRecord, ScoredPair]] = []
        self.failures: list[Failure] = []

    def add(self, place: int, kind: Kind, excerpt: ActivationRecord) -> None:
        """Simulate one more excerpt, the `place`-th of those asked for."""
        try:
            simulated = self.simulate(self.explanation, excerpt.tokens)
            self.usage += simulated.usage
            check_values(simulated.values, excerpt)
        except (SimulationError, LanguageModelError) as error:
            self.failures.append(Failure(place, str(error)))
        else:
            self.done.append((excerpt, ScoredPair(int(kind), excerpt.activations, simulated.values)))

    def score(self) -> Simulation:
        """Return the simulation with its scores. PipelineError where every excerpt failed."""
        if not self.done:
            raise PipelineError(f"No excerpt could be simulated. The first one: {self.failures[0].reason}")
        found = score_sequences([pair for _, pair in self.done])
        return Simulation(
            sequences=tuple(
                SequenceSimulation(excerpt.tokens, pair.simulated, pair.real, pair.kind, scores)
                for (excerpt, pair), scores in zip(self.done, found.each, strict=True)
            ),
            scores=found.whole,
            simulator=self.simulator.name,
            method=self.simulator.method,
            scale=self.simulator.scale,
            top_only=found.top_only,
            random_only=found.random_only,
            failures=tuple(self.failures),
            tokens_in=self.usage.tokens_in,
            tokens_out=self.usage.tokens_out,
            cost_usd=self.usage.cost_usd,
        )


def check_values(values: Floats, excerpt: ActivationRecord) -> None:
    """Raise SimulationError where a simulator did not return one finite number a token."""
    if values.shape != (len(excerpt.tokens),):
        raise SimulationError(f"{len(excerpt.tokens)} tokens, but simulated values of shape {values.shape}")
    if not np.isfinite(values).all():
        raise SimulationError("some simulated values are not finite numbers")
