from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.utils import timezone
from django_tasks import TaskContext
from django_tasks_db.models import DBTaskResult

from explanations import jobs, leases, store, tasks
from explanations.jobs import Cancelling
from explanations.leases import LeaseLost
from explanations.management.commands import db_worker
from explanations.models import Explanation, Job, Simulation, Source
from explanations.pipeline.explainer import EXPLAINERS
from explanations.pipeline.run import Result, explain_simulate_score
from explanations.pipeline.simulator import SIMULATORS
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.world import World


@pytest.fixture(autouse=True)
def _nobody_stops_the_worker() -> Iterator[None]:
    yield
    tasks.stopping.clear()


@pytest.fixture
def job(world: World) -> Job:
    return jobs.request_job(neuron=world.neuron, parent=world.explanation, requested_by=world.explainer)


def lapse(job: Job, **values: Any) -> None:
    """Let the job look as if its worker had been killed a while ago."""
    past = timezone.now() - timedelta(seconds=1)
    Job.objects.filter(pk=job.pk).update(state="running", lease_until=past, lease_owner="dead", **values)


def result_for(job: Job) -> Result:
    record = store.read_neuron_record(job.neuron)
    assert record is not None
    return explain_simulate_score(record, EXPLAINERS[TOKEN_LOOKUP], SIMULATORS[TOKEN_LOOKUP])


def queued_tasks() -> list[list[int]]:
    return [row["args"] for row in DBTaskResult.objects.order_by("pk").values_list("args_kwargs", flat=True)]


def run(job: Job) -> str:
    """Run the job as the worker does, without its loop, and return what it says came of it."""
    result = DBTaskResult.objects.create(
        args_kwargs={"args": [job.pk], "kwargs": {}}, task_path=tasks.run_job.module_path, backend_name="default"
    )
    came_of_it: str = result.task.call(TaskContext(task_result=result.task_result), job.pk)
    return came_of_it


# Asking


def test_a_request_is_queued_with_its_task_when_it_is_committed(
    world: World, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        job = jobs.request_job(neuron=world.neuron, parent=world.explanation, requested_by=world.explainer)
        assert queued_tasks() == []
    assert (job.state, job.explainer, job.simulator) == ("queued", TOKEN_LOOKUP, TOKEN_LOOKUP)
    assert queued_tasks() == [[job.pk]]


def test_the_same_request_is_refused_with_the_unfinished_job_also_inside_a_transaction(world: World, job: Job) -> None:
    with transaction.atomic():
        with pytest.raises(jobs.JobExists) as refused:
            jobs.request_job(neuron=world.neuron, parent=None, requested_by=world.reader)
        assert refused.value.job == job
    assert Job.objects.count() == 1


def test_a_finished_job_is_no_obstacle(world: World, job: Job) -> None:
    jobs.cancel_job(job.pk)
    again = jobs.request_job(neuron=world.neuron, parent=None, requested_by=world.explainer)
    assert again.pk != job.pk


def test_an_unknown_method_and_anothers_parent_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="nobody"):
        jobs.request_job(neuron=world.neuron, parent=None, requested_by=world.explainer, explainer="nobody")
    with pytest.raises(ValueError, match="is not of neuron"):
        jobs.request_job(neuron=world.hostile, parent=world.explanation, requested_by=world.explainer)


# Claiming and renewing


def test_a_job_is_claimed_once(job: Job) -> None:
    claimed = leases.claim(job.pk, "one")
    assert claimed is not None
    assert (claimed.state, claimed.attempts, claimed.lease_owner) == ("running", 1, "one")
    assert claimed.started_at is not None
    assert leases.claim(job.pk, "two") is None


def test_a_lease_lasts_as_long_as_the_setting_says(job: Job, settings: Any) -> None:
    settings.JOB_LEASE_SECONDS = 600
    claimed = leases.claim(job.pk, "one")
    assert claimed is not None
    assert claimed.lease_until is not None
    assert timedelta(seconds=590) < claimed.lease_until - timezone.now() < timedelta(seconds=610)


def test_a_lapsed_job_is_claimed_by_another_and_its_first_worker_loses_it(job: Job) -> None:
    leases.claim(job.pk, "dead")
    lapse(job)
    claimed = leases.claim(job.pk, "two")
    assert claimed is not None
    assert claimed.attempts == 2
    with pytest.raises(LeaseLost):
        leases.renew(job.pk, "dead")
    leases.renew(job.pk, "two", stage="simulating", progress_done=3, progress_total=10)
    job.refresh_from_db()
    assert (job.stage, job.progress_done, job.progress_total) == ("simulating", 3, 10)


def test_a_renewal_tells_that_a_cancel_was_asked_for(job: Job) -> None:
    leases.claim(job.pk, "one")
    assert not leases.renew(job.pk, "one").cancel_requested
    jobs.cancel_job(job.pk)
    assert leases.renew(job.pk, "one").cancel_requested


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_a_finished_job_is_never_claimed(job: Job, state: str) -> None:
    Job.objects.filter(pk=job.pk).update(state=state, finished_at=timezone.now())
    assert leases.claim(job.pk, "one") is None


# Finishing


def test_finishing_stores_the_explanation_and_the_state_together(world: World, job: Job) -> None:
    claimed = leases.claim(job.pk, "one")
    assert claimed is not None
    explanation = leases.finish(claimed, "one", result_for(job), Source.BASELINE)
    job.refresh_from_db()
    assert (job.state, job.lease_until, job.stage) == ("done", None, "")
    assert job.finished_at is not None
    assert (explanation.job, explanation.parent, explanation.source) == (job, world.explanation, "baseline")
    assert explanation.simulator == TOKEN_LOOKUP
    world.neuron.refresh_from_db()
    assert world.neuron.headline == world.explanation
    assert world.neuron.explanation_count == 3


def test_finishing_after_the_lease_was_lost_writes_nothing(job: Job) -> None:
    claimed = leases.claim(job.pk, "one")
    assert claimed is not None
    lapse(job)
    leases.claim(job.pk, "two")
    before = Explanation.objects.count(), Simulation.objects.count()
    with pytest.raises(LeaseLost):
        leases.finish(claimed, "one", result_for(job), Source.BASELINE)
    assert (Explanation.objects.count(), Simulation.objects.count()) == before
    job.refresh_from_db()
    assert (job.state, job.lease_owner) == ("running", "two")


def test_where_the_explanation_cannot_be_stored_the_job_is_not_done(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = leases.claim(job.pk, "one")
    assert claimed is not None
    monkeypatch.setattr(store, "refresh_headlines", lambda _pks: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        leases.finish(claimed, "one", result_for(job), Source.BASELINE)
    job.refresh_from_db()
    assert job.state == "running"
    assert not Explanation.objects.filter(job=job).exists()


def test_a_result_whose_parent_is_gone_is_kept_without_it(world: World, job: Job) -> None:
    claimed = leases.claim(job.pk, "one")
    assert claimed is not None
    world.explanation.delete()
    assert leases.finish(claimed, "one", result_for(job), Source.BASELINE).parent is None


def test_failing_keeps_the_reason_and_only_the_owner_may(job: Job) -> None:
    leases.claim(job.pk, "one")
    with pytest.raises(LeaseLost):
        leases.fail(job.pk, "two", "no")
    leases.fail(job.pk, "one", "The model said \0 nothing.")
    job.refresh_from_db()
    assert (job.state, job.error) == ("failed", "The model said ␀ nothing.")


# Cancelling


def test_a_queued_job_is_cancelled_at_once_and_its_task_does_nothing(job: Job) -> None:
    assert jobs.cancel_job(job.pk) is Cancelling.CANCELLED
    job.refresh_from_db()
    assert (job.state, job.finished_at is None) == ("cancelled", False)
    assert run(job) == "nothing to do"


def test_a_running_job_is_asked_to_stop_and_stops_at_its_next_step(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def cancel_in_the_middle(records: object) -> object:
        asked.append(jobs.cancel_job(job.pk))
        return LOOKUP.fit(())

    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 0)
    monkeypatch.setitem(SIMULATORS, TOKEN_LOOKUP, Replaced(cancel_in_the_middle))
    assert run(job) == "cancelled"
    assert asked == [Cancelling.REQUESTED]
    job.refresh_from_db()
    assert (job.state, Explanation.objects.filter(job=job).exists()) == ("cancelled", False)


def test_a_job_whose_worker_died_is_cancelled_at_once(job: Job) -> None:
    lapse(job)
    assert jobs.cancel_job(job.pk) is Cancelling.CANCELLED


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_a_finished_job_stays_as_it_is(job: Job, state: str) -> None:
    Job.objects.filter(pk=job.pk).update(state=state, finished_at=timezone.now())
    assert jobs.cancel_job(job.pk) is Cancelling.FINISHED
    job.refresh_from_db()
    assert (job.state, job.cancel_requested) == (state, False)


def test_a_job_that_is_gone_cannot_be_cancelled(db: None) -> None:
    assert jobs.cancel_job(99) is Cancelling.FINISHED


# Running


class Replaced:
    """A token lookup simulator with another `fit`, or none that works."""

    def __init__(self, fit: Any) -> None:
        self.fit = fit

    def __getattr__(self, name: str) -> Any:
        return getattr(LOOKUP, name)


LOOKUP = SIMULATORS[TOKEN_LOOKUP]


def test_a_job_runs_from_records_to_a_scored_explanation(world: World, job: Job) -> None:
    assert run(job) == "done"
    job.refresh_from_db()
    expected = result_for(job).scored
    assert expected.simulation is not None
    assert (job.state, job.progress_done, job.progress_total) == ("done", 10, 10)
    assert job.explanation.text == expected.text
    assert job.explanation.score == pytest.approx(expected.simulation.scores.ev_correlation, abs=1e-12)
    assert job.explanation.simulations.get().excerpt_count == 10


def test_a_second_task_for_a_finished_job_adds_nothing(job: Job) -> None:
    run(job)
    assert run(job) == "nothing to do"
    assert Explanation.objects.filter(parent=job.parent).count() == 1


def test_a_neuron_without_records_fails_with_words(world: World, job: Job) -> None:
    world.neuron.activation_set.delete()
    assert run(job) == "failed"
    job.refresh_from_db()
    assert job.error == "Neuron 0:0 has no activation records, so there is nothing to explain."


def test_a_method_that_the_worker_does_not_have_is_named(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(simulator="gone")
    assert run(job) == "failed"
    job.refresh_from_db()
    assert job.error == "The worker does not have the simulator “gone”."


def test_an_error_of_the_program_is_logged_but_not_shown(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fit(_records: object) -> None:
        raise RuntimeError("the secret path /root")

    monkeypatch.setitem(SIMULATORS, TOKEN_LOOKUP, Replaced(fit))
    assert run(job) == "failed"
    job.refresh_from_db()
    assert job.error == "An error of the program (RuntimeError). The worker's log says more."
    assert "the secret path /root" in caplog.text


def test_a_database_that_is_away_for_a_moment_costs_no_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [OperationalError("database is locked")]
    real = leases.renew

    def renew(*arguments: Any, **progress: Any) -> leases.Renewal:
        if answers:
            raise answers.pop()
        return real(*arguments, **progress)

    monkeypatch.setattr(leases, "renew", renew)
    # The test's transaction lives in this connection.
    monkeypatch.setattr(tasks.connection, "close", lambda: None)
    assert run(job) == "done"
    assert answers == []


def test_a_result_that_the_database_does_not_take_is_tried_again(
    job: Job, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    def locked(*_arguments: object, **_values: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(store, "save_explanation", locked)
        with pytest.raises(OperationalError):
            run(job)
    job.refresh_from_db()
    assert (job.state, job.error) == ("running", "")
    lapse(job)
    jobs.requeue_lapsed()
    assert run(job) == "done"


def test_a_worker_that_stops_gives_its_job_back_uncounted(job: Job, django_capture_on_commit_callbacks: Any) -> None:
    tasks.stopping.set()
    with django_capture_on_commit_callbacks(execute=True):
        assert run(job) == "released"
    job.refresh_from_db()
    assert (job.state, job.attempts, job.lease_until) == ("queued", 0, None)
    assert queued_tasks().count([job.pk]) == 2
    tasks.stopping.clear()
    assert run(job) == "done"


def test_a_forced_stop_gives_the_job_back_and_goes_on_stopping(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(_records: object) -> None:
        raise SystemExit(1)

    monkeypatch.setitem(SIMULATORS, TOKEN_LOOKUP, Replaced(fit))
    with pytest.raises(SystemExit):
        run(job)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("queued", 0)


def test_a_job_given_back_that_somebody_wants_stopped_is_cancelled(job: Job) -> None:
    leases.claim(job.pk, "one")
    jobs.cancel_job(job.pk)
    leases.release(job.pk, "one")
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_a_worker_that_lost_its_lease_stops_and_writes_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(records: Any) -> Any:
        lapse(job)
        leases.claim(job.pk, "another")
        return LOOKUP.fit(records)

    monkeypatch.setitem(SIMULATORS, TOKEN_LOOKUP, Replaced(fit))
    assert run(job) == "lease lost"
    job.refresh_from_db()
    assert (job.state, job.lease_owner) == ("running", "another")
    assert not Explanation.objects.filter(job=job).exists()


# Taking up what was left behind


def test_a_lapsed_job_is_queued_again_with_a_task(job: Job, django_capture_on_commit_callbacks: Any) -> None:
    lapse(job, attempts=1)
    with django_capture_on_commit_callbacks(execute=True):
        assert jobs.requeue_lapsed() == 1
    job.refresh_from_db()
    assert (job.state, job.lease_owner, job.attempts) == ("queued", "", 1)
    assert queued_tasks() == [[job.pk]]
    with django_capture_on_commit_callbacks(execute=True):
        assert jobs.requeue_lapsed() == 0


def test_a_job_with_a_live_worker_is_left_alone(job: Job) -> None:
    leases.claim(job.pk, "one")
    assert jobs.requeue_lapsed() == 0
    job.refresh_from_db()
    assert job.state == "running"


def test_a_job_that_three_workers_died_of_fails(job: Job) -> None:
    lapse(job, attempts=3)
    assert leases.claim(job.pk, "fourth") is None
    assert jobs.requeue_lapsed() == 1
    job.refresh_from_db()
    assert (job.state, job.error) == ("failed", "Its worker stopped 3 times.")


def test_a_lapsed_job_that_somebody_wants_stopped_is_cancelled(job: Job) -> None:
    lapse(job, cancel_requested=True)
    assert leases.claim(job.pk, "two") is None
    jobs.requeue_lapsed()
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_a_job_that_never_got_its_task_gets_one_after_a_lease(
    job: Job, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert jobs.requeue_lapsed() == 0
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    assert jobs.requeue_lapsed() == 1
    assert jobs.requeue_lapsed() == 0
    assert queued_tasks() == [[job.pk]]


def running_task(job: Job, minutes: float) -> DBTaskResult:
    return DBTaskResult.objects.create(
        args_kwargs={"args": [job.pk], "kwargs": {}},
        task_path=tasks.run_job.module_path,
        backend_name="default",
        status="RUNNING",
        started_at=timezone.now() - timedelta(minutes=minutes),
    )


def test_a_queued_job_whose_task_died_before_claiming_it_gets_another(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    dead = running_task(job, 4)
    assert jobs.requeue_lapsed() == 1
    dead.refresh_from_db()
    assert (dead.status, dead.traceback) == ("FAILED", "The worker stopped while it ran this task.")
    assert dead.task_result.errors[0].exception_class is LeaseLost


def test_a_task_that_just_started_is_waited_for(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=5))
    starting = running_task(job, 0)
    assert jobs.requeue_lapsed() == 0
    starting.refresh_from_db()
    assert starting.status == "RUNNING"


def test_the_task_of_a_live_worker_is_not_marked_however_long_it_runs(job: Job) -> None:
    task = running_task(job, 600)
    leases.claim(job.pk, str(task.pk))
    jobs.requeue_lapsed()
    task.refresh_from_db()
    assert task.status == "RUNNING"
    Job.objects.filter(pk=job.pk).update(state="done", finished_at=timezone.now())
    jobs.requeue_lapsed()
    task.refresh_from_db()
    assert task.status == "RUNNING", "its worker is about to write down that it is done"


def test_the_task_of_a_killed_worker_is_marked_failed(job: Job) -> None:
    task = running_task(job, 5)
    leases.claim(job.pk, str(task.pk))
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(minutes=1))
    other = DBTaskResult.objects.create(
        args_kwargs={"args": [], "kwargs": {}}, task_path=str(uuid.uuid4()), backend_name="default", status="RUNNING"
    )
    jobs.requeue_lapsed()
    task.refresh_from_db()
    other.refresh_from_db()
    assert (task.status, other.status) == ("FAILED", "RUNNING")


def test_looking_for_lapsed_jobs_takes_few_queries_where_there_are_none(
    world: World, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(4):  # what killed runs hold, lapsed jobs, lost ones, dead tasks
        jobs.requeue_lapsed()


def test_a_person_who_is_deleted_leaves_the_job(world: World, job: Job) -> None:
    User.objects.filter(pk=world.explainer.pk).delete()
    assert run(job) == "done"


def test_the_worker_prunes_what_ended_long_ago_and_once_an_hour(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_worker.connection, "close", lambda: None)
    ages = {"SUCCESSFUL": (13, 15), "FAILED": (13, 15), "READY": (15,)}
    for status, days in ages.items():
        for day in days:
            DBTaskResult.objects.create(
                args_kwargs={"args": [], "kwargs": {}},
                task_path=tasks.run_job.module_path,
                backend_name="default",
                status=status,
                finished_at=None if status == "READY" else timezone.now() - timedelta(days=day),
            )

    class Over:
        """Not set for two looks."""

        looks = 0

        def wait(self, _seconds: float) -> bool:
            self.looks += 1
            if self.looks == 2:
                assert sorted(DBTaskResult.objects.values_list("status", flat=True)) == [
                    "FAILED",
                    "READY",
                    "SUCCESSFUL",
                ]
                DBTaskResult.objects.update(finished_at=timezone.now() - timedelta(days=15))
            return self.looks == 3

    db_worker.keep_queue(Over())  # type: ignore[arg-type]
    assert DBTaskResult.objects.count() == 3, "pruned again within the hour"
