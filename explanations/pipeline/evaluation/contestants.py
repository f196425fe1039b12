"""What is tried on explanations: a simulator, or a language model that is asked about whole excerpts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from explanations.pipeline.language_models import LanguageModel
from explanations.pipeline.prompts import DETECTION_VERSION, FUZZING_VERSION
from explanations.pipeline.records import ActivationRecord, Kind
from explanations.pipeline.run import SimulationRun
from explanations.pipeline.scorer import (
    DETECTION,
    FUZZING,
    ScoredPair,
    correlation,
    detection_items,
    fuzzing_items,
    judge_detection,
    judge_fuzzing,
    judge_name,
    rate_by_simulation,
    tell_apart,
)
from explanations.pipeline.scorer.formulas import concatenated
from explanations.pipeline.simulator import EstimatingSimulator, Simulator
from explanations.pipeline.token_lookup import TOKEN_LOOKUP

CORRELATION = "correlation"
SEED = 0
"""Chooses the wrong marks of fuzzing, the same for every explanation."""

Excerpts: TypeAlias = Sequence[tuple[Kind, ActivationRecord]]


@dataclass(frozen=True, slots=True)
class TextScores:
    """What one explanation came to over some excerpts."""

    measures: Mapping[str, float | None]
    """by name: the correlation, the AUC of detection and of fuzzing; None is undefined"""
    failures: int
    """excerpts that could not be simulated, or rated"""


ScoreText: TypeAlias = Callable[[str], TextScores]


class Contestant(Protocol):
    """Something that scores explanations."""

    @property
    def name(self) -> str:
        """Return the name that its scores stand under."""

    @property
    def version(self) -> str:
        """Return the version of its prompts; empty where it has none."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Return what it measures."""

    @property
    def reads(self) -> bool:
        """Return whether its scores depend on the explanation at all."""

    def on(self, train: Sequence[ActivationRecord], excerpts: Excerpts) -> ScoreText:
        """Return the function that scores an explanation over these excerpts."""


@dataclass(frozen=True, slots=True)
class Simulating:
    """A simulator: its correlation, and what its simulated values tell of excerpts and of marks."""

    simulator: Simulator
    measures: tuple[str, ...] = (CORRELATION, DETECTION, FUZZING)

    @property
    def name(self) -> str:
        return self.simulator.name

    @property
    def version(self) -> str:
        return self.simulator.prompt_version if isinstance(self.simulator, EstimatingSimulator) else ""

    @property
    def reads(self) -> bool:
        return self.simulator.name != TOKEN_LOOKUP

    def on(self, train: Sequence[ActivationRecord], excerpts: Excerpts) -> ScoreText:
        simulate = self.simulator.fit(train)

        def score(text: str) -> TextScores:
            run = SimulationRun(text, self.simulator, simulate)
            run.add_all(excerpts, lambda _stage, _done: None)
            detection, fuzzing = _told_apart(run.done)
            found = {CORRELATION: correlation(*concatenated(run.pairs)), DETECTION: detection, FUZZING: fuzzing}
            return TextScores(found, len(run.failures))

        return score


def _told_apart(done: Sequence[tuple[ActivationRecord, ScoredPair]]) -> tuple[float | None, float | None]:
    """Return the AUC of detection and of fuzzing that simulated values come to."""
    records = [record for record, _ in done]
    simulated = [pair.simulated for _, pair in done]
    aucs = []
    for items in (detection_items(records), fuzzing_items(records, seed=SEED)):
        ratings = rate_by_simulation(items, simulated)
        rated = [(item.is_true, r) for item, r in zip(items, ratings, strict=True) if r is not None]
        aucs.append(tell_apart([truth for truth, _ in rated], [r for _, r in rated]).auc)
    return aucs[0], aucs[1]


@dataclass(frozen=True, slots=True)
class Judging:
    """A language model that is asked which excerpts make the neuron active, and which are marked rightly."""

    model: LanguageModel
    measures: tuple[str, ...] = (DETECTION, FUZZING)
    version: str = f"{DETECTION_VERSION}, {FUZZING_VERSION}"
    reads: bool = True

    @property
    def name(self) -> str:
        return judge_name(self.model)

    def on(self, _train: Sequence[ActivationRecord], excerpts: Excerpts) -> ScoreText:
        records = [record for _, record in excerpts]

        def score(text: str) -> TextScores:
            detection = judge_detection(self.model, text, records, seed=SEED)
            fuzzing = judge_fuzzing(self.model, text, records, seed=SEED)
            # Of fuzzing's, most only have no strong tokens to mark; those that failed have failed at detection too.
            found = {DETECTION: detection.told.auc, FUZZING: fuzzing.told.auc}
            return TextScores(found, len(detection.failures))

        return score
