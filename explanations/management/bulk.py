"""Explaining many neurons at once: which are left to do, several at a time, within a budget, stopped cleanly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from explanations import budgets, store
from explanations.budgets import Hold, OverBudget
from explanations.jobs import check_record
from explanations.methods import estimate_job, is_free, open_explainer, open_simulator, read_plan
from explanations.models import Explanation, Job, Neuron, Source, SubjectModel
from explanations.pipeline.explainer import Explainer
from explanations.pipeline.language_models import LanguageModelError, Usage
from explanations.pipeline.metering import LimitReached, Meter
from explanations.pipeline.records import NeuronRecord
from explanations.pipeline.run import PipelineError, Plan, Result, explain_simulate_score
from explanations.pipeline.simulator import Simulator

FAILURES_IN_A_ROW = 20
"""Neurons that may fail one after the other before the run stops: a wrong key fails them all."""


class Stopped(Exception):  # noqa: N818
    """The run was told to stop, so this neuron is left for the next one."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for."""

    explainer: Explainer
    simulator: Simulator
    options: dict[str, int]
    """of the plan, as jobs store them"""
    budget: Decimal | None
    concurrency: int

    @property
    def plan(self) -> Plan:
        return read_plan(self.options)

    @property
    def is_free(self) -> bool:
        return is_free(self.explainer) and is_free(self.simulator)


@dataclass
class Outcome:
    """What came of it so far."""

    explained: int = 0
    spent: Usage = field(default_factory=Usage)
    failures: list[tuple[str, str]] = field(default_factory=list)
    """which neuron, and why"""
    stopped: str = ""
    """why neurons are left that nobody tried"""
    failed_in_a_row: int = 0


def list_left(neurons: Sequence[int], model: SubjectModel, order: Order) -> list[int]:
    """Return those neurons that have no such explanation yet, of this explainer, prompt and simulator. One query."""
    done = set(
        Explanation.objects.filter(
            neuron__model=model,
            explainer=order.explainer.name,
            prompt_version=order.explainer.prompt_version,
            simulator=order.simulator.name,
        ).values_list("neuron", flat=True)
    )
    return [pk for pk in neurons if pk not in done]


def list_under_way(model: SubjectModel, order: Order) -> set[int]:
    """Return the neurons for which the same is queued or runs as a job. One query."""
    jobs = Job.objects.unfinished().filter(neuron__model=model, text="")
    return set(
        jobs.filter(explainer=order.explainer.name, simulator=order.simulator.name).values_list("neuron", flat=True)
    )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One neuron under way."""

    neuron: Neuron
    meter: Meter
    hold: Hold


class Run:
    """A run over many neurons. Rows are read and written by the thread that runs it, models are asked by others."""

    def __init__(self, order: Order, advance: Callable[[int], None]) -> None:
        self.order = order
        self.outcome = Outcome()
        self.advance = advance
        self._stop = threading.Event()
        self._under_way: dict[Future[Result], Attempt] = {}

    def over(self, neurons: Sequence[int]) -> Outcome:
        """Explain these neurons, by pk. KeyboardInterrupt is passed on when what was under way has stopped."""
        with ThreadPoolExecutor(self.order.concurrency, thread_name_prefix="explain") as pool:
            try:
                for neuron in _read(neurons):
                    while len(self._under_way) >= self.order.concurrency:
                        self._collect()
                    if self.outcome.stopped or not self._start(pool, neuron):
                        break
                self._collect_all()
            except BaseException:
                self._stop.set()
                self._collect_all()
                raise
        return self.outcome

    def _start(self, pool: ThreadPoolExecutor, neuron: Neuron) -> bool:
        """Begin with a neuron; False where no budget is left for it."""
        try:
            record = check_record(neuron, store.read_neuron_record(neuron))
            attempt = self._hold(neuron, record)
        except PipelineError as error:
            self._fail(neuron, str(error))
            return True
        except OverBudget as error:
            self.outcome.stopped = self.outcome.stopped or str(error)
            return False
        self._under_way[pool.submit(self._explain, record, attempt.meter)] = attempt
        return True

    def _hold(self, neuron: Neuron, record: NeuronRecord) -> Attempt:
        """Set aside the most that this neuron may cost, when those under way are done if need be. OverBudget."""
        usd = self._most(record)
        while True:
            try:
                self._check_budget(usd)
                limit = float(usd) if self._is_limited else None
                return Attempt(neuron, Meter(limit), budgets.hold(usd, None))
            except OverBudget:
                if not self._under_way:
                    raise
                self._collect()

    @property
    def _is_limited(self) -> bool:
        return self.order.budget is not None or budgets.are_capped()

    def _most(self, record: NeuronRecord) -> Decimal:
        if self.order.is_free or not self._is_limited:
            return Decimal(0)
        estimate = estimate_job(record, self.order.explainer, self.order.simulator, self.order.plan)
        return budgets.most_for_job(estimate.usd, estimate.most_usd)

    def _check_budget(self, usd: Decimal) -> None:
        if self.order.budget is None:
            return
        taken = budgets.dollars(self.outcome.spent.cost_usd) + sum(a.hold.usd for a in self._under_way.values())
        if taken + usd > self.order.budget:
            raise OverBudget(
                f"The budget of {budgets.written(self.order.budget)} is reached: "
                f"{budgets.written(budgets.dollars(self.outcome.spent.cost_usd))} are spent, and the next neuron may "
                f"cost up to {budgets.written(usd)}."
            )

    def _explain(self, record: NeuronRecord, meter: Meter) -> Result:
        explainer = open_explainer(self.order.explainer.name, meter)
        simulator = open_simulator(self.order.simulator.name, meter)
        assert explainer is not None
        assert simulator is not None
        return explain_simulate_score(record, explainer, simulator, plan=self.order.plan, progress=self._go_on)

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
            budgets.settle(attempt.hold, budgets.dollars(spent.cost_usd))
            with suppress(Stopped):
                self._take(attempt.neuron, future)

    def _take(self, neuron: Neuron, future: Future[Result]) -> None:
        try:
            result = future.result()
        except (PipelineError, LanguageModelError) as error:
            self._fail(neuron, str(error))
            return
        except LimitReached as error:
            self._fail(neuron, f"it would have cost more than twice its estimate: {error}")
            return
        source = Source.BASELINE if self.order.explainer.is_baseline else Source.MODEL
        store.save_explanation(neuron=neuron, scored=result.scored, source=source, provenance=result.provenance)
        self.outcome.explained += 1
        self.outcome.failed_in_a_row = 0
        self.advance(1)

    def _fail(self, neuron: Neuron, reason: str) -> None:
        self.outcome.failures.append((str(neuron.neuron_id), reason))
        self.outcome.failed_in_a_row += 1
        if self.outcome.failed_in_a_row == FAILURES_IN_A_ROW:
            self.outcome.stopped = f"The last {FAILURES_IN_A_ROW} neurons all failed."
        self.advance(1)


def _read(neurons: Sequence[int], batch: int = 100) -> Iterator[Neuron]:
    """Yield these neurons in order. A query a batch."""
    for start in range(0, len(neurons), batch):
        rows = Neuron.objects.select_related("model").defer("peak", "model__statistics")
        found = rows.in_bulk(neurons[start : start + batch])
        yield from (found[pk] for pk in neurons[start : start + batch] if pk in found)
