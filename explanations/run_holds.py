"""What runs of the command line hold on the day's books, each with a lease: what a killed run held comes free.

A job's hold is kept with the job, which a worker's lease watches over. A run has no row of its own, so it keeps one
here: what it holds, and what it has spent of that so far. It renews the lease while it lives; whoever finds a lapsed
one (a worker, the next run, a person who asks for a job) gives back what was held and enters what was spent.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from explanations import budgets
from explanations.budgets import Hold
from explanations.models import RunHold

logger = logging.getLogger(__name__)


class RunBooks:
    """One run's holds. One thread holds and settles; another renews the lease."""

    def __init__(self, spending: Callable[[], Decimal]) -> None:
        """`spending` tells what those under way have spent so far, in US dollars."""
        self.owner = uuid.uuid4().hex
        self._spending = spending

    def hold(self, usd: Decimal) -> Hold:
        """Set money aside today. OverBudget where the day's cap forbids it."""
        with transaction.atomic():
            held = budgets.hold(usd, None)
            if usd:
                RunHold.objects.bulk_create(
                    [RunHold(owner=self.owner, day=held.day, lease_until=timezone.now())], ignore_conflicts=True
                )
                self._own(held).update(held=F("held") + budgets.micros(usd), lease_until=_lease_end())
        return held

    def settle(self, held: Hold, spent_usd: Decimal) -> None:
        """Enter what was spent in the place of what was held."""
        with transaction.atomic():
            kept = held.usd and self._own(held).update(
                held=F("held") - budgets.micros(held.usd), spent=budgets.micros(self._spending())
            )
            # Given back by somebody who thought this run dead: it may not be given back twice. What was spent by then
            # is entered twice, which errs on the safe side.
            given = held if kept else Hold(held.day, held.person_id, Decimal(0))
            budgets.settle(given, spent_usd)
            RunHold.objects.filter(owner=self.owner, held=0).delete()

    def renew(self) -> None:
        """Hold the lease for another term."""
        RunHold.objects.filter(owner=self.owner).update(
            lease_until=_lease_end(), spent=budgets.micros(self._spending())
        )

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Renew the lease from a thread until the body is left."""
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(over,), name="run-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _beat(self, over: threading.Event) -> None:
        try:
            while not over.wait(settings.JOB_LEASE_SECONDS / 3):
                try:
                    self.renew()
                except OperationalError:
                    logger.warning("The run's lease could not be renewed; trying again", exc_info=True)
                    connection.close()
        finally:
            connection.close()

    def _own(self, held: Hold) -> QuerySet[RunHold]:
        return RunHold.objects.filter(owner=self.owner, day=held.day)


def release_lapsed() -> int:
    """Give back what dead runs held, and enter what they spent up to their last sign of life; return how many runs."""
    released = 0
    for pk in RunHold.objects.filter(lease_until__lt=Now()).values_list("pk", flat=True):
        with transaction.atomic():
            row = RunHold.objects.select_for_update().filter(pk=pk, lease_until__lt=Now()).first()
            if row is None or not RunHold.objects.filter(pk=pk, held=row.held, spent=row.spent).delete()[0]:
                continue
            budgets.settle(Hold(row.day, None, budgets.amount(row.held)), budgets.amount(row.spent))
            logger.warning("A run stopped without a word; what it held is free again")
            released += 1
    return released


def _lease_end() -> Any:
    return ExpressionWrapper(Now() + timedelta(seconds=settings.JOB_LEASE_SECONDS), output_field=DateTimeField())
