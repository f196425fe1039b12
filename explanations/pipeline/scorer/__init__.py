"""How well simulated activations match the real ones, and how well an explanation tells excerpts apart."""

from __future__ import annotations

from explanations.pipeline.scorer.bootstrap import Interval, bootstrap_interval
from explanations.pipeline.scorer.calibration import Calibration, fit_calibration
from explanations.pipeline.scorer.formulas import (
    CONSTANT_WITHIN,
    Doubles,
    ScoredPair,
    SequenceScores,
    absolute_dev_explained,
    correlation,
    correlation_by_group,
    rsquared,
    score_sequences,
    scores,
)
from explanations.pipeline.scorer.judging import (
    DETECTION,
    FUZZING,
    Judgement,
    judge_detection,
    judge_fuzzing,
    judge_name,
)
from explanations.pipeline.scorer.telling_apart import (
    Item,
    TellingApart,
    detection_items,
    fuzzing_items,
    rate_by_simulation,
    tell_apart,
)

__all__ = [
    "CONSTANT_WITHIN",
    "DETECTION",
    "FUZZING",
    "Calibration",
    "Doubles",
    "Interval",
    "Item",
    "Judgement",
    "ScoredPair",
    "SequenceScores",
    "TellingApart",
    "absolute_dev_explained",
    "bootstrap_interval",
    "correlation",
    "correlation_by_group",
    "detection_items",
    "fit_calibration",
    "fuzzing_items",
    "judge_detection",
    "judge_fuzzing",
    "judge_name",
    "rate_by_simulation",
    "rsquared",
    "score_sequences",
    "scores",
    "tell_apart",
]
