"""Neurons of our own making as puzzles: marked sentences, one true explanation and three false ones.

`puzzles.json` holds them. In a sentence, ⟦...⟧ marks what the neuron fires on; ⟦...|5⟧ gives a strength other than 10.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from explanations.pipeline.evaluation.contestants import Contestant
from explanations.pipeline.evaluation.right_and_wrong import Outcome, Tell, Trial, try_texts
from explanations.pipeline.records import ActivationRecord, Kind

PUZZLES_FILE = Path(__file__).with_name("puzzles.json")
PIECES = re.compile(r"⟦|⟧|\|\d+(?=⟧)| ?[^\W\d_]+|\d|[^\S\n]+(?=[^\S\n])|\n+| ?[^\w\s⟦⟧]| |_")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One made-up neuron."""

    name: str
    kind: str
    """what it is about: topic, syntax, code, ..."""
    true: str
    """the explanation that the sentences were written for"""
    false: tuple[str, ...]
    """three explanations that are wrong, some of them nearly right"""
    excerpts: tuple[ActivationRecord, ...]
    """the sentences, with activations from 0 to 10"""


def load_puzzles(file: Path = PUZZLES_FILE) -> list[Puzzle]:
    return [
        Puzzle(p["name"], p["kind"], p["true"], tuple(p["false"]), tuple(map(parse_sentence, p["sentences"])))
        for p in json.loads(file.read_text(encoding="utf-8"))
    ]


def parse_sentence(text: str) -> ActivationRecord:
    """Return a sentence's tokens and activations. ValueError where its marks do not match."""
    if re.sub(r"[^⟦⟧]", "", text).replace("⟦⟧", ""):
        raise ValueError(f"The marks do not match: {text}")
    tokens: list[str] = []
    values: list[float] = []
    level, start = 0.0, 0
    # A space in front of a marked word belongs to its token, as tokenizers have it; digits have a space of their own.
    for piece in PIECES.findall(re.sub(r" ⟦(?!\d)", "⟦ ", text)):
        if piece == "⟦":
            level, start = 10.0, len(tokens)
        elif piece == "⟧":
            level = 0.0
        elif piece.startswith("|") and level:
            values[start:] = [float(piece[1:])] * (len(values) - start)
        else:
            tokens.append(piece)
            values.append(level)
    return ActivationRecord(tuple(tokens), np.array(values))


def solve_puzzle(puzzle: Puzzle, contestant: Contestant, tell: Tell = lambda _: None) -> Trial:
    """Return the scores of the puzzle's true explanation and of its false ones."""
    excerpts = [(Kind.OTHER, excerpt) for excerpt in puzzle.excerpts]
    return try_texts((puzzle.true, *puzzle.false), contestant.on((), excerpts), lambda: tell(len(excerpts)))


def is_solved(outcome: Outcome, chance: float = 0.0) -> bool:
    """Return whether the true explanation scores above all false ones, an undefined score counting as chance."""
    right, *wrong = (chance if score is None else score for score in (outcome.right, *outcome.wrong))
    return right > max(wrong)
