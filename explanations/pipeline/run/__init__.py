"""Explain, simulate, score: the one composition."""

from __future__ import annotations

from explanations.pipeline.explainer import Sampling
from explanations.pipeline.run.composition import (
    explain_simulate_score,
    judge_explanation,
    reexplain,
    simulate_and_score,
)
from explanations.pipeline.run.estimate import estimate
from explanations.pipeline.run.plan import (
    RANDOM_NEEDED,
    TOP_NEEDED,
    PipelineError,
    Plan,
    Progress,
    check_excerpts,
    no_progress,
)
from explanations.pipeline.run.provenance import Candidate, Provenance, Result, Revision, UsedExcerpts
from explanations.pipeline.run.simulation import SimulationRun, check_values

__all__ = [
    "RANDOM_NEEDED",
    "TOP_NEEDED",
    "Candidate",
    "PipelineError",
    "Plan",
    "Progress",
    "Provenance",
    "Result",
    "Revision",
    "Sampling",
    "SimulationRun",
    "UsedExcerpts",
    "check_excerpts",
    "check_values",
    "estimate",
    "explain_simulate_score",
    "judge_explanation",
    "no_progress",
    "reexplain",
    "simulate_and_score",
]
