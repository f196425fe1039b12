"""What tests of trying texts share: a model whose folder is configured, and whose subject model is a fake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_tasks import TaskContext
from django_tasks_db.models import DBTaskResult

from explanations import configured_models, subjects, trial_tasks, trials
from explanations.models import Neuron, Trial
from tests.pipeline.embedding import hashed_simulator
from tests.pipeline.fake_subject import FakeSubject
from tests.world import World

TEXT = "See you on Tuesday, or Paris."


@pytest.fixture
def subject(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSubject:
    """Configure a folder for the world's model, and return the fake that stands for what is in it."""
    settings.NEURONVIEWER_SUBJECTS = {"tiny": tmp_path}
    (tmp_path / "config.json").touch()
    fake, simulator = FakeSubject(), hashed_simulator()
    monkeypatch.setattr(subjects, "why_not_loadable", lambda _path: "")
    monkeypatch.setattr(subjects, "_open", lambda _path, _changed: fake)
    monkeypatch.setattr(configured_models, "simulator_by_embedding", lambda: simulator)
    return fake


def ask(world: World, text: str = TEXT, neuron: Neuron | None = None, by: User | None = None) -> Trial:
    """Queue a text on a neuron, 0:0 unless told."""
    return trials.request_trial(model=world.model, neuron=neuron or world.neuron, text=text, author=by or world.reader)


def ask_model(world: World, text: str = TEXT) -> Trial:
    return trials.request_trial(model=world.model, neuron=None, text=text, author=world.reader)


def run(trial: Trial) -> str:
    """Run the text as the worker does, without its loop; return what it says came of it, and refresh the row."""
    result = DBTaskResult.objects.create(
        args_kwargs={"args": [trial.pk], "kwargs": {}},
        task_path=trial_tasks.run_trial.module_path,
        backend_name="default",
        status="RUNNING",
        started_at=timezone.now(),
    )
    came_of_it: str = result.task.call(TaskContext(task_result=result.task_result), trial.pk)
    trial.refresh_from_db()
    return came_of_it


def tried(world: World, text: str = TEXT, *, keep: bool = False, neuron: Neuron | None = None) -> Trial:
    """Return a text that was tried on a neuron."""
    trial = ask(world, text, neuron)
    assert run(trial) == "done", trial.error
    if keep:
        trials.keep_trial(trial.pk)
        trial.refresh_from_db()
    return trial
