"""How an explanation and its score came about, so that both can be judged and had again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from explanations.pipeline.explainer import Sampling
from explanations.pipeline.language_models import Usage
from explanations.pipeline.records import Failure, ScoredExplanation
from explanations.pipeline.scorer import Calibration, Interval


@dataclass(frozen=True, slots=True)
class UsedExcerpts:
    """The excerpts of one split, and what they served for."""

    split: str
    purpose: str
    top: tuple[int, ...]
    """ranks among the top excerpts, counted from 0"""
    random: tuple[int, ...]
    """places among the random excerpts, counted from 0"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An explanation that was chosen from, by its correlation over *calibration*."""

    text: str
    calibration_score: float | None
    """uncalibrated ev_correlation; None is undefined, or no excerpt could be simulated"""
    excerpts_simulated: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Revision:
    """One attempt to better the explanation."""

    text: str
    """empty where none was had"""
    mistakes: tuple[int, ...]
    """the excerpts of *test* that were shown as mistakes, the worst first: places among its top, then random ones"""
    calibration_score: float | None
    kept: bool
    problem: str = ""
    """why there is no better explanation to compare; empty where there is"""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything that went into a scored explanation."""

    explainer: str
    """empty for an explanation that a person wrote"""
    explainer_prompt: str
    """version; empty where no language model was asked"""
    revision_prompt: str
    simulator: str
    simulator_prompt: str
    method: str
    excerpts: tuple[UsedExcerpts, ...]
    dropped: tuple[int, ...]
    """ranks of the top excerpts that did not fit into the explainer's prompt"""
    sampling: Sampling | None
    """None where nothing was drawn"""
    candidates: tuple[Candidate, ...]
    """empty where there was nothing to choose from"""
    rejected: tuple[str, ...]
    """why some of the explainer's answers were no explanations"""
    revisions: tuple[Revision, ...]
    calibration: Calibration | None
    """None for an uncalibrated simulation"""
    interval: Interval | None
    """of ev_correlation, by drawing the scored excerpts again; None is undefined"""
    interval_seed: int
    excerpts_asked: int
    excerpts_simulated: int
    failures: tuple[Failure, ...]
    usage: Usage
    seconds: float

    @property
    def coverage(self) -> str:
        """Return how much of what was asked for the score rests on: "8 of 10 excerpts"."""
        return f"{self.excerpts_simulated} of {self.excerpts_asked} excerpts"

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can carry."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


@dataclass(frozen=True, slots=True)
class Result:
    """A scored explanation, and how it came about."""

    scored: ScoredExplanation
    provenance: Provenance
