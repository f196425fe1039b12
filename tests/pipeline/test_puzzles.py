"""The puzzles, and what the embedding simulator makes of them."""

from __future__ import annotations

import pytest

from explanations.pipeline.evaluation import Outcome, Puzzle, Simulating, is_solved, load_puzzles, solve_puzzle
from explanations.pipeline.evaluation.puzzles import parse_sentence
from explanations.pipeline.simulator.embedding import embedding_simulator
from tests.pipeline.embedding import needs_model

PUZZLES = load_puzzles()


def test_there_are_twenty_of_many_kinds() -> None:
    assert len({puzzle.name for puzzle in PUZZLES}) == 20
    assert len({puzzle.kind for puzzle in PUZZLES}) >= 6


@pytest.mark.parametrize("puzzle", PUZZLES, ids=lambda puzzle: puzzle.name)
def test_a_puzzle_has_one_true_and_three_false_explanations_and_fires_in_places(puzzle: Puzzle) -> None:
    assert len({puzzle.true, *puzzle.false}) == 4
    fires = [bool(excerpt.activations.any()) for excerpt in puzzle.excerpts]
    assert fires.count(True) >= 3
    assert not all(excerpt.activations.all() for excerpt in puzzle.excerpts)
    assert not any("⟦" in token or "⟧" in token or "|" in token for e in puzzle.excerpts for token in e.tokens)


def test_marks_become_activations_and_words_keep_their_blank() -> None:
    record = parse_sentence("Turn ⟦left⟧ at 12, ⟦un|5⟧happy.")
    assert record.tokens == ("Turn", " left", " at", " ", "1", "2", ",", " un", "happy", ".")
    assert record.activations.tolist() == [0, 10, 0, 0, 0, 0, 0, 5, 0, 0]


def test_digits_after_a_mark_keep_their_own_blank() -> None:
    record = parse_sentence("in ⟦19⟧ and\n  ⟦x⟧")
    assert record.tokens == ("in", " ", "1", "9", " and", "\n", " ", " x")
    assert record.activations.tolist() == [0, 0, 10, 10, 0, 0, 0, 10]


@pytest.mark.parametrize("text", ["a ⟦b", "a b⟧", "⟦a ⟦b⟧⟧", "⟧a⟦"])
def test_marks_that_do_not_match_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="do not match"):
        parse_sentence(text)


@pytest.mark.parametrize(
    ("right", "wrong", "solved"),
    [(0.5, (0.4, None), True), (0.5, (0.5, 0.1), False), (None, (None,), False), (None, (-0.2,), True)],
)
def test_solved_is_above_every_false_one(right: float | None, wrong: tuple[float | None, ...], solved: bool) -> None:
    assert is_solved(Outcome(right, wrong, 0)) is solved


@needs_model
@pytest.mark.slow
def test_the_embedding_simulator_solves_them() -> None:
    simulator = Simulating(embedding_simulator())
    outcomes = [solve_puzzle(puzzle, simulator).outcome() for puzzle in PUZZLES]
    assert [p.name for p, outcome in zip(PUZZLES, outcomes, strict=True) if not is_solved(outcome)] == []
    assert sum(outcome.right or 0 for outcome in outcomes) / len(outcomes) == pytest.approx(0.757, abs=0.005)
