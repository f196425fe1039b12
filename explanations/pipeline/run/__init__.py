"""Explain, simulate, score: the one composition."""

from __future__ import annotations

from explanations.pipeline.run.composition import (
    RANDOM_NEEDED,
    TOP_NEEDED,
    PipelineError,
    Progress,
    SimulationRun,
    check_excerpts,
    check_values,
    no_progress,
    reexplain,
)

__all__ = [
    "RANDOM_NEEDED",
    "TOP_NEEDED",
    "PipelineError",
    "Progress",
    "SimulationRun",
    "check_excerpts",
    "check_values",
    "no_progress",
    "reexplain",
]
