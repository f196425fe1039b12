"""Texts that people try, without pages: asking, working, leases, limits, keeping and deleting."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from explanations import configured_models, subjects, trial_leases, trial_tasks, trials
from explanations.leases import LeaseLost
from explanations.models import ActivationSet, Explanation, Neuron, Trial
from explanations.pipeline import trying
from explanations.pipeline.subject import SubjectModelError
from explanations.pipeline.trying import Firing, TriedNeuron
from tests.pipeline.fake_subject import FakeSubject
from tests.web.trying_site import TEXT, ask, ask_model, run, subject, tried
from tests.world import HOSTILE, World, add_explanation

__all__ = ["subject"]
pytestmark = pytest.mark.usefixtures("subject")


def lapse(trial: Trial, **values: Any) -> None:
    """Let the text look as if its worker had been killed a while ago."""
    past = timezone.now() - timedelta(seconds=1)
    Trial.objects.filter(pk=trial.pk).update(state="running", lease_until=past, lease_owner="dead", **values)


def queued_tasks() -> list[list[int]]:
    found = DBTaskResult.objects.filter(task_path=trial_tasks.run_trial.module_path, status="READY")
    return [row["args"] for row in found.values_list("args_kwargs", flat=True)]


# Asking


def test_a_text_is_queued_in_front_of_jobs_when_it_is_committed(
    world: World, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        trial = ask(world)
        assert queued_tasks() == []
    assert queued_tasks() == [[trial.pk]]
    assert DBTaskResult.objects.get().priority > 0
    assert (trial.state, trial.author, trial.neuron, trial.text) == ("queued", world.reader, world.neuron, TEXT)


def test_the_same_text_is_not_queued_twice_while_it_waits(world: World) -> None:
    first = ask(world)
    assert ask(world).pk == first.pk
    assert ask_model(world).pk != first.pk
    assert ask(world, by=world.explainer).pk != first.pk
    run(first)
    assert ask(world).pk != first.pk


def test_an_hour_allows_so_many_texts_a_person_and_says_when_the_next_is_free(world: World, settings: Any) -> None:
    settings.TRIES_PER_HOUR = 2
    first, second = ask(world, "a"), ask_model(world, "b")
    Trial.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(minutes=50))
    with pytest.raises(trials.TriedTooOften, match=r"2 texts within an hour, and 2 is the limit.*free in 10 minutes"):
        ask(world, "c")
    ask(world, "c", by=world.explainer)
    trials.delete_trial(second.pk)
    with pytest.raises(trials.TriedTooOften):
        ask(world, "c")
    Trial.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(minutes=61))
    ask(world, "c")


def test_what_nobody_kept_is_forgotten_after_a_day(world: World) -> None:
    old, kept = ask(world, "old"), tried(world, "kept", keep=True)
    yesterday = timezone.now() - timedelta(hours=25)
    Trial.objects.filter(pk__in=[old.pk, kept.pk]).update(created_at=yesterday)
    new = ask(world, "new")
    assert set(Trial.objects.values_list("pk", flat=True)) == {kept.pk, new.pk}


@pytest.mark.parametrize(
    "values",
    [
        {"state": "done"},
        {"state": "queued", "finished_at": timezone.now()},
        {"state": "running"},
        {"state": "failed", "finished_at": timezone.now(), "is_kept": True},
        {"state": "deleted", "finished_at": timezone.now()},
    ],
)
def test_the_database_refuses_rows_that_make_no_sense(world: World, values: dict[str, Any]) -> None:
    trial = ask(world)
    with pytest.raises(IntegrityError), transaction.atomic():
        Trial.objects.filter(pk=trial.pk).update(**values)


# Working


def test_a_neuron_is_tried_with_all_its_current_explanations_headline_first(world: World) -> None:
    add_explanation(world.neuron, "something undefined", None)
    retired = add_explanation(world.neuron, "retired words", 0.1)
    Explanation.objects.filter(pk=retired.pk).update(state="retired")
    trial = ask(world)
    assert run(trial) == "done"
    result = trying.decode(trial.result, TriedNeuron)
    assert trying.values_of(result.real).max() == 3
    found = [(e.text, e.simulator, e.failure) for e in result.explanations]
    assert found == [
        ("days of the week, especially Tuesday", "embedding-1 (all-MiniLM-L6-v2)", ""),
        ("tokens such as ' Tuesday', ' cat'", "token lookup", ""),
        ("something undefined", "embedding-1 (all-MiniLM-L6-v2)", ""),
    ]
    simulated = [trying.values_of(e.simulated) for e in result.explanations]
    assert all(values.shape == (len(trying.tokens_of(result)),) for values in simulated)
    assert (trial.stage, trial.lease_owner, trial.lease_until) == ("", "", None)


def test_more_explanations_than_are_simulated_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_tasks, "MOST_EXPLANATIONS", 1)
    trial = tried(world)
    result = trying.decode(trial.result, TriedNeuron)
    assert (len(result.explanations), result.left_out) == (1, 1)
    assert result.explanations[0].explanation == world.explanation.pk


def test_a_neuron_without_excerpts_has_no_lookup_and_says_why(world: World) -> None:
    ActivationSet.objects.all().delete()
    result = trying.decode(tried(world).result, TriedNeuron)
    assert [bool(e.failure) for e in result.explanations] == [False, True]
    assert "No excerpts of this neuron are stored" in result.explanations[1].failure


def test_without_the_embedding_model_the_reason_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured_models, "simulator_by_embedding", lambda: None)
    monkeypatch.setattr(configured_models, "why_no_embedding_model", lambda: "It needs x.")
    result = trying.decode(tried(world).result, TriedNeuron)
    assert [e.failure for e in result.explanations] == ["It needs x.", ""]


def test_a_neuron_without_explanation_is_tried_alone(world: World) -> None:
    result = trying.decode(tried(world, neuron=Neuron.objects.get(layer=0, index=2)).result, TriedNeuron)
    assert result.explanations == []


def test_neurons_that_fire_are_ranked_by_their_recorded_maxima(world: World) -> None:
    Neuron.objects.filter(pk=world.neuron.pk).update(max_activation=6.0)
    Neuron.objects.filter(layer=0, index=1).update(max_activation=None)
    trial = ask_model(world)
    assert run(trial) == "done"
    firing = trying.decode(trial.result, Firing)
    assert {(f.layer, f.index) for f in firing.strongest} <= {(0, 0), (0, 2), (0, 3), (1, 0)}
    [own] = [f for f in firing.strongest if (f.layer, f.index) == (0, 0)]
    assert (own.value, own.relative) == (3.0, 0.5)
    assert trying.tokens_of(firing)[own.at] == " Tuesday"
    assert (firing.ranked, firing.unknown) == (4, 4)


def test_maxima_are_read_in_one_query(world: World, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        maxima = trial_tasks.read_maxima(world.model)
    assert [layer.shape for layer in maxima] == [(4,), (4,)]
    assert maxima[0][0] == world.neuron.max_activation


def test_explanations_are_planned_in_three_queries(world: World, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(3):
        trial_tasks.plan_simulations(world.neuron)


def test_a_text_that_is_too_long_fails_with_the_limit(world: World, settings: Any) -> None:
    settings.TRY_MAX_TOKENS = 3
    trial = ask(world)
    assert run(trial) == "failed"
    assert (trial.state, trial.error) == (
        "failed",
        "The text is 8 tokens long for fake; at most 3 can be tried.",
    )


def test_a_folder_that_was_deleted_fails_the_text_in_words(world: World, settings: Any) -> None:
    trial = ask(world)
    shutil.rmtree(settings.NEURONVIEWER_SUBJECTS["tiny"])
    assert run(trial) == "failed"
    assert trial.error == "The folder that NEURONVIEWER_SUBJECTS names for this model is not there."


def test_a_folder_that_is_no_longer_configured_fails_the_text(world: World, settings: Any) -> None:
    trial = ask(world)
    settings.NEURONVIEWER_SUBJECTS = {}
    assert run(trial) == "failed"
    assert "names no folder for this model" in trial.error


def test_another_models_folder_is_told_by_its_shape(world: World, subject: FakeSubject) -> None:
    subject.points = subject.points[:1]
    trial = ask(world)
    assert run(trial) == "failed"
    assert "holds 1 layers of 4 neurons, but this model has 2 of 4" in trial.error


def test_an_error_never_says_where_the_folder_is(world: World, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path: Path = settings.NEURONVIEWER_SUBJECTS["tiny"]

    def refuse(_path: Path, _changed: int) -> None:
        raise SubjectModelError(f"{path} holds no causal language model ({path}/x is damaged).")

    monkeypatch.setattr(subjects, "_open", refuse)
    trial = ask(world)
    assert run(trial) == "failed"
    assert "The configured folder holds no causal language model" in trial.error
    assert str(path) not in trial.error
    monkeypatch.undo()
    settings.NEURONVIEWER_SUBJECTS = {"tiny": path}
    (path / "config.json").unlink()
    assert str(path) not in subjects.why_not("tiny")


def test_an_error_of_the_program_fails_the_text_and_shows_no_traceback(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object, _text: str) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(FakeSubject, "tokenise", fail)
    trial = ask(world)
    assert run(trial) == "failed"
    assert trial.error == "An error of the program (ZeroDivisionError). The worker's log says more."


@pytest.mark.parametrize("text", [HOSTILE, "\u202e\u0000\ud800x", "\n", " "])
def test_hostile_texts_are_tried_like_others(world: World, text: str) -> None:
    assert run(ask(world, text)) == "done"


# Leases


def test_a_text_is_claimed_once(world: World) -> None:
    trial = ask(world)
    claimed = trial_leases.claim(trial.pk, "one")
    assert claimed is not None
    assert (claimed.state, claimed.attempts, claimed.lease_owner) == ("running", 1, "one")
    assert trial_leases.claim(trial.pk, "two") is None
    assert run(trial) == "nothing to do"


def test_a_text_whose_worker_was_killed_is_tried_again_and_the_dead_one_loses_it(world: World) -> None:
    trial = ask(world)
    trial_leases.claim(trial.pk, "dead")
    lapse(trial)
    assert trials.requeue_lapsed_trials() == 1
    assert queued_tasks() == [[trial.pk]]
    with pytest.raises(LeaseLost):
        trial_leases.finish(trial.pk, "dead", b"x")
    assert run(trial) == "done"
    assert trial.attempts == 2


def test_a_text_that_three_workers_died_of_fails(world: World) -> None:
    trial = ask(world)
    lapse(trial, attempts=3)
    assert trials.requeue_lapsed_trials() == 0
    trial.refresh_from_db()
    assert (trial.state, trial.error) == ("failed", "Its worker stopped 3 times.")


def test_a_text_without_task_gets_one_once(world: World, settings: Any) -> None:
    trial = ask(world)
    assert trials.requeue_lapsed_trials() == 0
    Trial.objects.filter(pk=trial.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    assert trials.requeue_lapsed_trials() == 1
    assert trials.requeue_lapsed_trials() == 0
    assert queued_tasks() == [[trial.pk]]


def test_tasks_of_killed_workers_are_marked_failed_and_those_at_work_are_not(world: World) -> None:
    long_ago = timezone.now() - timedelta(minutes=5)
    path = trial_tasks.run_trial.module_path
    made = [
        DBTaskResult.objects.create(
            args_kwargs={"args": [0], "kwargs": {}}, task_path=path, backend_name="default",
            status="RUNNING", started_at=long_ago,
        )
        for _ in range(2)
    ]  # fmt: skip
    trial_leases.claim(ask(world).pk, str(made[0].pk))
    trials.requeue_lapsed_trials()
    assert [DBTaskResult.objects.get(pk=row.pk).status for row in made] == ["RUNNING", "FAILED"]


def test_a_worker_that_is_stopped_by_force_gives_the_text_back(
    world: World, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    def stop(_self: object, _text: str) -> None:
        raise SystemExit

    monkeypatch.setattr(FakeSubject, "tokenise", stop)
    trial = ask(world)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(SystemExit):
        run(trial)
    trial.refresh_from_db()
    assert (trial.state, trial.attempts, queued_tasks()) == ("queued", 0, [[trial.pk]])


def test_a_text_that_is_deleted_while_it_runs_stays_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = ask(world)
    tokenise = FakeSubject.tokenise

    def delete_first(self: FakeSubject, text: str) -> Any:
        trials.delete_trial(trial.pk)
        return tokenise(self, text)

    monkeypatch.setattr(FakeSubject, "tokenise", delete_first)
    assert run(trial) == "lease lost"
    assert (trial.state, trial.text, bytes(trial.result)) == ("deleted", "", b"")


def test_a_database_that_is_locked_for_a_moment_does_not_fail_the_text(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, answers = trial_leases.renew, iter([OperationalError("locked")])

    def sometimes(*arguments: Any, **stage: Any) -> None:
        if error := next(answers, None):
            raise error
        renew(*arguments, **stage)

    monkeypatch.setattr(trial_leases, "renew", sometimes)
    monkeypatch.setattr(trial_tasks.connection, "close", lambda: None)
    assert run(ask(world)) == "done"


# Keeping and deleting


def test_only_what_has_a_result_is_kept(world: World) -> None:
    trial = ask(world)
    assert not trials.keep_trial(trial.pk)
    run(trial)
    assert trials.keep_trial(trial.pk)


def test_deleting_takes_text_and_result_at_once(world: World) -> None:
    trial = tried(world, keep=True)
    assert trials.delete_trial(trial.pk)
    assert not trials.delete_trial(trial.pk)
    trial.refresh_from_db()
    assert (trial.text, bytes(trial.result), trial.is_kept, trial.state) == ("", b"", False, "deleted")


def test_a_kept_text_outlives_its_authors_account(world: World) -> None:
    trial = tried(world, keep=True)
    world.reader.delete()
    trial.refresh_from_db()
    assert trial.author is None
    assert trial.is_kept
