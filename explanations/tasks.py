"""Background work, as Django Tasks. Nothing heavy is imported here: the web process imports it to queue work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django_tasks import TaskContext, task

from explanations import budgets, leases, store
from explanations.methods import open_explainer, open_simulator, read_plan
from explanations.models import Job, Source
from explanations.pipeline.explainer import EXPLAINERS
from explanations.pipeline.language_models import NO_USAGE, LanguageModelError, Usage
from explanations.pipeline.metering import LimitReached, Meter
from explanations.pipeline.records import NeuronRecord
from explanations.pipeline.run import PipelineError, Result, explain_simulate_score, simulate_and_score

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
"""At most one progress write in so long; a person looks every two seconds."""

stopping = threading.Event()
"""Set when this process was told to stop: its job goes back to the queue at its next step."""


class Cancelled(Exception):  # noqa: N818
    """Somebody asked to stop the job."""


class Released(Exception):  # noqa: N818
    """The worker was asked to stop, the job was not."""


@task(takes_context=True)
def run_job(context: TaskContext, job_id: int) -> str:
    """Run a job, if it waits for a worker, and return what came of it. A second task for the same job does nothing."""
    owner = str(context.task_result.id)
    job = leases.claim(job_id, owner)
    if job is None:
        return "nothing to do"
    try:
        return _run_claimed(job, owner)
    except leases.LeaseLost:
        logger.warning("Job %d was cancelled or taken over; its result was dropped", job_id)
        return "lease lost"


def _run_claimed(job: Job, owner: str) -> str:
    try:
        budgets.hold_for_another_try(job)
    except budgets.OverBudget as error:
        leases.fail(job.pk, owner, str(error))
        return "failed"
    reporter = Reporter(job, owner)
    try:
        return _work(job, reporter)
    except leases.LeaseLost:
        budgets.enter_late(job.pk, reporter.unwritten())
        raise


def _work(job: Job, reporter: Reporter) -> str:
    owner = reporter.owner
    try:
        with heartbeat(reporter):
            result = compute(job, reporter)
        leases.finish(job, owner, result, source_of(job), reporter.unwritten())
    except Cancelled:
        leases.stop(job.pk, owner, reporter.unwritten())
        return "cancelled"
    except (Released, KeyboardInterrupt, SystemExit) as stop:
        return hand_back(reporter, stop)
    except (PipelineError, budgets.OverBudget) as error:
        leases.fail(job.pk, owner, str(error), reporter.unwritten())
        return "failed"
    except LimitReached as error:
        leases.fail(job.pk, owner, f"It stopped at its budget: {error}.", reporter.unwritten())
        return "failed"
    except (leases.LeaseLost, OperationalError):
        # A database that is away or locked cannot be told; the lease lapses, and the job is tried again.
        raise
    except Exception as error:
        logger.exception("Job %d failed", job.pk)
        reason = f"An error of the program ({type(error).__name__}). The worker's log says more."
        leases.fail(job.pk, owner, reason, reporter.unwritten())
        return "failed"
    return "done"


def compute(job: Job, reporter: Reporter) -> Result:
    """Return the job's explanation, scored, with how it came about. PipelineError says in words why there is none."""
    record = store.read_neuron_record(job.neuron) or NeuronRecord(job.neuron.neuron_id, top=(), random=())
    try:
        simulator = open_simulator(job.simulator, reporter.meter)
        explainer = None if text_to_score(job) else open_explainer(job.explainer, reporter.meter)
    except LanguageModelError as error:
        raise PipelineError(str(error)) from error
    if simulator is None:
        raise PipelineError(f"The worker does not have the simulator “{job.simulator}”.")
    if text := text_to_score(job):
        return simulate_and_score(record, text, simulator, progress=reporter.tell)
    if explainer is None:
        raise PipelineError(f"The worker does not have the explainer “{job.explainer}”.")
    plan = read_plan(job.options)
    return explain_simulate_score(record, explainer, simulator, plan=plan, progress=reporter.tell)


def text_to_score(job: Job) -> str:
    """Return the explanation that the job is to score; empty where it is to write one. PipelineError if it is gone."""
    if not job.rescores:
        return job.text
    if job.parent is None:
        raise PipelineError(leases.GONE)
    if not job.parent.text.strip():
        raise PipelineError("The explanation has no words to simulate from.")
    return job.parent.text


def source_of(job: Job) -> Source:
    if job.text:
        return Source.HUMAN
    explainer = EXPLAINERS.get(job.explainer)
    return Source.BASELINE if explainer is not None and explainer.is_baseline else Source.MODEL


def hand_back(reporter: Reporter, stop: BaseException) -> str:
    """Put the job back into the queue for another worker, then let what interrupted it go on."""
    with transaction.atomic():
        leases.release(reporter.job_id, reporter.owner, reporter.unwritten())
        transaction.on_commit(lambda: enqueue(reporter.job_id))
    logger.info("Job %d went back to the queue: this worker stops", reporter.job_id)
    if not isinstance(stop, Released):
        raise stop
    return "released"


def enqueue(job_id: int) -> None:
    run_job.enqueue(job_id)


class Reporter:
    """Tells the database how far a job is and what it has spent, and the job when to stop."""

    def __init__(self, job: Job, owner: str) -> None:
        self.job_id = job.pk
        self.owner = owner
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        left = budgets.spendable(job)
        self.meter = Meter(None if left is None else float(left))
        self._entered = NO_USAGE
        self._lock = threading.Lock()
        self._written = float("-inf")

    def tell(self, stage: str, done: int, total: int) -> None:
        """Store the progress, unless it was just stored. Raises where the job is to stop, and so stops it."""
        if time.monotonic() - self._written >= PROGRESS_SECONDS or done == total:
            self.renew(stage=stage, progress_done=done, progress_total=total)
            self._written = time.monotonic()
        if self.lost.is_set():
            raise leases.LeaseLost(f"job {self.job_id} is no longer {self.owner}'s")
        if self.cancelled.is_set():
            raise Cancelled
        if stopping.is_set():
            raise Released

    def renew(self, **progress: object) -> None:
        """Renew the lease and note what the database answers, if it does: the lease covers three attempts."""
        try:
            with self._lock:
                usage = self.meter.usage
                renewal = leases.renew(self.job_id, self.owner, since(self._entered, usage), **progress)
                self._entered = usage
            if renewal.cancel_requested:
                self.cancelled.set()
        except leases.LeaseLost:
            self.lost.set()
        except OperationalError:
            logger.warning("Job %d: the lease could not be renewed; trying again", self.job_id, exc_info=True)
            connection.close()

    def unwritten(self) -> Usage:
        """Return what was spent and is not in the database yet."""
        return since(self._entered, self.meter.usage)


def since(earlier: Usage, later: Usage) -> Usage:
    """Return what was added; its parts, each rounded to millionths of a dollar, add up to the whole so rounded."""
    cost = budgets.dollars(later.cost_usd) - budgets.dollars(earlier.cost_usd)
    tokens = later.tokens_in - earlier.tokens_in, later.tokens_out - earlier.tokens_out
    return Usage(*tokens, float(cost)) if later != earlier else NO_USAGE


class Leaseholder(Protocol):
    """Something that holds a lease, and can renew it."""

    @property
    def lost(self) -> threading.Event:
        """Return what is set when the lease turns out to be lost."""

    def renew(self) -> None:
        """Hold the lease for another term, or set `lost`."""


@contextmanager
def heartbeat(reporter: Leaseholder) -> Iterator[None]:
    """Renew the lease from a thread while one step takes long, and until the body is left."""
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(reporter, over), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat(reporter: Leaseholder, over: threading.Event) -> None:
    try:
        while not over.wait(settings.JOB_LEASE_SECONDS / 3) and not reporter.lost.is_set():
            reporter.renew()
    finally:
        connection.close()
