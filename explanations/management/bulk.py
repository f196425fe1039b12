"""Explaining or scoring many at once: several at a time, within a budget, stopped cleanly."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from decimal import Decimal

from explanations import budgets, store
from explanations.budgets import Hold, OverBudget
from explanations.jobs import check_record
from explanations.management.bulk_work import Item, Work
from explanations.pipeline.language_models import LanguageModelError, Usage
from explanations.pipeline.metering import LimitReached, Meter
from explanations.pipeline.records import NeuronRecord
from explanations.pipeline.run import PipelineError, Result
from explanations.run_holds import RunBooks, release_lapsed

READ_AHEAD = 2
"""how many times as many are begun or read as are asked about at a time, so that no thread waits for rows"""
FAILURES_IN_A_ROW = 20
"""How many may fail one after the other before the run stops: a wrong key fails them all."""


SWITCH_SECONDS = 0.0005
"""how long a thread computes before others have their turn: a request that could be sent waits no longer"""


class Stopped(Exception):  # noqa: N818
    """The run was told to stop, so this one is left for the next run."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for."""

    work: Work
    budget: Decimal | None
    concurrency: int


@dataclass
class Outcome:
    """What came of it so far."""

    done: int = 0
    spent: Usage = field(default_factory=Usage)
    failures: list[tuple[str, str]] = field(default_factory=list)
    """which neuron or explanation, and why"""
    stopped: str = ""
    """why some are left that nobody tried"""
    failed_in_a_row: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing under way."""

    item: Item
    meter: Meter
    hold: Hold


class Run:
    """A run over many. Rows are read and written by the thread that runs it, models are asked by others."""

    def __init__(self, order: Order, advance: Callable[[int], None]) -> None:
        self.order = order
        self.outcome = Outcome()
        self.advance = advance
        self._stop = threading.Event()
        self._under_way: dict[Future[Result], Attempt] = {}
        self._books = RunBooks(self._spending)

    def over(self, left: Sequence[int]) -> Outcome:
        """Do these, by pk. KeyboardInterrupt is passed on when what was under way has stopped."""
        release_lapsed()
        pool = ThreadPoolExecutor(self.order.concurrency, thread_name_prefix="explain")
        with self._books.heartbeat() if self._holds else nullcontext(), switching_often(), pool:
            try:
                for item in self.order.work.read(left):
                    while len(self._under_way) >= READ_AHEAD * self.order.concurrency:
                        self._collect()
                    if self.outcome.stopped or not self._start(pool, item):
                        break
                self._collect_all()
            except BaseException:
                self._stop.set()
                self._collect_all()
                raise
        return self.outcome

    def _start(self, pool: ThreadPoolExecutor, item: Item) -> bool:
        """Begin with one; False where no budget is left for it."""
        try:
            record = check_record(item.neuron, store.read_neuron_record(item.neuron))
            attempt = self._hold(item, record)
        except PipelineError as error:
            self._fail(item, str(error))
            return True
        except OverBudget as error:
            self.outcome.stopped = self.outcome.stopped or str(error)
            return False
        self._under_way[pool.submit(self._compute, item, record, attempt.meter)] = attempt
        return True

    def _compute(self, item: Item, record: NeuronRecord, meter: Meter) -> Result:
        self._go_on()
        return self.order.work.compute(item, record, meter, self._go_on)

    def _hold(self, item: Item, record: NeuronRecord) -> Attempt:
        """Set aside the most that this may cost, when those under way are done if need be. OverBudget."""
        usd = self._most(item, record)
        while True:
            try:
                self._check_budget(usd)
                limit = float(usd) if self._is_limited else None
                return Attempt(item, Meter(limit), self._books.hold(usd))
            except OverBudget:
                if not self._under_way:
                    raise
                self._collect()

    @property
    def _holds(self) -> bool:
        """Return whether it sets money aside at all."""
        return self._is_limited and not self.order.work.is_free

    @property
    def _is_limited(self) -> bool:
        return self.order.budget is not None or budgets.are_capped()

    def _most(self, item: Item, record: NeuronRecord) -> Decimal:
        if not self._holds:
            return Decimal(0)
        estimate = self.order.work.estimate(item, record)
        return budgets.most_for_job(estimate.usd, estimate.most_usd)

    def _spending(self) -> Decimal:
        """Return what those under way have spent so far. The heartbeat asks too, from its thread."""
        return budgets.dollars(sum(attempt.meter.usage.cost_usd for attempt in list(self._under_way.values())))

    def _check_budget(self, usd: Decimal) -> None:
        if self.order.budget is None:
            return
        taken = budgets.dollars(self.outcome.spent.cost_usd) + sum(a.hold.usd for a in self._under_way.values())
        if taken + usd > self.order.budget:
            raise OverBudget(
                f"The budget of {budgets.written(self.order.budget)} is reached: "
                f"{budgets.written(budgets.dollars(self.outcome.spent.cost_usd))} are spent, and the next "
                f"{self.order.work.unit} may cost up to {budgets.written(usd)}."
            )

    def _go_on(self, *_progress: object) -> None:
        if self._stop.is_set():
            raise Stopped

    def _collect_all(self) -> None:
        while self._under_way:
            self._collect()

    def _collect(self) -> None:
        """Wait until one is done, and store what came of those that are."""
        done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        for future in done:
            attempt = self._under_way.pop(future)
            spent = attempt.meter.usage
            self.outcome.spent += spent
            self._books.settle(attempt.hold, budgets.dollars(spent.cost_usd))
            with suppress(Stopped):
                self._take(attempt.item, future)

    def _take(self, item: Item, future: Future[Result]) -> None:
        try:
            result = future.result()
        except (PipelineError, LanguageModelError) as error:
            self._fail(item, str(error))
            return
        except LimitReached as error:
            self._fail(item, f"it would have cost more than twice its estimate: {error}")
            return
        self.order.work.store(item, result)
        self.outcome.done += 1
        self.outcome.failed_in_a_row = 0
        self.advance(1)

    def _fail(self, item: Item, reason: str) -> None:
        self.outcome.failures.append((item.name, reason))
        self.outcome.failed_in_a_row += 1
        if self.outcome.failed_in_a_row == FAILURES_IN_A_ROW:
            self.outcome.stopped = f"The last {FAILURES_IN_A_ROW} {self.order.work.unit}s all failed."
        self.advance(1)


@contextmanager
def switching_often() -> Iterator[None]:
    """Let no thread that computes keep those waiting long that ask a server."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
