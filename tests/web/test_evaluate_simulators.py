"""`manage.py evaluate_simulators`: what it prints, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from explanations import configured_models
from explanations.pipeline.language_models.endpoint import Price
from explanations.pipeline.simulator.embedding import EMBEDDING_SIMULATOR
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.pipeline.embedding import hashed_simulator
from tests.public_files import write_dataset
from tests.web.toy_model import WRITTEN, ToyModel, offer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path)


@pytest.fixture(autouse=True)
def _hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured_models, "simulator_by_embedding", hashed_simulator)


def evaluate(*arguments: str) -> str:
    out = StringIO()
    call_command("evaluate_simulators", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_every_simulator_without_a_language_model_is_measured(folder: Path) -> None:
    said = evaluate(str(folder))
    by_embedding, _, lookup = said.partition(f"{TOKEN_LOOKUP}\n")
    assert f"{EMBEDDING_SIMULATOR}\n  all 3 neurons\n    score by the right explanation " in by_embedding
    assert "the right one scores higher" in by_embedding
    assert " of 20 solved; score by the true explanation " in by_embedding
    assert "  all 3 neurons\n    score by the right explanation " in lookup
    assert "It reads no explanation, so right and wrong ones are the same to it." in lookup
    assert "solved" not in lookup


def test_one_simulator_and_fewer_neurons_can_be_chosen(folder: Path) -> None:
    said = evaluate(str(folder), "--simulator", TOKEN_LOOKUP, "--neurons", "1", "--skip", "1")
    assert EMBEDDING_SIMULATOR not in said
    assert "all 1 neurons" in said


def test_no_neurons_leave_the_puzzles(folder: Path) -> None:
    said = evaluate(str(folder), "--simulator", EMBEDDING_SIMULATOR, "--neurons", "0")
    assert "all 0 neurons: no score" in said
    assert " of 20 solved" in said


def test_failed_excerpts_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(type(hashed_simulator())):  # type: ignore[misc]
        def simulate(self, explanation: str, tokens: Sequence[str]) -> np.ndarray:
            return np.zeros(0)

    monkeypatch.setattr(configured_models, "simulator_by_embedding", lambda: Failing(None))
    said = evaluate(str(folder), "--simulator", EMBEDDING_SIMULATOR)
    assert "90 excerpts could not be simulated" in said
    assert "undefined for 3" in said
    assert "puzzles: 0 of 20 solved" in said


def test_a_simulator_is_measured_by_detection_and_fuzzing_too(folder: Path) -> None:
    said = evaluate(str(folder), "--simulator", EMBEDDING_SIMULATOR)
    assert "AUC of detection by the right explanation" in said
    assert "AUC of fuzzing by the true explanation" in said


def test_a_table_has_a_row_for_each_simulator_and_measure(folder: Path) -> None:
    rows = evaluate(str(folder), "--table", "--wrong", "1").splitlines()
    assert rows[0].startswith("| | measure | neurons |")
    assert [row.split(" | ")[:3] for row in rows[2:]] == [
        [f"| {name}", measure, "3"]
        for name in (EMBEDDING_SIMULATOR, TOKEN_LOOKUP)
        for measure in ("score", "AUC of detection", "AUC of fuzzing")
    ]
    assert rows[2].endswith(" of 20 |")
    assert rows[5].endswith(" |  |")  # no puzzles for what reads no explanation


def test_a_language_model_can_be_asked_about_excerpts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = offer(monkeypatch, ToyModel(says="[1, 2, 3]", price=Price(0, 0)))
    arguments = [str(folder), "--simulator", "toy, asked about excerpts", "--neurons", "1", "--no-puzzles"]
    said = evaluate(*arguments)
    assert "toy, asked about excerpts\n  all 1 neurons\n    AUC of detection by the right explanation" in said
    assert "10 excerpts could not be simulated" in said  # three numbers for five documents
    assert "puzzles: 0 of 0 solved" not in said
    assert model.asked


def test_what_is_kept_is_not_tried_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = offer(monkeypatch, ToyModel(price=Price(0, 0)))
    kept = tmp_path / "trials.jsonl"
    arguments = [str(folder), "--simulator", WRITTEN, "--trials", str(kept), "--no-puzzles"]
    said = evaluate(*arguments, "--minutes", "0")
    assert "stopped by --minutes: 3 neurons and 0 puzzles are left" in said
    assert model.asked == []
    said = evaluate(*arguments)
    asked = len(model.asked)
    assert asked
    assert evaluate(*arguments) == said
    assert len(model.asked) == asked


def test_a_trials_file_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("words\n")
    with pytest.raises(CommandError, match="notes, line 1"):
        evaluate(str(folder), "--trials", str(tmp_path / "notes"))


def test_a_language_model_is_asked_only_within_the_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = offer(monkeypatch, ToyModel())
    with pytest.raises(CommandError, match="stopped at --budget-usd"):
        evaluate(str(folder), "--simulator", WRITTEN)
    assert model.asked == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--simulator", "gpt-9"], "there is no simulator “gpt-9” here, but: embedding-1"),
        (["--neurons", "-1"], "must not be negative"),
        (["nowhere"], "nowhere is not there"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        evaluate(*arguments)


def test_a_broken_file_is_named(folder: Path) -> None:
    (folder / "explanations" / "0" / "1.jsonl").write_text("{")
    with pytest.raises(CommandError, match=r"explanations/0/1\.jsonl"):
        evaluate(str(folder))
