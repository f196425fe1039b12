"""`manage.py evaluate_simulators`: how well each simulator tells right explanations from wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.management.commands.load_sample import SLUG
from explanations.management.progress import show_progress
from explanations.methods import DEAF, free_simulators, open_simulator, planned_simulators
from explanations.pipeline.dataset_objects import BrokenFileError
from explanations.pipeline.evaluation import (
    ExplainedNeuron,
    Interval,
    Outcome,
    explained_in_folder,
    explained_in_sample,
    is_solved,
    load_puzzles,
    lookup_score,
    solve_puzzle,
    summarise,
    try_explanations,
    wrong_explanations,
)
from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.layout import NoDatasetError
from explanations.pipeline.metering import LimitReached, Meter
from explanations.pipeline.records import EXCERPTS_PER_SPLIT
from explanations.pipeline.run import PipelineError
from explanations.pipeline.sample_file import SampleFileError
from explanations.pipeline.simulator import Simulator

CLEAR = 0.5
"""Where the token lookup baseline scores above this, the neuron follows single tokens, and can be explained."""


class Command(BaseCommand):
    help = (
        "Score each neuron's explanation, and five other neurons' ones, on its valid excerpts with every simulator; "
        "and let each solve the puzzles. Needs no database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", nargs="?", type=Path, help="a folder in the public format (the bundled sample)")
        parser.add_argument("--neurons", type=int, default=200, metavar="N", help="how many neurons, by lot (200)")
        parser.add_argument(
            "--skip",
            type=int,
            metavar="N",
            help="leave out the first N of the lot (of the bundled sample 900, which simulators were made on; else 0)",
        )
        parser.add_argument(
            "--simulator",
            action="append",
            metavar="NAME",
            help="a simulator by its name; may be repeated (all that ask no language model)",
        )
        parser.add_argument("--budget-usd", type=float, default=0.0, help="what language models may cost at most (0)")

    def handle(self, **options: Any) -> None:
        if options["neurons"] < 0 or (options["skip"] or 0) < 0:
            raise CommandError("--neurons and --skip must not be negative")
        simulators = _open(options["simulator"] or list(free_simulators()), Meter(options["budget_usd"]))
        try:
            neurons = _read(options["source"], options["neurons"], options["skip"])
            lookup = [lookup_score(neuron.record) or 0.0 for neuron in neurons]
            for simulator in simulators:
                self._evaluate(simulator, neurons, [score > CLEAR for score in lookup])
        except (NoDatasetError, BrokenFileError, SampleFileError, PipelineError, LanguageModelError) as error:
            raise CommandError(str(error)) from None
        except LimitReached as error:
            raise CommandError(f"stopped at --budget-usd: {error}") from None

    def _evaluate(self, simulator: Simulator, neurons: Sequence[ExplainedNeuron], clear: Sequence[bool]) -> None:
        reads = simulator.name not in DEAF
        wrong = wrong_explanations(neurons) if reads else {}
        puzzles = load_puzzles() if reads else []
        tries = sum(1 + len(wrong.get(n.record.neuron_id, ())) for n in neurons)
        total = tries * 2 * EXCERPTS_PER_SPLIT + sum(len(p.excerpts) * (1 + len(p.false)) for p in puzzles)
        with show_progress(self.stdout, total, "excerpts") as advance:
            outcomes = [try_explanations(n, wrong.get(n.record.neuron_id, ()), simulator, advance) for n in neurons]
            solved = [solve_puzzle(puzzle, simulator, advance) for puzzle in puzzles]
        self.stdout.write(simulator.name)
        self._tell(f"all {len(neurons)} neurons", outcomes)
        self._tell(
            f"the {sum(clear)} where the token lookup scores above {CLEAR}",
            [outcome for outcome, is_clear in zip(outcomes, clear, strict=True) if is_clear],
        )
        if not reads:
            self.stdout.write("  It reads no explanation, so right and wrong ones are the same to it.")
            return
        won = sum(map(is_solved, solved))
        scores = summarise(solved).right
        self.stdout.write(f"  puzzles: {won} of {len(puzzles)} solved; score by the true explanation {_mean(scores)}")
        for puzzle, outcome in zip(puzzles, solved, strict=True):
            if not is_solved(outcome):
                self.stdout.write(f"    not solved: {puzzle.name} ({puzzle.true})")

    def _tell(self, which: str, outcomes: Sequence[Outcome]) -> None:
        found = summarise(outcomes)
        if found.right is None:
            self.stdout.write(f"  {which}: no score")
            return
        self.stdout.write(f"  {which}")
        self.stdout.write(f"    score by the right explanation {_mean(found.right)}; undefined for {found.undefined}")
        if found.wrong is not None and found.pairs is not None:
            self.stdout.write(f"    score by wrong ones            {found.wrong:.3f}")
            self.stdout.write(f"    the right one scores higher    {_mean(found.pairs, percent=True)} of pairs")
        if found.failures:
            self.stdout.write(f"    {found.failures:,} excerpts could not be simulated")


def _open(names: Sequence[str], meter: Meter) -> list[Simulator]:
    """Return the simulators of these names. CommandError where there is none of one."""
    try:
        found = {name: open_simulator(name, meter) for name in names}
    except LanguageModelError as error:
        raise CommandError(str(error)) from None
    for name, simulator in found.items():
        if simulator is None:
            there = "; ".join(planned_simulators())
            raise CommandError(f"--simulator: there is no simulator “{name}” here, but: {there}")
    return [simulator for simulator in found.values() if simulator is not None]


def _read(source: Path | None, count: int, skip: int | None) -> list[ExplainedNeuron]:
    if source is not None:
        return explained_in_folder(source, count, skip or 0)
    sample = settings.BASE_DIR / "fixtures" / f"{SLUG}.parquet"
    return explained_in_sample(sample, count) if skip is None else explained_in_sample(sample, count, skip)


def _mean(interval: Interval | None, percent: bool = False) -> str:
    if interval is None:
        return "undefined"
    mean, low, high = (
        f"{100 * value:.1f} %" if percent else f"{value:.3f}" for value in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} [{low}, {high}]"
