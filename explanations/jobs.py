"""Re-explanations: ask for one, cancel one, and take up those whose worker died. `leases` is the worker's side.

`request_job(*, neuron, parent, requested_by, explainer=TOKEN_LOOKUP, simulator=TOKEN_LOOKUP) -> Job` raises
`JobExists(job)` where the same is already asked for and not finished, and `budgets.OverBudget` where a cap does not
allow it. It may be called inside a transaction: the work is queued when that commits.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import asdict
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from explanations import budgets, queued_tasks, run_holds, store, tasks
from explanations.leases import MAX_ATTEMPTS, lapsed
from explanations.methods import (
    DEAF,
    Estimate,
    estimate_job,
    is_free,
    plan_options,
    planned_explainers,
    planned_simulators,
    read_plan,
)
from explanations.models import Explanation, Job, Neuron
from explanations.pipeline.explainer import Explainer
from explanations.pipeline.records import NeuronRecord
from explanations.pipeline.run import check_excerpts
from explanations.pipeline.simulator import Simulator
from explanations.pipeline.token_lookup import TOKEN_LOOKUP

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

COMMAND = "the explain command"
A_PERSON = "a person"
"""The explainer of jobs that score what a person wrote."""


class JobExists(Exception):  # noqa: N818  it is an answer more than an error
    """The same re-explanation was asked for before and is not finished; `job` is that one."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"Job {job.pk} already does the same to this neuron.")
        self.job = job


# Asking


def check_record(neuron: Neuron, record: NeuronRecord | None) -> NeuronRecord:
    """Return the record. PipelineError where it has too few excerpts to explain and score the neuron."""
    record = record or NeuronRecord(neuron.neuron_id, top=(), random=())
    check_excerpts(neuron.neuron_id, len(record.top), len(record.random))
    return record


def request_job(
    *,
    neuron: Neuron,
    parent: Explanation | None,
    requested_by: User | None,
    explainer: str = TOKEN_LOOKUP,
    simulator: str = TOKEN_LOOKUP,
    candidates: int = 1,
    revisions: int = 0,
    within: Decimal | None = None,
) -> Job:
    """Queue a re-explanation of `neuron` that is to better `parent`. JobExists where the same is not finished yet.

    ValueError where the installation has no such explainer or simulator, or `parent` is another neuron's. OverBudget
    where a cap (or `within`) does not allow what it may cost, PipelineError where that cannot be told.
    """
    if parent is not None and parent.neuron_id != neuron.pk:
        raise ValueError(f"explanation {parent.pk} is not of neuron {neuron.pk}")
    explaining, simulating = planned_explainers().get(explainer), planned_simulators().get(simulator)
    if explaining is None or simulating is None:
        raise ValueError(f"no explainer {explainer!r} or no simulator {simulator!r} here")
    wanted = Job(neuron=neuron, parent=parent, requested_by=requested_by, explainer=explainer, simulator=simulator)
    wanted.options = plan_options(explaining, candidates, revisions)
    if requested_by is None:
        wanted.options["by"] = COMMAND
    return _queue_once(wanted, explaining, simulating, within)


def request_scoring(*, neuron: Neuron, text: str, requested_by: User, simulator: str) -> Job:
    """Queue the scoring of an explanation that a person wrote. Raises what `request_job` does."""
    simulating = planned_simulators().get(simulator)
    if simulating is None or simulator in DEAF:
        raise ValueError(f"no simulator {simulator!r} that reads explanations here")
    text = store.storable_text(text)
    wanted = Job(neuron=neuron, requested_by=requested_by, explainer=A_PERSON, simulator=simulator, text=text)
    return _queue_once(wanted, None, simulating)


def request_rescoring(
    *, explanation: Explanation, requested_by: User | None, simulator: str, within: Decimal | None = None
) -> Job:
    """Queue one more simulation of an explanation that is there. Raises what `request_job` does."""
    simulating = planned_simulators().get(simulator)
    if simulating is None or simulator in DEAF:
        raise ValueError(f"no simulator {simulator!r} that reads explanations here")
    neuron = explanation.neuron
    wanted = Job(neuron=neuron, parent=explanation, requested_by=requested_by, simulator=simulator)
    # Each explanation by itself: two of a neuron may be scored at once.
    wanted.explainer = rescoring_of(explanation.pk)
    wanted.options = {"rescores": explanation.pk}
    if requested_by is None:
        wanted.options["by"] = COMMAND
    return _queue_once(wanted, None, simulating, within)


def rescoring_of(explanation_id: int) -> str:
    """Return what stands as the explainer of jobs that score an explanation once more."""
    return f"explanation {explanation_id}"


def _estimate(job: Job, explainer: Explainer | None, simulator: Simulator) -> Estimate:
    """Return what a job is expected to take. Two queries; none where no language model is asked. PipelineError."""
    if is_free(explainer) and is_free(simulator):
        return Estimate()
    record = check_record(job.neuron, store.read_neuron_record(job.neuron))
    return estimate_job(
        record,
        explainer,
        simulator,
        read_plan(job.options),
        job.parent.text if job.rescores and job.parent else job.text,
    )


def _queue_once(wanted: Job, explainer: Explainer | None, simulator: Simulator, within: Decimal | None = None) -> Job:
    estimate = _estimate(wanted, explainer, simulator)
    wanted.estimate = asdict(estimate)
    held = budgets.most_for_job(estimate.usd, estimate.most_usd)
    if held:
        run_holds.release_lapsed()
    if within is not None and held > within:
        raise budgets.OverBudget(
            f"{budgets.written(within)} are left, and this may cost up to {budgets.written(held)}."
        )
    try:
        return _create_job(wanted, held)
    except IntegrityError:
        # The unique constraint is the judge: two clicks at once both find no job when they look first.
        same = Job.objects.unfinished().filter(
            neuron=wanted.neuron, explainer=wanted.explainer, simulator=wanted.simulator, text=wanted.text
        )
        found = same.first()
        if found is None:
            # It finished in the meantime (or something else is wrong, which the second try says).
            return _create_job(wanted, held)
        raise JobExists(found) from None


@transaction.atomic
def _create_job(wanted: Job, held: Decimal) -> Job:
    job = copy(wanted)
    job.save(force_insert=True)
    budgets.hold_for_job(job, held)
    _enqueue_on_commit(job.pk)
    return job


def _enqueue_on_commit(job_id: int) -> None:
    # Robust: the job is stored by now, and where queueing fails, a worker notices that it has no task.
    transaction.on_commit(partial(tasks.enqueue, job_id), robust=True)


# Cancelling


class Cancelling(enum.Enum):
    """What came of asking to cancel a job."""

    CANCELLED = "cancelled"
    REQUESTED = "requested"
    """its worker stops at its next step"""
    FINISHED = "finished"
    """there was nothing left to cancel"""


@transaction.atomic
def cancel_job(job_id: int) -> Cancelling:
    """Cancel a job at once where nobody works on it; ask its worker to stop where somebody does."""
    idle = Job.objects.filter(Q(state=Job.State.QUEUED) | lapsed(), pk=job_id)
    if _end(idle, Job.State.CANCELLED, job_id):
        return Cancelling.CANCELLED
    if Job.objects.filter(pk=job_id, state=Job.State.RUNNING).update(cancel_requested=True):
        return Cancelling.REQUESTED
    return Cancelling.FINISHED


def _end(row: QuerySet[Job], state: Job.State, job_id: int, error: str = "") -> bool:
    """Finish a job that nobody works on, and settle what was held for it; False where it is not in `row` any more."""
    ended = row.update(state=state, lease_until=None, finished_at=Now(), stage="", error=error)
    if ended:
        budgets.settle_job(job_id)
    return bool(ended)


# Taking up what was left behind


def requeue_lapsed() -> int:
    """Put jobs whose worker died back into the queue, and tidy up their tasks; return how many jobs were taken up.

    Safe to run in any number of processes at once. A job that three workers died of fails; one that somebody wants
    stopped is cancelled.
    """
    run_holds.release_lapsed()
    taken_up = 0
    for job in Job.objects.filter(lapsed()).order_by("pk"):
        taken_up += _take_up(job)
    for job_id in _queued_without_task():
        logger.warning("Job %d was queued without a task; queueing one", job_id)
        tasks.enqueue(job_id)
        taken_up += 1
    queued_tasks.fail_dead(tasks.run_job.module_path, _owners_alive)
    return taken_up


def _take_up(job: Job) -> bool:
    """Requeue, cancel or fail one lapsed job; False where somebody was quicker."""
    still_lapsed = Job.objects.filter(lapsed(), pk=job.pk, lease_owner=job.lease_owner)
    with transaction.atomic():
        if job.cancel_requested:
            return _end(still_lapsed, Job.State.CANCELLED, job.pk)
        if job.attempts >= MAX_ATTEMPTS:
            return _end(still_lapsed, Job.State.FAILED, job.pk, f"Its worker stopped {MAX_ATTEMPTS} times.")
        requeued = still_lapsed.filter(cancel_requested=False).update(
            state=Job.State.QUEUED, lease_owner="", lease_until=None, stage="", progress_done=0, progress_total=0
        )
        if requeued:
            logger.warning("The worker of job %d stopped; the job is queued again", job.pk)
            _enqueue_on_commit(job.pk)
        return bool(requeued)


def _queued_without_task(at_most: int = 50) -> list[int]:
    """Return the oldest jobs that wait for a task that nobody has: a process died between storing and queueing."""
    waiting = Job.objects.filter(state=Job.State.QUEUED, created_at__lt=queued_tasks.lease_ago()).order_by("pk")
    job_ids = list(waiting.values_list("pk", flat=True)[:at_most])
    return queued_tasks.without_task(job_ids, tasks.run_job.module_path)


def _owners_alive(owners: Collection[str]) -> Iterable[str]:
    """Return those of these lease owners whose job goes on, or ended within a lease."""
    alive = Q(state=Job.State.RUNNING, lease_until__gte=Now()) | Q(finished_at__gte=queued_tasks.lease_ago())
    return Job.objects.filter(alive, lease_owner__in=owners).values_list("lease_owner", flat=True)
