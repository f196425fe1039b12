"""What import_dataset and load_sample have in common: store batches, show progress, sum up at the end."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.core.management.base import CommandError, OutputWrapper
from django.db import DatabaseError, connection

from explanations.importing.importer import Importer
from explanations.importing.rows import Counts
from explanations.management.progress import no_note, show_progress
from explanations.pipeline.ingest import PackedNeuron, Problem
from explanations.pipeline.layout import DataKind

BATCH = 200
"""Neurons in a transaction."""
NAMED_PROBLEMS = 20
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""

_ROWS = ("neurons", "explanations", "simulations", "excerpts")
_COLUMNS = ("new", "updated", "unchanged", "retired")


@dataclass
class Outcome:
    """What the files of an import had."""

    gaps: Counter[DataKind] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    """the first ones: a whole dataset may be broken"""
    problem_count: int = 0

    def note(self, neurons: Iterable[PackedNeuron]) -> None:
        for neuron in neurons:
            self.gaps.update(neuron.gaps)
            self.problem_count += len(neuron.problems)
            self.problems += neuron.problems[: NAMED_PROBLEMS - len(self.problems)]


def leave_pool() -> None:
    """Have a connection of this process's own, if none is open yet: a pool is for many threads, and opens slower."""
    if connection.connection is None:
        options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}


def close_database() -> None:
    """Close the connection and its pool, whose threads forbid a fork. The next query opens them again."""
    if connection.in_atomic_block:
        return
    connection.close()
    close_pool = getattr(connection, "close_pool", None)  # PostgreSQL's alone has one
    if close_pool:
        close_pool()


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Let Python rarely look for objects that hold each other: a batch is many objects, and none of them does."""
    before = gc.get_threshold()
    gc.set_threshold(100_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def run_import(
    out: OutputWrapper,
    importer: Importer,
    batches: Iterable[Sequence[PackedNeuron]],
    total: int,
    note: Callable[[], str] = no_note,
) -> Outcome:
    """Store batches, showing how far it is and what `note` says, and print what came of it.

    What is stored stays where it is stopped.
    """
    outcome = Outcome()
    try:
        with rarely_collected(), show_progress(out, total, "neurons", note) as advance:
            for batch in batches:
                importer.store(batch)
                outcome.note(batch)
                advance(len(batch))
    except KeyboardInterrupt:
        importer.finish()
        _print_summary(out, importer.counts, outcome)
        raise CommandError(
            "stopped; what was imported so far stays, and the same command goes on from there", returncode=INTERRUPTED
        ) from None
    except DatabaseError as error:
        raise CommandError(f"the database says: {str(error).strip()}. What was imported before stays.") from error
    importer.finish()
    _print_summary(out, importer.counts, outcome)
    return outcome


def _print_summary(out: OutputWrapper, counts: Counts, outcome: Outcome) -> None:
    columns = [c for c in _COLUMNS if c != "retired" or counts["explanations", "retired"]]
    out.write("".join([" " * 14, *(f"{column:>12}" for column in columns)]))
    for what in _ROWS:
        out.write("".join([f"{what:<14}", *(f"{counts[what, column]:>12,}" for column in columns)]))
    if outcome.gaps:
        gaps = ", ".join(f"{kind} {count:,}" for kind, count in sorted(outcome.gaps.items()))
        out.write(f"missing files (gaps): {outcome.gaps.total():,} ({gaps})")
    else:
        out.write("missing files (gaps): 0")
    out.write(f"skipped files: {outcome.problem_count:,}")
    for problem in outcome.problems:
        out.write(f"  {problem.path}: {problem.reason}")
    if outcome.problem_count > len(outcome.problems):
        out.write(f"  ... and {outcome.problem_count - len(outcome.problems):,} more")
