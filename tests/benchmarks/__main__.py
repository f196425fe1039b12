"""Make the measurements: `python -m tests.benchmarks [--quick] [--only NAME] [--list]`, which `make bench` does.

A process of its own measures on each database, since a Django process has one. A full run writes docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from django.conf import settings

import tests.benchmarks
from explanations.management.static_files import collect_changed_static_files
from tests.benchmarks import databases, full_size, protocol, report, timing
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.protocol import Bench, Measurement
from tests.benchmarks.timing import Result

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
NOTHING = ""
"""In place of a database's name: measurements that need none."""
GROUPS = (NOTHING, databases.SQLITE, databases.POSTGRES)


def main(arguments: Sequence[str]) -> int:
    options = read_arguments(arguments)
    measurements = find_measurements(options.only)
    if options.list:
        print(*(f"{m.module}: {m.name}" for m in measurements), sep="\n")
        return 0
    if not measurements:
        print(f"No measurement is called like {options.only!r}; --list names them.", file=sys.stderr)
        return 2
    if options.results:
        return measure_here(options, measurements)
    began = time.monotonic()
    machine = describe_machine()
    groups = [group for group in GROUPS if any(_belongs(m, group) for m in measurements)]
    unbuilt = build_data([group for group in groups if group and not databases.why_no(group)], options)
    results = [result for group in groups for result in measure(group, options, measurements, unbuilt)]
    report.print_table(report.rows(measurements, results))
    minutes = (time.monotonic() - began) / 60
    print(f"{len(results)} measurements in {minutes:.1f} minutes; data in {databases.data_folder()}")
    if not (options.quick or options.only):
        layers, neurons = databases.FULL
        shape = f"{layers} x {neurons:,} = {layers * neurons:,} neurons, {2 * layers * neurons:,} explanations"
        PAGE.write_text(report.write_page(machine, measurements, results, shape))
        print(f"Written: {PAGE.relative_to(ROOT)}")
    return int(any(result.failed for result in results))


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little data, one round: to see that it works")
    parser.add_argument("--only", default="", metavar="NAME", help="those whose name or module holds this")
    parser.add_argument("--list", action="store_true", help="name the measurements")
    parser.add_argument("--database", default="", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def find_measurements(only: str = "") -> list[Measurement]:
    """Return the measurements of all modules of this package whose name or module holds `only`."""
    for module in sorted(info.name for info in pkgutil.iter_modules(tests.benchmarks.__path__)):
        if module != "__main__":
            importlib.import_module(f"tests.benchmarks.{module}")
    return [m for m in protocol.FOUND if only in m.name or only == m.module]


def build_data(groups: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Fill these databases, as far as they are not filled, all at once; return those where that failed."""
    layers, neurons = databases.QUICK if options.quick else databases.FULL
    flags = 100 if options.quick else full_size.FLAGS
    shape = [f"--layers={layers}", f"--neurons={neurons}", f"--flags={flags}"]
    command = [sys.executable, "-m", "tests.benchmarks.full_size", *shape]
    builders = {group: subprocess.Popen(command, cwd=ROOT, env=_environment(group, options)) for group in groups}
    return [group for group, builder in builders.items() if builder.wait()]


def measure(
    group: str, options: argparse.Namespace, measurements: Sequence[Measurement], unbuilt: Sequence[str]
) -> list[Result]:
    """Return what a process of its own measures on a database, or without one."""
    wanted = [m for m in measurements if _belongs(m, group)]
    if reason := databases.why_no(group):
        return [Result(m.name, group, skipped=reason) for m in wanted]
    if group in unbuilt:
        return [Result(m.name, group, failed="its data could not be built") for m in wanted]
    print(f"\nMeasuring on {group or 'no database'}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "results.jsonl"
        process = subprocess.run(
            _command(group, options, path), cwd=ROOT, env=_environment(group, options), check=False
        )
        lines = path.read_bytes().splitlines() if path.exists() else []
    results = [msgspec.json.decode(line, type=Result) for line in lines]
    missing = {m.name for m in wanted} - {result.name for result in results}
    return results + [Result(name, group, failed=f"its process ended with {process.returncode}") for name in missing]


def _belongs(measurement: Measurement, group: str) -> bool:
    return (measurement.on == "nothing") == (group == NOTHING)


def _command(group: str, options: argparse.Namespace, path: Path) -> list[str]:
    flags = [f"--only={options.only}", f"--database={group}", f"--results={path}"]
    return [sys.executable, "-m", "tests.benchmarks", *flags, *(["--quick"] if options.quick else [])]


def _environment(group: str, options: argparse.Namespace) -> dict[str, str]:
    folder = databases.data_folder()
    url = databases.prepare(group, folder, is_quick=options.quick) if group else "sqlite://:memory:"
    return {
        **os.environ,
        "BENCH_POSTGRES": databases.postgres_server(),
        "DATABASE_URL": url,
        "NEURONVIEWER_DATA": str(folder),
        "ALLOWED_HOSTS": "testserver,127.0.0.1",
        "DEBUG": "0",
        "LOG_LEVEL": "ERROR",
    }


def measure_here(options: argparse.Namespace, measurements: Sequence[Measurement]) -> int:
    """Measure in this process, whose settings name the database; write each result as soon as it is there."""
    layers, neurons = databases.QUICK if options.quick else databases.FULL
    bench = Bench(options.quick, options.database, layers, neurons, Path(settings.DATA_DIR))
    collect_changed_static_files()
    with options.results.open("wb") as file:
        for measurement in measurements:
            if _belongs(measurement, options.database):
                print(f"  {measurement.module}: {measurement.name}", file=sys.stderr, flush=True)
                file.write(msgspec.json.encode(timing.run(measurement, bench)) + b"\n")
                file.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
