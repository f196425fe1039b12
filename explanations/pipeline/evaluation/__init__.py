"""How well simulators tell right explanations from wrong ones: on neurons that have explanations, and on puzzles."""

from __future__ import annotations

from explanations.pipeline.evaluation.neurons import (
    ExplainedNeuron,
    choose_neurons,
    explained_in_folder,
    explained_in_sample,
)
from explanations.pipeline.evaluation.puzzles import Puzzle, is_solved, load_puzzles, solve_puzzle
from explanations.pipeline.evaluation.right_and_wrong import (
    Interval,
    Outcome,
    Summary,
    lookup_score,
    mean_interval,
    summarise,
    try_explanations,
    wrong_explanations,
)

__all__ = [
    "ExplainedNeuron",
    "Interval",
    "Outcome",
    "Puzzle",
    "Summary",
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
