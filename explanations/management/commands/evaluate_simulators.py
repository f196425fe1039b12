"""`manage.py evaluate_simulators`: how well each simulator and scorer tells right explanations from wrong ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.management.commands.load_sample import SLUG
from explanations.management.evaluation_report import Report, table
from explanations.management.progress import show_progress
from explanations.methods import free_simulators, open_judge, open_simulator, planned_judges, planned_simulators
from explanations.pipeline.evaluation import (
    WRONG_EXPLANATIONS,
    Contestant,
    ExplainedNeuron,
    Judging,
    Puzzle,
    Simulating,
    Trial,
    Trials,
    TrialsFileError,
    explained_in_folder,
    explained_in_sample,
    load_puzzles,
    lookup_score,
    solve_puzzle,
    try_explanations,
    wrong_explanations,
)
from explanations.pipeline.json_reading import BrokenFileError
from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.layout import NoDatasetError
from explanations.pipeline.metering import LimitReached, Meter
from explanations.pipeline.run import PipelineError
from explanations.pipeline.sample_file import SampleFileError

PROBLEMS = (NoDatasetError, BrokenFileError, SampleFileError, TrialsFileError, PipelineError, LanguageModelError)


class Command(BaseCommand):
    help = (
        "Score each neuron's explanation, and other neurons' ones, on its valid excerpts with every simulator, by"
        " correlation, detection and fuzzing; and let each solve the puzzles. Needs no database. With --trials, what"
        " is done is kept, so the same command goes on where it was stopped."
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
            "--wrong",
            type=int,
            default=WRONG_EXPLANATIONS,
            metavar="N",
            help=f"explanations of other neurons that each is tried with ({WRONG_EXPLANATIONS})",
        )
        parser.add_argument("--no-puzzles", action="store_true", help="leave out the puzzles")
        parser.add_argument(
            "--simulator",
            action="append",
            metavar="NAME",
            help="a simulator by its name, or a language model that is asked about excerpts; may be repeated (all that"
            " ask no language model)",
        )
        parser.add_argument("--budget-usd", type=float, default=0.0, help="what language models may cost at most (0)")
        parser.add_argument("--minutes", type=float, metavar="N", help="begin nothing new after so many minutes")
        parser.add_argument("--trials", type=Path, metavar="FILE", help="keep what is tried here, and do not repeat it")
        parser.add_argument("--table", action="store_true", help="print a table in Markdown instead of reports")

    def handle(self, **options: Any) -> None:
        for name in ("neurons", "skip", "wrong"):
            if (options[name] or 0) < 0:
                raise CommandError("--neurons, --skip and --wrong must not be negative")
        contestants = _open(options["simulator"] or list(free_simulators()), Meter(options["budget_usd"]))
        try:
            self._run(contestants, options)
        except PROBLEMS as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"--trials: {error}") from None
        except LimitReached as error:
            raise CommandError(f"stopped at --budget-usd: {error}") from None
        except KeyboardInterrupt:
            raise CommandError("stopped; with --trials, the same command goes on from there", returncode=130) from None

    def _run(self, contestants: Sequence[Contestant], options: dict[str, Any]) -> None:
        trials = Trials.read(options["trials"])
        neurons = _read(options["source"], options["neurons"], options["skip"])
        wrong = {n: texts for n, texts in wrong_explanations(neurons, options["wrong"]).items() if texts}
        puzzles = [] if options["no_puzzles"] else load_puzzles()
        lookup = [lookup_score(neuron.record) or 0.0 for neuron in neurons]
        ends = time.monotonic() + 60 * options["minutes"] if options["minutes"] is not None else None
        reports = []
        for contestant in contestants:
            subjects = puzzles if contestant.reads else []
            tasks = [_solving(puzzle, contestant, trials) for puzzle in subjects]
            tasks += [
                _trying(n, wrong.get(n.record.neuron_id, ()) if contestant.reads else (), contestant, trials)
                for n in neurons
            ]
            done = self._do(tasks, ends)
            solved, tried = done[: len(subjects)], done[len(subjects) :]
            of_neurons = [(score, trial) for score, trial in zip(lookup, tried, strict=True) if trial]
            of_puzzles = [(puzzle, trial) for puzzle, trial in zip(subjects, solved, strict=True) if trial]
            reports.append(Report(contestant, of_neurons, of_puzzles, (len(neurons), len(subjects))))
            if not options["table"]:
                self._tell(reports[-1].lines())
        if options["table"]:
            self._tell(table(reports))

    def _do(self, tasks: Sequence[Callable[[], Trial]], ends: float | None) -> list[Trial | None]:
        """Return what came of each task; None for those that there was no time for."""
        done: list[Trial | None] = [None] * len(tasks)
        with show_progress(self.stderr, len(tasks), "neurons and puzzles") as advance:
            for place, task in enumerate(tasks):
                if ends is not None and time.monotonic() >= ends:
                    break
                done[place] = task()
                advance(1)
        return done

    def _tell(self, lines: Any) -> None:
        for line in lines:
            self.stdout.write(line)


def _trying(
    neuron: ExplainedNeuron, wrong: Sequence[str], contestant: Contestant, trials: Trials
) -> Callable[[], Trial]:
    subject = f"neuron {neuron.record.neuron_id}"

    def make() -> Trial:
        return try_explanations(neuron, wrong, contestant, lambda _: None)

    return lambda: trials.make(contestant.name, contestant.version, subject, (neuron.text, *wrong), make)


def _solving(puzzle: Puzzle, contestant: Contestant, trials: Trials) -> Callable[[], Trial]:
    subject, texts = f"puzzle {puzzle.name}", (puzzle.true, *puzzle.false)

    def make() -> Trial:
        return solve_puzzle(puzzle, contestant)

    return lambda: trials.make(contestant.name, contestant.version, subject, texts, make)


def _open(names: Sequence[str], meter: Meter) -> list[Contestant]:
    """Return the simulators and judges of these names. CommandError where there is none of one."""
    found: list[Contestant] = []
    for name in names:
        try:
            simulator, judge = open_simulator(name, meter), open_judge(name, meter)
        except LanguageModelError as error:
            raise CommandError(str(error)) from None
        if simulator is not None:
            found.append(Simulating(simulator))
        elif judge is not None:
            found.append(Judging(judge))
        else:
            there = "; ".join((*planned_simulators(), *planned_judges()))
            raise CommandError(f"--simulator: there is no simulator “{name}” here, but: {there}")
    return found


def _read(source: Path | None, count: int, skip: int | None) -> list[ExplainedNeuron]:
    if source is not None:
        return explained_in_folder(source, count, skip or 0)
    sample = settings.BASE_DIR / "fixtures" / f"{SLUG}.parquet"
    return explained_in_sample(sample, count) if skip is None else explained_in_sample(sample, count, skip)
