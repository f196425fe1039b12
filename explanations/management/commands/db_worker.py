"""The worker of django_tasks_db that also takes up jobs whose worker died, gives its own back, and prunes the queue."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError, connection
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV, run_with_reloader
from django_tasks_db.management.commands import db_worker
from django_tasks_db.utils import is_locked_database_exception

from explanations import tasks
from explanations.jobs import requeue_lapsed
from explanations.trials import requeue_lapsed_trials

logger = logging.getLogger(__name__)

WORKER_OPTIONS = ("interval", "backend_name", "startup_delay", "max_tasks", "worker_id")
"""Options of the command that the worker takes as they are."""


INTERVAL = 0.2
"""Seconds between looks into an empty queue: who tries a text waits for it. A look takes about a millisecond."""

TASKS_KEPT_DAYS = 14
"""Days for which the queue's finished rows stay, to be looked at when something went wrong. Jobs stay for ever."""
PRUNE_SECONDS = 3600


class JobWorker(db_worker.Worker):
    """A worker that, from a thread of its own, puts lapsed jobs back into the queue and takes old rows out of it."""

    def run(self) -> None:
        # Before the first look into the queue: with --batch there may be no second.
        requeue_lapsed()
        requeue_lapsed_trials()
        over = threading.Event()
        thread = threading.Thread(target=keep_queue, args=(over,), name="keep queue", daemon=True)
        thread.start()
        try:
            self._run_through_locks()
        finally:
            over.set()
            thread.join(timeout=5)

    def _run_through_locks(self) -> None:
        """Work until told to stop. A SQLite database that an import keeps locked for long is waited for."""
        while True:
            try:
                return super().run()
            except OperationalError as error:
                if not is_locked_database_exception(error):
                    raise
                logger.warning("The database was locked for long; trying again")

    def shutdown(self, signum: int, frame: FrameType | None) -> None:
        tasks.stopping.set()
        super().shutdown(signum, frame)


def keep_queue(over: threading.Event) -> None:
    """Put lapsed jobs back into the queue, six times a lease, and prune it now and every hour, until `over` is set."""
    pruned = -math.inf
    while not over.wait(settings.JOB_LEASE_SECONDS / 6):
        try:
            requeue_lapsed()
            requeue_lapsed_trials()
            if time.monotonic() - pruned >= PRUNE_SECONDS:
                prune_finished()
                pruned = time.monotonic()
        except DatabaseError:
            logger.warning("The queue could not be kept in order; trying again", exc_info=True)
        finally:
            # Not kept open between looks: a restarted database would leave a dead one.
            connection.close()


def prune_finished() -> None:
    """Delete what the queue keeps of tasks that ended long ago."""
    call_command("prune_db_task_results", "--queue-name=*", f"--min-age-days={TASKS_KEPT_DAYS}", verbosity=0)


class Command(db_worker.Command):
    help = "Run queued jobs. Start as many as you like, on as many machines as reach the database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(interval=INTERVAL)

    def handle(
        self, *, verbosity: int, queue_name: str, exclude_queues: str, reload: bool, batch: bool, **options: Any
    ) -> None:
        self.configure_logging(verbosity)
        queues, excluded = queue_name.split(","), exclude_queues.split(",") if exclude_queues else []
        if excluded and "*" not in queues:
            raise CommandError("--exclude-queues can only be used with --queue-name=*")
        given = {name: options[name] for name in WORKER_OPTIONS}
        worker = JobWorker(queue_names=queues, excluded_queue_names=excluded, batch=batch, **given)
        if not reload or batch:
            worker.configure_signals()
            worker.run()
            return
        if os.environ.get(DJANGO_AUTORELOAD_ENV) == "true":
            # Only the child process works; its parent restarts it.
            worker.configure_signals()
        run_with_reloader(worker.run)
