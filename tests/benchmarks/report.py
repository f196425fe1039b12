"""What came of the measurements: a table for the terminal, and docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from tests.benchmarks.protocol import Measurement
from tests.benchmarks.timing import Result

COLUMNS = ("measurement", "database", "floor", "subject", "ratio", "quartiles", "CPU", "target", "verdict")
Row = tuple[str, ...]

INTRODUCTION = """# Benchmarks

`make bench` wrote this page. Every ratio is a subject against a floor of its own, called by turns in one run, so that
another machine, or other work on this one, moves both. A ratio is the median of its rounds'; the quartiles say how far
they lie apart; *CPU* is the same ratio of this process's CPU time, where the work is done in it. The databases hold a
synthetic model (`tests/benchmarks/synthetic.py`): real excerpts and explanations, copied and changed. [How to add a
measurement](development.md#benchmarks).
"""


def rows(measurements: Sequence[Measurement], results: Iterable[Result]) -> list[Row]:
    """Return a row a result, by module and in the order of its measurements."""
    by_name = {m.name: (place, m) for place, m in enumerate(measurements)}
    ordered = sorted(results, key=lambda r: (by_name[r.name][1].module, by_name[r.name][0], r.database == "PostgreSQL"))
    return [_row(by_name[result.name][1], result) for result in ordered]


def _row(measurement: Measurement, result: Result) -> Row:
    place = (measurement.name, result.database or "-")
    target = _target(measurement)
    if result.skipped or result.failed:
        verdict = f"skipped: {result.skipped}" if result.skipped else f"FAILED: {result.failed}"
        return (*place, "", "", "", "", "", target, verdict)
    met = measurement.is_met(result.value)
    verdict = "-" if met is None else "met" if met else "missed"
    if not measurement.floor:
        value = f"{_number(result.value)} {measurement.unit}"
        spread = f"{_number(result.low)} to {_number(result.high)}" if result.rounds > 1 else ""
        return (*place, "", value, "", spread, "", target, verdict)
    cpu = f"{result.cpu_ratio:.2f}" if result.cpu_ratio else ""
    # What should be low are seconds; what should be high is a throughput.
    written = _number if measurement.is_at_least else _seconds
    taken = (written(result.floor), written(result.subject))
    return (*place, *taken, f"{result.value:.2f}", f"{result.low:.2f} to {result.high:.2f}", cpu, target, verdict)


def _target(measurement: Measurement) -> str:
    if measurement.limit is None:
        return "-"
    unit = f" {measurement.unit}" if measurement.unit else ""
    return f"{'at least' if measurement.is_at_least else 'at most'} {measurement.limit:g}{unit}"


def _seconds(amount: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if amount >= size:
            return f"{_number(amount / size)} {unit}"
    return f"{_number(amount / 1e-6)} µs"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_table(table_rows: Iterable[Row]) -> None:
    table = Table(*COLUMNS)
    for row in table_rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 200).print(table)


def write_page(
    machine: Sequence[tuple[str, str]], measurements: Sequence[Measurement], results: Sequence[Result], shape: str
) -> str:
    """Return docs/benchmarks.md."""
    lines = [INTRODUCTION, f"Data: {shape}. Measured on {datetime.now(UTC):%-d %B %Y}.\n"]
    lines += ["| machine | |", "|---|---|", *(f"| {what} | {_cell(value)} |" for what, value in machine), ""]
    shown = {result.name for result in results}
    modules = {m.module: m for m in measurements if m.name in shown}
    all_rows = rows(measurements, results)
    for module in sorted(modules):
        names = {m.name for m in measurements if m.module == module}
        lines += [
            f"## {module.replace('_', ' ').capitalize()}\n",
            *_table(row for row in all_rows if row[0] in names),
            "",
        ]
        lines += [_definition(m) for m in measurements if m.module == module and m.name in shown]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _table(table_rows: Iterable[Row]) -> list[str]:
    head = [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|---|---:|---|---|"]
    return [*head, *(f"| {' | '.join(map(_cell, row))} |" for row in table_rows)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _definition(measurement: Measurement) -> str:
    against = f", against {measurement.floor}" if measurement.floor else f", in {measurement.unit}"
    return f"- *{measurement.name}*: {measurement.what}{against}."
