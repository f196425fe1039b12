"""What `manage.py evaluate_simulators` prints: a report for each contestant, and a table of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from explanations.pipeline.evaluation import CORRELATION, Contestant, Interval, Puzzle, Trial, is_solved, summarise

CLEAR = 0.5
"""Where the token lookup baseline scores above this, the neuron follows single tokens, and can be explained."""
CHANCE = 0.5
"""An AUC that tells nothing apart, as which an undefined one counts."""


@dataclass(frozen=True)
class Report:
    """What a contestant did on neurons and puzzles, as far as it came."""

    contestant: Contestant
    neurons: Sequence[tuple[float, Trial]]
    """with the score of the token lookup baseline"""
    puzzles: Sequence[tuple[Puzzle, Trial]]
    chosen: tuple[int, int]
    """neurons and puzzles that there were to do"""

    @property
    def clear(self) -> list[tuple[float, Trial]]:
        return [(lookup, trial) for lookup, trial in self.neurons if lookup > CLEAR]

    def solved(self, measure: str) -> int:
        chance = chance_of(measure)
        return sum(is_solved(trial.outcome(measure), chance) for _, trial in self.puzzles)

    def lines(self) -> Iterator[str]:
        """Yield the report, line by line."""
        yield self.contestant.name
        left = [n - len(done) for n, done in zip(self.chosen, (self.neurons, self.puzzles), strict=True)]
        if any(left):
            yield f"  stopped by --minutes: {left[0]} neurons and {left[1]} puzzles are left"
        every = "all " if not left[0] else "the first "
        yield from self._of(f"{every}{len(self.neurons)} neurons", self.neurons)
        yield from self._of(f"the {len(self.clear)} where the token lookup scores above {CLEAR}", self.clear)
        if self.puzzles:
            yield from self._of_puzzles()
        if not self.contestant.reads:
            yield "  It reads no explanation, so right and wrong ones are the same to it."

    def _of(self, which: str, trials: Sequence[tuple[float, Trial]]) -> Iterator[str]:
        if not trials:
            yield f"  {which}: no score"
            return
        yield f"  {which}"
        for measure in self.contestant.measures:
            found = summarise([trial.outcome(measure) for _, trial in trials], chance_of(measure))
            yield f"    {title(measure)} by the right explanation {mean(found.right)}; undefined for {found.undefined}"
            if found.wrong is not None and found.pairs is not None:
                yield f"    {title(measure)} by wrong ones            {found.wrong:.3f}"
                yield f"    the right one scores higher    {mean(found.pairs, percent=True)} of pairs"
        failures = sum(trial.outcome().failures for _, trial in trials)
        if failures:
            yield f"    {failures:,} excerpts could not be simulated"

    def _of_puzzles(self) -> Iterator[str]:
        count = len(self.puzzles)
        for measure in self.contestant.measures:
            outcomes = [trial.outcome(measure) for _, trial in self.puzzles]
            by_true = mean(summarise(outcomes, chance_of(measure)).right)
            yield (
                f"  puzzles: {self.solved(measure)} of {count} solved; "
                f"{title(measure)} by the true explanation {by_true}"
            )
        first = self.contestant.measures[0]
        for puzzle, trial in self.puzzles:
            if not is_solved(trial.outcome(first), chance_of(first)):
                yield f"    not solved: {puzzle.name} ({puzzle.true})"
        failures = sum(trial.outcome().failures for _, trial in self.puzzles)
        if failures:
            yield f"    {failures:,} excerpts could not be simulated"


def table(reports: Sequence[Report]) -> Iterator[str]:
    """Yield a Markdown table with a row for each contestant and measure."""
    yield "| | measure | neurons | right explanation | wrong | right above wrong | lookup above 0.5 | puzzles |"
    yield "|---|---|---|---|---|---|---|---|"
    for report in reports:
        for measure in report.contestant.measures:
            yield f"| {report.contestant.name} | {title(measure)} | " + " | ".join(_cells(report, measure)) + " |"


def _cells(report: Report, measure: str) -> list[str]:
    chance = chance_of(measure)
    found = summarise([trial.outcome(measure) for _, trial in report.neurons], chance)
    clear = summarise([trial.outcome(measure) for _, trial in report.clear], chance)
    share = f"; {mean(clear.pairs, percent=True)}" if clear.pairs else ""
    return [
        str(len(report.neurons)),
        mean(found.right),
        "" if found.wrong is None else f"{found.wrong:.3f}",
        "" if found.pairs is None else mean(found.pairs, percent=True),
        f"{mean(clear.right)}{share} ({len(report.clear)})" if report.clear else "",
        f"{report.solved(measure)} of {len(report.puzzles)}" if report.puzzles else "",
    ]


def title(measure: str) -> str:
    return "score" if measure == CORRELATION else f"AUC of {measure}"


def chance_of(measure: str) -> float:
    return 0.0 if measure == CORRELATION else CHANCE


def mean(interval: Interval | None, percent: bool = False) -> str:
    if interval is None:
        return "undefined"
    middle, low, high = (
        f"{100 * value:.1f} %" if percent else f"{value:.3f}" for value in (interval.mean, interval.low, interval.high)
    )
    return f"{middle} [{low}, {high}]"
