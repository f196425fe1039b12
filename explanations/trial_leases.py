"""What a worker does with a person's text while it holds its lease, and how one is taken up whose worker died.

As `leases` does for jobs: each change of state is one conditional update whose count is checked.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from explanations import store
from explanations.leases import MAX_ATTEMPTS, LeaseLost, lease_end
from explanations.models import Trial

NOBODY = {"lease_owner": "", "lease_until": None, "stage": ""}


def lapsed() -> Q:
    """Return the condition that a text's worker has not been heard of for a lease."""
    return Q(state=Trial.State.RUNNING, lease_until__lt=Now())


def claim(trial_id: int, owner: str) -> Trial | None:
    """Make `owner` the text's only worker; None where it is not waiting."""
    waiting = Q(state=Trial.State.QUEUED) | (lapsed() & Q(attempts__lt=MAX_ATTEMPTS))
    with transaction.atomic():
        claimed = Trial.objects.filter(waiting, pk=trial_id).update(
            state=Trial.State.RUNNING,
            lease_owner=owner,
            lease_until=lease_end(),
            attempts=F("attempts") + 1,
            stage="starting",
        )
        return Trial.objects.select_related("model", "neuron").get(pk=trial_id) if claimed else None


def renew(trial_id: int, owner: str, **stage: str) -> None:
    """Hold the lease for another term, and store what is being done. LeaseLost where it is not `owner`'s any more."""
    _update_own(trial_id, owner, lease_until=lease_end(), **stage)


def finish(trial_id: int, owner: str, result: bytes) -> None:
    """Store what came of the text. LeaseLost where it is not `owner`'s any more."""
    _update_own(trial_id, owner, **NOBODY, state=Trial.State.DONE, finished_at=Now(), result=result)


def fail(trial_id: int, owner: str, reason: str) -> None:
    """Give the text up with a reason in words. LeaseLost where it is not `owner`'s any more."""
    error = store.storable_text(reason)
    _update_own(trial_id, owner, **NOBODY, state=Trial.State.FAILED, finished_at=Now(), error=error)


def release(trial_id: int, owner: str) -> None:
    """Give the text back unfinished; the start does not count. LeaseLost where it is not `owner`'s any more."""
    _update_own(trial_id, owner, **NOBODY, state=Trial.State.QUEUED, attempts=F("attempts") - 1)


def take_up(trial: Trial) -> bool:
    """Give up or queue again a text whose worker died; True where a task is to be queued for it."""
    still: QuerySet[Trial] = Trial.objects.filter(lapsed(), pk=trial.pk, lease_owner=trial.lease_owner)
    if trial.attempts >= MAX_ATTEMPTS:
        error = f"Its worker stopped {MAX_ATTEMPTS} times."
        still.update(**NOBODY, state=Trial.State.FAILED, finished_at=Now(), error=error)
        return False
    return bool(still.update(**NOBODY, state=Trial.State.QUEUED))


def _update_own(trial_id: int, owner: str, **values: object) -> None:
    own = Trial.objects.filter(pk=trial_id, state=Trial.State.RUNNING, lease_owner=owner)
    if not own.update(**values):
        raise LeaseLost(f"text {trial_id} is no longer {owner}'s")
