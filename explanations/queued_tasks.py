"""The queue's own rows of tasks: whether somebody has one for a row, and those that nobody will ever finish.

Every task here takes one row's number, and is the lease owner of that row while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django_tasks_db.models import DBTaskResult


def lease_ago() -> Any:
    """Return the time of a lease ago."""
    return timezone.now() - timedelta(seconds=settings.JOB_LEASE_SECONDS)


def without_task(row_ids: Collection[int], task_path: str) -> list[int]:
    """Return those of these waiting rows that no task is for: a process died between storing and queueing."""
    if not row_ids:
        return []
    alive = Q(status="READY") | Q(status="RUNNING", started_at__gte=lease_ago())
    theirs = DBTaskResult.objects.filter(alive, task_path=task_path, args_kwargs__args__0__in=list(row_ids))
    found = theirs.values_list("args_kwargs", flat=True)
    return sorted(set(row_ids) - {arguments["args"][0] for arguments in found})


def fail_dead(task_path: str, owners_alive: Callable[[Collection[str]], Iterable[str]]) -> None:
    """Mark tasks failed whose worker was killed, since nobody else ever will.

    `owners_alive` returns those of these lease owners that still work, or ended within a lease: their workers write
    that down themselves. A worker that was merely slow overwrites the mark.
    """
    running = DBTaskResult.objects.filter(status="RUNNING", task_path=task_path, started_at__lt=lease_ago())
    ids = {str(pk): pk for pk in running.values_list("pk", flat=True)}
    if not ids:
        return
    for owner in owners_alive(ids):
        ids.pop(owner, None)
    running.filter(pk__in=ids.values()).update(
        status="FAILED",
        finished_at=timezone.now(),
        exception_class_path="explanations.leases.LeaseLost",
        traceback="The worker stopped while it ran this task.",
    )
