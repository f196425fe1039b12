"""How well simulated activations match the real ones, and how well an explanation tells excerpts apart."""

from __future__ import annotations

from explanations.pipeline.scorer.formulas import (
    CONSTANT_WITHIN,
    Doubles,
    ScoredPair,
    SequenceScores,
    absolute_dev_explained,
    correlation,
    rsquared,
    score_sequences,
    scores,
)

__all__ = [
    "CONSTANT_WITHIN",
    "Doubles",
    "ScoredPair",
    "SequenceScores",
    "absolute_dev_explained",
    "correlation",
    "rsquared",
    "score_sequences",
    "scores",
]
