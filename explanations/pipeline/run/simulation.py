"""One explanation over some excerpts, one after the other or several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from explanations.pipeline.language_models import NO_USAGE, LanguageModelError, Usage
from explanations.pipeline.records import (
    NEURON_SCALE,
    ActivationRecord,
    Failure,
    Floats,
    Kind,
    SequenceSimulation,
    Simulation,
)
from explanations.pipeline.run.plan import PipelineError
from explanations.pipeline.scorer import Calibration, ScoredPair, score_sequences
from explanations.pipeline.simulator import BatchSimulate, Outcome, Simulate, Simulated, SimulationError, Simulator


class SimulationRun:
    """One explanation's simulation, excerpt by excerpt. A failed excerpt is kept with its reason, never as zeros."""

    def __init__(self, explanation: str, simulator: Simulator, simulate: Simulate, usage: Usage = NO_USAGE) -> None:
        self.explanation = explanation
        self.simulator = simulator
        self.simulate = simulate
        self.usage = usage
        self.done: list[tuple[ActivationRecord, ScoredPair]] = []
        self.places: list[int] = []
        """of those done, among the excerpts that were asked for"""
        self.failures: list[Failure] = []

    def add(self, place: int, kind: Kind, excerpt: ActivationRecord) -> None:
        """Simulate one more excerpt, the `place`-th of those asked for."""
        try:
            outcome: Outcome = self.simulate(self.explanation, excerpt.tokens)
        except (SimulationError, LanguageModelError) as error:
            outcome = error
        self._take(place, kind, excerpt, outcome)

    def add_all(self, excerpts: Sequence[tuple[Kind, ActivationRecord]], tell: Callable[[str, int], None]) -> None:
        """Simulate the excerpts in their order, telling (which are next, how many are done) before each step."""
        size = self.simulate.batch_size if isinstance(self.simulate, BatchSimulate) else 1
        for start in range(0, len(excerpts), size):
            batch = excerpts[start : start + size]
            last = start + len(batch)
            which = f"excerpt {last}" if len(batch) == 1 else f"excerpts {start + 1} to {last}"
            tell(f"simulating {which} of {len(excerpts)}", start)
            self._add_batch(start, batch)

    def _add_batch(self, start: int, batch: Sequence[tuple[Kind, ActivationRecord]]) -> None:
        if not isinstance(self.simulate, BatchSimulate):
            for place, (kind, excerpt) in enumerate(batch, start):
                self.add(place, kind, excerpt)
            return
        try:
            outcomes = self.simulate.many(self.explanation, [excerpt.tokens for _, excerpt in batch])
        except (SimulationError, LanguageModelError) as error:
            outcomes = [error, *[type(error)(str(error)) for _ in batch[1:]]]
        for place, ((kind, excerpt), outcome) in enumerate(zip(batch, outcomes, strict=True), start):
            self._take(place, kind, excerpt, outcome)

    def _take(self, place: int, kind: Kind, excerpt: ActivationRecord, outcome: Outcome) -> None:
        self.usage += getattr(outcome, "usage", NO_USAGE)
        try:
            if not isinstance(outcome, Simulated):
                raise outcome
            check_values(outcome.values, excerpt)
        except (SimulationError, LanguageModelError) as error:
            self.failures.append(Failure(place, str(error)))
        else:
            self.places.append(place)
            self.done.append((excerpt, ScoredPair(int(kind), excerpt.activations, outcome.values)))

    @property
    def pairs(self) -> list[ScoredPair]:
        return [pair for _, pair in self.done]

    def score(self, calibration: Calibration | None = None, usage: Usage | None = None) -> Simulation:
        """Return the simulation with its scores, calibrated where told how. PipelineError where every excerpt failed.

        `usage` is what is stored as its cost, where that is more than the simulation's own.
        """
        if not self.done:
            raise PipelineError(f"No excerpt could be simulated. The first one: {self.failures[0].reason}")
        pairs = self.pairs if calibration is None else calibrated(self.pairs, calibration)
        found = score_sequences(pairs)
        took = usage or self.usage
        return Simulation(
            sequences=tuple(
                SequenceSimulation(excerpt.tokens, pair.simulated, pair.real, pair.kind, scores)
                for (excerpt, _), pair, scores in zip(self.done, pairs, found.each, strict=True)
            ),
            scores=found.whole,
            simulator=self.simulator.name,
            method=self.simulator.method,
            scale=self.simulator.scale if calibration is None else NEURON_SCALE,
            top_only=found.top_only,
            random_only=found.random_only,
            failures=tuple(self.failures),
            tokens_in=took.tokens_in,
            tokens_out=took.tokens_out,
            cost_usd=took.cost_usd,
        )


def calibrated(pairs: Sequence[ScoredPair], calibration: Calibration) -> list[ScoredPair]:
    return [ScoredPair(pair.kind, pair.real, calibration.apply(pair.simulated)) for pair in pairs]


def check_values(values: Floats, excerpt: ActivationRecord) -> None:
    """Raise SimulationError where a simulator did not return one finite number a token."""
    if values.shape != (len(excerpt.tokens),):
        raise SimulationError(f"{len(excerpt.tokens)} tokens, but simulated values of shape {values.shape}")
    if not np.isfinite(values).all():
        raise SimulationError("some simulated values are not finite numbers")
