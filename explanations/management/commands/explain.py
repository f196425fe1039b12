"""`manage.py explain`: many neurons explained anew. docs/re-explaining.md explains it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations import budgets, jobs
from explanations.management.bulk import FAILURES_IN_A_ROW, Order, Outcome, Run
from explanations.management.bulk_work import Explaining, Rescoring, Work
from explanations.management.counting import counted
from explanations.management.imports import INTERRUPTED, NAMED_PROBLEMS
from explanations.management.progress import show_progress
from explanations.management.selection import Numbers
from explanations.methods import (
    DEAF,
    MOST_CANDIDATES,
    MOST_REVISIONS,
    is_free,
    missing,
    plan_options,
    planned_explainers,
    planned_simulators,
)
from explanations.models import Neuron, SubjectModel
from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.run import PipelineError
from explanations.pipeline.simulator import Simulator
from explanations.pipeline.token_lookup import TOKEN_LOOKUP

FAILED, OUT_OF_BUDGET = 1, 3
"""Exit statuses: some neurons failed; the budget is reached, and neurons are left."""


class Command(BaseCommand):
    help = (
        "Explain a model's neurons anew and score the explanations. What has an explanation by the same explainer,"
        " prompt and simulator is skipped, so the same command goes on where it was stopped. Exit status: 0 all done,"
        " 1 some failed, 3 the budget is reached, 130 interrupted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", required=True, metavar="SLUG", help="the subject model's address, e.g. gpt2-xl")
        parser.add_argument("--layers", metavar="0-3,7", help="only these layers, counted from 0")
        parser.add_argument("--neurons", metavar="0-99", help="only these neurons of each layer, counted from 0")
        parser.add_argument("--explainer", metavar="NAME", help=f"as the Re-explain page names it ({TOKEN_LOOKUP})")
        parser.add_argument("--simulator", default=TOKEN_LOOKUP, metavar="NAME", help="as the Re-explain page names it")
        parser.add_argument(
            "--rescore",
            action="store_true",
            help="explain nothing: have the simulator score the current explanations that it has not scored yet",
        )
        parser.add_argument("--candidates", type=int, default=1, help="explanations to choose the best of")
        parser.add_argument("--revisions", type=int, default=0, help="how often to show the explainer its mistakes")
        parser.add_argument("--budget-usd", metavar="X", help="the most that this run may cost, in US dollars")
        parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="how many at a time")
        parser.add_argument("--tasks", action="store_true", help="queue a job for each, for workers to run")

    def handle(self, **options: Any) -> None:
        order = _read_order(options)
        work = order.work
        model = SubjectModel.objects.filter(slug=options["model"]).first()
        if model is None:
            raise CommandError(f"there is no model “{options['model']}”")
        chosen = work.choose(_choose(model, options["layers"], options["neurons"]), model)
        if not chosen:
            raise CommandError(f"nothing to do: the model has no {work.unit} among the chosen neurons")
        left = work.left(chosen, model)
        if options["tasks"]:
            under_way = work.under_way(model)
            left = [pk for pk in left if pk not in under_way]
        self._tell_start(work, len(left), len(chosen))
        if left:
            self._queue(order, left) if options["tasks"] else self._run(order, left)

    def _tell_start(self, work: Work, left: int, chosen: int) -> None:
        skipped = f"; {chosen - left:,} are done or under way already" if left < chosen else ""
        self.stdout.write(f"{work.title}: {counted(left, work.unit)}{skipped}")

    def _run(self, order: Order, left: list[int]) -> None:
        try:
            order.work.open()
        except LanguageModelError as error:
            raise CommandError(str(error)) from error
        run: Run | None = None

        def cost() -> str:
            return _taken(run.outcome) if run and not order.work.is_free else ""

        try:
            with show_progress(self.stdout, len(left), f"{order.work.unit}s", cost) as advance:
                run = Run(order, advance)
                run.over(left)
        except KeyboardInterrupt:
            if run is not None:
                self._sum_up(order, run.outcome)
            raise CommandError("stopped; the same command goes on from there", returncode=INTERRUPTED) from None
        self._sum_up(order, run.outcome)
        self._end(order.work, run.outcome)

    def _sum_up(self, order: Order, outcome: Outcome) -> None:
        took = "" if order.work.is_free else f", {_taken(outcome)}"
        self.stdout.write(f"{outcome.done:,} {order.work.done}, {len(outcome.failures):,} failed{took}")
        for name, reason in outcome.failures[:NAMED_PROBLEMS]:
            self.stdout.write(f"  {name}: {reason}")
        if len(outcome.failures) > NAMED_PROBLEMS:
            self.stdout.write(f"  ... and {len(outcome.failures) - NAMED_PROBLEMS:,} more")

    def _end(self, work: Work, outcome: Outcome) -> None:
        if outcome.stopped:
            raise CommandError(
                f"{outcome.stopped} The same command goes on from there.",
                returncode=FAILED if outcome.failed_in_a_row >= FAILURES_IN_A_ROW else OUT_OF_BUDGET,
            )
        if outcome.failures:
            raise CommandError(f"{counted(len(outcome.failures), work.unit)} failed", returncode=FAILED)

    def _queue(self, order: Order, left: list[int]) -> None:
        """Queue a job for each, within the budget: by the most that each may cost."""
        held, queued, failed, stopped = Decimal(0), 0, Outcome(), ""
        for item in order.work.read(left):
            try:
                job = order.work.request(item, None if order.budget is None else order.budget - held)
            except jobs.JobExists:
                continue
            except PipelineError as error:
                failed.failures.append((item.name, str(error)))
                continue
            except budgets.OverBudget as error:
                stopped = str(error)
                break
            held += job.held_usd
            queued += 1
        self.stdout.write(f"{queued:,} jobs are queued; manage.py db_worker runs them, on as many machines as you like")
        for name, reason in failed.failures[:NAMED_PROBLEMS]:
            self.stdout.write(f"  {name}: {reason}")
        failed.stopped = stopped
        self._end(order.work, failed)


def _read_order(options: dict[str, Any]) -> Order:
    """Return what the options ask for. CommandError where that cannot be had."""
    _check_number("--candidates", options["candidates"], 1, MOST_CANDIDATES)
    _check_number("--revisions", options["revisions"], 0, MOST_REVISIONS)
    _check_number("--concurrency", options["concurrency"], 1, 256)
    work = _read_rescoring(options) if options["rescore"] else _read_explaining(options)
    return Order(work, _read_budget(options["budget_usd"]), options["concurrency"])


def _read_explaining(options: dict[str, Any]) -> Explaining:
    name = options["explainer"] or TOKEN_LOOKUP
    explainer, simulator = planned_explainers().get(name), _find_simulator(options["simulator"])
    if explainer is None:
        raise CommandError(_not_there("explainer", name, list(planned_explainers())))
    if simulator.name in DEAF and explainer.name != simulator.name:
        raise CommandError(f"“{simulator.name}” never reads the explanation, so its score would say nothing about it")
    if is_free(explainer) and (options["candidates"], options["revisions"]) != (1, 0):
        raise CommandError(f"“{explainer.name}” always says the same: leave out --candidates and --revisions")
    plan = plan_options(explainer, options["candidates"], options["revisions"])
    return Explaining(explainer, simulator, plan)


def _read_rescoring(options: dict[str, Any]) -> Rescoring:
    if options["explainer"] or (options["candidates"], options["revisions"]) != (1, 0):
        raise CommandError("--rescore explains nothing: leave out --explainer, --candidates and --revisions")
    simulator = _find_simulator(options["simulator"])
    if simulator.name in DEAF:
        raise CommandError(f"“{simulator.name}” never reads the explanation, so its score would say nothing about it")
    return Rescoring(simulator)


def _find_simulator(name: str) -> Simulator:
    simulator = planned_simulators().get(name)
    if simulator is None:
        raise CommandError(_not_there("simulator", name, list(planned_simulators())))
    return simulator


def _not_there(kind: str, name: str, there: list[str]) -> str:
    names = ", ".join(f"“{other}”" for other in there)
    reasons = " ".join(f"{what}: {why}" for what, why in missing())
    return f"there is no {kind} “{name}” here; there is {names}. {reasons}".strip()


def _check_number(option: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise CommandError(f"{option}: {number} is not from {least} to {most}")


def _read_budget(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        budget = Decimal(text)
    except InvalidOperation:
        raise CommandError(f"--budget-usd: “{text}” is not an amount such as 2.50") from None
    if not budget.is_finite() or budget < 0:
        raise CommandError(f"--budget-usd: {text} is not an amount such as 2.50")
    return budget


def _choose(model: SubjectModel, layers: str | None, neurons: str | None) -> list[int]:
    """Return the chosen neurons by pk, in the order of layers and neurons. One query."""
    in_layers, in_neurons = Numbers.parse("--layers", layers), Numbers.parse("--neurons", neurons)
    rows = Neuron.objects.filter(model=model).order_by("layer", "index").values_list("pk", "layer", "index")
    return [pk for pk, layer, index in rows if layer in in_layers and index in in_neurons]


def _taken(outcome: Outcome) -> str:
    spent = outcome.spent
    about = "about " if spent.is_estimate else ""
    cost = budgets.written(budgets.dollars(spent.cost_usd))
    return f"{about}{spent.tokens_in:,} tokens read, {spent.tokens_out:,} written, {cost}"
