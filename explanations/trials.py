"""Texts that people try: ask, keep, delete, and take up those whose worker died. `trial_tasks` does the work."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from explanations import queued_tasks, store, trial_leases, trial_tasks
from explanations.models import Neuron, SubjectModel, Trial

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

logger = logging.getLogger(__name__)

HOUR = timedelta(hours=1)


class TriedTooOften(Exception):  # noqa: N818  it is an answer more than an error
    """A person has tried as many texts as an hour allows; the message says so, and when to come back."""


def request_trial(*, model: SubjectModel, neuron: Neuron | None, text: str, author: User) -> Trial:
    """Queue a text on a neuron, or on the whole model. TriedTooOften where the hour's number is reached.

    The same text on the same place that its author still waits for is not queued twice.
    """
    text = store.storable_text(text)
    with transaction.atomic():
        # Locked, so that many requests at once are counted one after the other.
        get_user_model().objects.select_for_update().filter(pk=author.pk).first()
        own = Trial.objects.filter(author=author)
        waiting = own.unfinished().filter(model=model, neuron=neuron, text=text).first()
        if waiting is not None:
            return waiting
        _check_hour(list(own.filter(created_at__gt=timezone.now() - HOUR).values_list("created_at", flat=True)))
        trial = Trial.objects.create(model=model, neuron=neuron, text=text, author=author)
        # Robust: the text is stored by now, and where queueing fails, a worker notices that it has no task.
        transaction.on_commit(partial(trial_tasks.enqueue, trial.pk), robust=True)
    Trial.objects.forgettable().delete()
    return trial


def _check_hour(times: list[object]) -> None:
    most = settings.TRIES_PER_HOUR
    if len(times) < most:
        return
    frees = sorted(times)[-most] + HOUR - timezone.now()  # type: ignore[type-var, operator]
    minutes = max(1, -(-int(frees.total_seconds()) // 60))
    raise TriedTooOften(
        f"You have tried {len(times)} texts within an hour, and {most} is the limit here. The next one is free in"
        f" {minutes} minute{'' if minutes == 1 else 's'}."
    )


def keep_trial(trial_id: int) -> bool:
    """Let anybody open a text's result, and list it; False where there is no result to keep."""
    return bool(Trial.objects.filter(pk=trial_id, state=Trial.State.DONE).update(is_kept=True))


def delete_trial(trial_id: int) -> bool:
    """Forget a text and its result. The row stays for a day without them, so that it counts in its author's hour."""
    gone = {"text": "", "result": b"", "error": "", "stage": "", "is_kept": False, "lease_until": None}
    rows = Trial.objects.filter(~Q(state=Trial.State.DELETED), pk=trial_id)
    return bool(rows.update(**gone, state=Trial.State.DELETED, finished_at=Now()))


def may_delete(person: User | AnonymousUser, trial: Trial) -> bool:
    """Return whether a text is the person's own, or the person may delete everybody's."""
    return person.is_authenticated and (trial.author_id == person.pk or person.has_perm("explanations.delete_trial"))


def requeue_lapsed_trials() -> int:
    """Queue again the texts whose worker died, and tidy up their tasks; return how many were taken up.

    Safe to run in any number of processes at once. One that three workers died of fails.
    """
    taken_up = 0
    for trial in Trial.objects.filter(trial_leases.lapsed()).defer("result", "text").order_by("pk"):
        if trial_leases.take_up(trial):
            logger.warning("The worker of text %d stopped; it is queued again", trial.pk)
            trial_tasks.enqueue(trial.pk)
            taken_up += 1
    waiting = Trial.objects.filter(state=Trial.State.QUEUED, created_at__lt=queued_tasks.lease_ago()).order_by("pk")
    waiting_ids = list(waiting.values_list("pk", flat=True)[:50])
    for trial_id in queued_tasks.without_task(waiting_ids, trial_tasks.run_trial.module_path):
        trial_tasks.enqueue(trial_id)
        taken_up += 1
    queued_tasks.fail_dead(trial_tasks.run_trial.module_path, _owners_alive)
    return taken_up


def _owners_alive(owners: Collection[str]) -> Iterable[str]:
    """Return those of these lease owners whose text goes on, or ended within a lease."""
    alive = Q(state=Trial.State.RUNNING, lease_until__gte=Now()) | Q(finished_at__gte=queued_tasks.lease_ago())
    return Trial.objects.filter(alive, lease_owner__in=owners).values_list("lease_owner", flat=True)
