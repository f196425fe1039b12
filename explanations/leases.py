"""What a worker does with a job while it holds its lease.

Each change of state is one conditional update whose count is checked: a worker that was thought dead and comes back
finds that the job is no longer its own, and writes nothing. Times are the database's, because workers run on many
machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce, Now

from explanations import budgets, store
from explanations.models import Explanation, Job, Neuron, Source
from explanations.pipeline.language_models import NO_USAGE, Usage
from explanations.pipeline.run import Result

MAX_ATTEMPTS = 3
"""Workers that may die of a job before it is given up."""


GONE = "The explanation that was to be scored again has been deleted."
REWORDED = "The explanation was changed by an import while it was scored. Ask again."


class LeaseLost(Exception):  # noqa: N818  it is what happened, not a mistake
    """The job is no longer this worker's: it was cancelled, or the lease lapsed and another took it."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a worker learns when it renews its lease."""

    cancel_requested: bool
    """somebody asked to stop the job"""


def lease_end() -> Any:
    """Return the database's time at which a lease taken now lapses."""
    return ExpressionWrapper(Now() + timedelta(seconds=settings.JOB_LEASE_SECONDS), output_field=DateTimeField())


def lapsed() -> Q:
    """Return the condition that a job's worker has not been heard of for a lease."""
    return Q(state=Job.State.RUNNING, lease_until__lt=Now())


def claim(job_id: int, owner: str) -> Job | None:
    """Make `owner` the job's only worker; None where it is not waiting (another has it, it is finished, or gone)."""
    waiting = Q(state=Job.State.QUEUED) | (lapsed() & Q(cancel_requested=False, attempts__lt=MAX_ATTEMPTS))
    with transaction.atomic():
        claimed = Job.objects.filter(waiting, pk=job_id).update(
            state=Job.State.RUNNING,
            lease_owner=owner,
            lease_until=lease_end(),
            attempts=F("attempts") + 1,
            started_at=Coalesce("started_at", Now()),
            stage="starting",
            progress_done=0,
            progress_total=0,
        )
        if not claimed:
            return None
        return Job.objects.select_related("neuron__model", "parent", "requested_by").get(pk=job_id)


def renew(job_id: int, owner: str, spent: Usage = NO_USAGE, **progress: Any) -> Renewal:
    """Hold the lease for another term, store `progress` and add to what was spent.

    LeaseLost where it is not `owner`'s any more.
    """
    with transaction.atomic():
        _update_own(job_id, owner, spent, lease_until=lease_end(), **progress)
        return Renewal(Job.objects.values_list("cancel_requested", flat=True).get(pk=job_id))


def finish(job: Job, owner: str, result: Result, source: Source, spent: Usage = NO_USAGE) -> Explanation | None:
    """Store the result and mark the job done, both or neither. LeaseLost where it is not `owner`'s any more.

    None, and the job failed, where the explanation that it was to score again is not what it was.

    `spent` is what was spent since the last renewal, here and below.
    """
    with transaction.atomic():
        parent = _lock_around(job)
        if job.rescores:
            return _finish_rescoring(job, owner, parent, result, spent)
        _end(job.pk, owner, spent, Job.State.DONE)
        author = job.requested_by if source == Source.HUMAN else None
        return store.save_explanation(
            neuron=job.neuron,
            scored=result.scored,
            source=source,
            parent=parent,
            author=author,
            job=job,
            provenance=result.provenance,
        )


def _finish_rescoring(
    job: Job, owner: str, explanation: Explanation | None, result: Result, spent: Usage
) -> Explanation | None:
    simulation = result.scored.simulation
    assert simulation is not None
    if explanation is None or job.parent is None or explanation.text != job.parent.text:
        _end(job.pk, owner, spent, Job.State.FAILED, error=GONE if explanation is None else REWORDED)
        return None
    _end(job.pk, owner, spent, Job.State.DONE)
    store.save_simulation(explanation=explanation, simulation=simulation, provenance=result.provenance)
    return explanation


def fail(job_id: int, owner: str, reason: str, spent: Usage = NO_USAGE) -> None:
    """Give the job up with a reason in words. LeaseLost where it is not `owner`'s any more."""
    with transaction.atomic():
        _end(job_id, owner, spent, Job.State.FAILED, error=store.storable_text(reason))


def stop(job_id: int, owner: str, spent: Usage = NO_USAGE) -> None:
    """Mark the job cancelled, as somebody asked. LeaseLost where it is not `owner`'s any more."""
    with transaction.atomic():
        _end(job_id, owner, spent, Job.State.CANCELLED)


def release(job_id: int, owner: str, spent: Usage = NO_USAGE) -> None:
    """Give the job back unfinished; the start does not count. LeaseLost where it is not `owner`'s any more.

    A job that somebody wants stopped is cancelled instead.
    """
    with transaction.atomic():
        given_back = (
            _own(job_id, owner)
            .filter(cancel_requested=False)
            .update(
                state=Job.State.QUEUED,
                lease_owner="",
                lease_until=None,
                stage="",
                attempts=F("attempts") - 1,
                progress_done=0,
                progress_total=0,
                **budgets.spending(spent),
            )
        )
        if not given_back:
            stop(job_id, owner, spent)


def _own(job_id: int, owner: str) -> Any:
    return Job.objects.filter(pk=job_id, state=Job.State.RUNNING, lease_owner=owner)


def _end(job_id: int, owner: str, spent: Usage, state: Job.State, error: str = "") -> None:
    """Finish the job in this state, and settle what was held for it."""
    ended = {"state": state, "lease_until": None, "finished_at": Now(), "stage": "", "error": error}
    _update_own(job_id, owner, spent, **ended)
    budgets.settle_job(job_id)


def _update_own(job_id: int, owner: str, spent: Usage, **values: Any) -> None:
    if not _own(job_id, owner).update(**values, **budgets.spending(spent)):
        raise LeaseLost(f"job {job_id} is no longer {owner}'s")


def _lock_around(job: Job) -> Explanation | None:
    """Lock what a review of the neuron locks, in the order in which it does: the explanation, then the neuron.

    The job comes last. In another order the two could wait for each other. Returns the explanation to be bettered,
    None where it is gone.
    """
    parent = Explanation.objects.select_for_update().filter(pk=job.parent_id).first() if job.parent_id else None
    Neuron.objects.select_for_update().filter(pk=job.neuron_id).first()
    return parent
