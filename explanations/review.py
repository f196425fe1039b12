"""Flags and what becomes of them: each change of a flag's state, with its event, in one transaction.

Who may ask is the views' business, except where the answer depends on the rows: only a flag's claimer decides on it.
Locks are taken in one order, explanation before flags before neuron, so that two people never wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.utils import timezone

from explanations import jobs, store
from explanations.models import Explanation, Flag, Job, ReviewEvent

if TYPE_CHECKING:
    from django.contrib.auth.models import User

RETIRING = (Flag.State.RETIRED, Flag.State.REEXPLAINED)
"""Decisions that retire the explanation."""
DECISIONS = (Flag.State.KEPT, Flag.State.RETIRED, Flag.State.REEXPLAINED)


class ReviewError(Exception):
    """What a person asked for and cannot have, in words for that person."""


class AlreadyFlagged(ReviewError):  # noqa: N818  it is an answer more than an error
    """The person's own flag of this explanation still waits for a decision."""

    def __init__(self, flag: Flag) -> None:
        super().__init__("You have flagged this explanation already, and your flag waits for a decision.")
        self.flag = flag


def describe_state(flag: Flag, person: User) -> str:
    """Return in words what has become of a flag, as `person` would say it."""
    who = "you" if flag.reviewer_id == person.pk else flag.reviewer.get_username() if flag.reviewer else "a former user"
    if flag.state == Flag.State.OPEN:
        return "open, claimed by nobody"
    if flag.state == Flag.State.WITHDRAWN:
        return f"withdrawn by {'you' if flag.reporter_id == person.pk else 'whoever filed it'}"
    return f"{flag.get_state_display()} by {who}"


def describe_decision(decision: str, others: int) -> str:
    """Return what a decision did to the explanation and to so many other flags of it."""
    done = {
        Flag.State.KEPT: "the explanation is kept.",
        Flag.State.RETIRED: "the explanation is retired.",
        Flag.State.REEXPLAINED: "the explanation is retired, and a new one is being made.",
    }[Flag.State(decision)]
    return f"{done} {others} other flag{'s' if others > 1 else ''} of it closed with it." if others else done


# Filing


def file_flag(*, explanation: Explanation, reporter: User, reason: str, note: str) -> Flag:
    """Store a person's flag of a current explanation. AlreadyFlagged where an earlier one waits for a decision."""
    try:
        return _create_flag(explanation, reporter, reason, store.storable_text(note))
    except IntegrityError:
        # The unique constraint is the judge: two clicks at once both find no flag when they look first.
        earlier = Flag.objects.undecided().filter(explanation=explanation, reporter=reporter).first()
        if earlier is None:
            raise
        raise AlreadyFlagged(earlier) from None


@transaction.atomic
def _create_flag(explanation: Explanation, reporter: User, reason: str, note: str) -> Flag:
    locked = _lock_explanation(explanation.pk)
    if not locked.is_current:
        raise ReviewError("This explanation has been retired, so there is nothing left to flag.")
    flag = Flag.objects.create(explanation=locked, reporter=reporter, reason=reason, note=note)
    ReviewEvent.objects.create(flag=flag, actor=reporter, action=ReviewEvent.Action.FLAGGED, reason=note)
    store.refresh_headlines([locked.neuron_id])
    return flag


@transaction.atomic
def withdraw_flag(*, flag: Flag, person: User, seen: int) -> None:
    """Take one's own flag back, as long as no reviewer has claimed it."""
    explanation = _lock_explanation(flag.explanation_id)
    locked = _lock_flag(flag, person, seen)
    if locked.reporter_id != person.pk:
        raise ReviewError("Only the person who filed a flag can withdraw it.")
    if locked.state == Flag.State.CLAIMED:
        raise ReviewError(f"Flag {flag.pk} is {describe_state(locked, person)}, so it is theirs to decide now.")
    if locked.state != Flag.State.OPEN:
        raise ReviewError(f"Flag {flag.pk} is {describe_state(locked, person)}: there is nothing to withdraw.")
    locked.state, locked.decided_at = Flag.State.WITHDRAWN, timezone.now()
    locked.save(update_fields=["state", "decided_at"])
    ReviewEvent.objects.create(flag=locked, actor=person, action=ReviewEvent.Action.WITHDRAWN)
    store.refresh_headlines([explanation.neuron_id])


# Claiming


@transaction.atomic
def claim_flag(*, flag: Flag, reviewer: User) -> None:
    """Make an open flag the reviewer's to decide. ReviewError for all but the first of those who try at once."""
    claimed = (
        Flag.objects.claimable()
        .filter(pk=flag.pk)
        .update(state=Flag.State.CLAIMED, reviewer=reviewer, claimed_at=timezone.now())
    )
    if not claimed:
        raise ReviewError(f"Flag {flag.pk} is already {describe_state(_reread(flag), reviewer)}.")
    ReviewEvent.objects.create(flag=flag, actor=reviewer, action=ReviewEvent.Action.CLAIMED)


@transaction.atomic
def release_flag(*, flag: Flag, person: User, seen: int) -> None:
    """Give a claimed flag back to the queue: the claimer may, and a superuser for a claimer who is away."""
    locked = _lock_flag(flag, person, seen)
    if locked.state != Flag.State.CLAIMED:
        raise ReviewError(f"Flag {flag.pk} is {describe_state(locked, person)}: there is no claim to release.")
    if locked.reviewer_id != person.pk and not person.is_superuser:
        raise ReviewError(f"Flag {flag.pk} is {describe_state(locked, person)}; only they can release it.")
    locked.state, locked.reviewer, locked.claimed_at = Flag.State.OPEN, None, None
    locked.save(update_fields=["state", "reviewer", "claimed_at"])
    ReviewEvent.objects.create(flag=locked, actor=person, action=ReviewEvent.Action.RELEASED)


# Deciding


@transaction.atomic
def decide_flag(*, flag: Flag, reviewer: User, decision: str, reason: str, seen: int) -> list[Flag]:
    """Keep or retire the flagged explanation, or retire and re-explain it; return the flags that this closes.

    Retiring settles every undecided flag of the explanation, so it is refused while somebody else has claimed one.
    `seen` is the flag's last event when its form was shown: a decision on what has changed since is refused.
    """
    explanation = _lock_explanation(flag.explanation_id)
    locked = _lock_flag(flag, reviewer, seen)
    if locked.state != Flag.State.CLAIMED or locked.reviewer_id != reviewer.pk:
        raise ReviewError(f"Flag {flag.pk} is {describe_state(locked, reviewer)}. Claim it before you decide.")
    if decision == Flag.State.KEPT:
        if not explanation.is_current:
            raise ReviewError("This explanation has been retired meanwhile, so it cannot be kept.")
        closed, job = [locked], None
    else:
        closed, job = _retire(explanation, locked, reviewer, decision)
    _close_flags(closed, reviewer, decision, store.storable_text(reason), job)
    store.refresh_headlines([explanation.neuron_id])
    return closed


def _retire(explanation: Explanation, flag: Flag, reviewer: User, decision: str) -> tuple[list[Flag], Job | None]:
    """Retire the explanation; return the flags that this settles, `flag` first, and the job where one was asked for."""
    others = Flag.objects.undecided().filter(explanation=explanation).exclude(pk=flag.pk)
    settled = [flag, *others.order_by("id").select_for_update(no_key=True)]
    for other in settled:
        if other.reviewer_id not in (None, reviewer.pk):
            raise ReviewError(
                f"Flag {other.pk} of the same explanation is {describe_state(other, reviewer)}, and retiring would "
                "decide it too. Agree with them: they decide or release theirs first."
            )
    explanation.state = Explanation.State.RETIRED
    explanation.save(update_fields=["state"])
    return settled, _request_job(explanation, reviewer) if decision == Flag.State.REEXPLAINED else None


def _request_job(explanation: Explanation, reviewer: User) -> Job:
    """Ask for a re-explanation; where one for this neuron is under way already, that one will do."""
    if not reviewer.has_perm("explanations.add_job"):
        raise ReviewError("You may retire explanations, but not start re-explanations. Ask an administrator for it.")
    try:
        return jobs.request_job(neuron=explanation.neuron, parent=explanation, requested_by=reviewer)
    except jobs.JobExists as exists:
        return exists.job


@transaction.atomic
def restore_explanation(*, flag: Flag, reviewer: User, reason: str, seen: int) -> None:
    """Make the explanation that this flag's decision retired current again. The flag keeps its decision."""
    explanation = _lock_explanation(flag.explanation_id)
    locked = _lock_flag(flag, reviewer, seen)
    if explanation.is_current:
        raise ReviewError("This explanation is current already, so there is nothing to restore.")
    if locked.state not in RETIRING:
        raise ReviewError(f"Flag {flag.pk} is {describe_state(locked, reviewer)}: it did not retire the explanation.")
    explanation.state = Explanation.State.CURRENT
    explanation.save(update_fields=["state"])
    action, why = ReviewEvent.Action.RESTORED, store.storable_text(reason)
    ReviewEvent.objects.create(flag=locked, actor=reviewer, action=action, reason=why)
    store.refresh_headlines([explanation.neuron_id])


def _close_flags(flags: list[Flag], reviewer: User, decision: str, reason: str, job: Job | None) -> None:
    """Give all these flags one decision; the first is the one decided on, and the others' events say so."""
    Flag.objects.filter(pk__in=[flag.pk for flag in flags]).update(
        state=decision, reviewer=reviewer, decision_reason=reason, decided_at=timezone.now(), job=job
    )
    first = flags[0].pk
    ReviewEvent.objects.bulk_create(
        ReviewEvent(
            flag=flag,
            actor=reviewer,
            action=decision,
            reason=reason if flag.pk == first else f"Decided together with flag {first}: {reason}",
        )
        for flag in flags
    )


# Reading under a lock. SQLite has no row locks and needs none: its transactions that write take turns.


def _lock_explanation(pk: int) -> Explanation:
    return Explanation.objects.select_for_update(no_key=True).get(pk=pk)


def _lock_flag(flag: Flag, person: User, seen: int) -> Flag:
    """Return the flag as it is now, locked. ReviewError where it has changed since its event `seen`."""
    locked = Flag.objects.select_for_update(no_key=True).get(pk=flag.pk)
    if ReviewEvent.objects.filter(flag=locked, pk__gt=seen).exists():
        raise ReviewError(
            f"Flag {flag.pk} has changed since you opened the page: it is {describe_state(locked, person)}. "
            "Nothing was done."
        )
    return locked


def _reread(flag: Flag) -> Flag:
    return Flag.objects.select_related("reviewer").get(pk=flag.pk)
