"""How well simulators and scorers tell right explanations from wrong ones: on explained neurons, and on puzzles."""

from __future__ import annotations

from explanations.pipeline.evaluation.contestants import (
    CORRELATION,
    Contestant,
    Judging,
    Simulating,
    TextScores,
)
from explanations.pipeline.evaluation.neurons import (
    ExplainedNeuron,
    choose_neurons,
    explained_in_folder,
    explained_in_sample,
)
from explanations.pipeline.evaluation.puzzles import Puzzle, is_solved, load_puzzles, solve_puzzle
from explanations.pipeline.evaluation.right_and_wrong import (
    WRONG_EXPLANATIONS,
    Interval,
    Outcome,
    Summary,
    Trial,
    lookup_score,
    mean_interval,
    summarise,
    try_explanations,
    wrong_explanations,
)
from explanations.pipeline.evaluation.trials import Trials, TrialsFileError

__all__ = [
    "CORRELATION",
    "WRONG_EXPLANATIONS",
    "Contestant",
    "ExplainedNeuron",
    "Interval",
    "Judging",
    "Outcome",
    "Puzzle",
    "Simulating",
    "Summary",
    "TextScores",
    "Trial",
    "Trials",
    "TrialsFileError",
    "choose_neurons",
    "explained_in_folder",
    "explained_in_sample",
    "is_solved",
    "load_puzzles",
    "lookup_score",
    "mean_interval",
    "solve_puzzle",
    "summarise",
    "try_explanations",
    "wrong_explanations",
]
