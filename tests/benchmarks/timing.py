"""Floor and subject, timed by turns."""

from __future__ import annotations

import gc
import math
import time
import traceback
from collections.abc import Callable, Sequence
from statistics import median, quantiles

import msgspec

from tests.benchmarks.protocol import Bench, Measurement, Pair, Skipped, Taken

SECONDS_A_TURN = 0.1
"""A callable is called so often in a turn that it takes about this long: the first calls find the other's work in the
processor's caches, and take up to half as long again."""
MOST_CALLS = 2_000
SECONDS_OF_ROUNDS = 45.0
"""No new round begins after so long; three are run whatever they take."""
FEWEST_ROUNDS = 3
QUICK_ROUNDS = 1


class Result(msgspec.Struct, frozen=True):
    """What came of a measurement; floor, subject and cpu_ratio are 0 for a figure."""

    name: str
    database: str
    value: float = 0.0
    """the median ratio, or the median of a figure's values"""
    low: float = 0.0
    """the lower quartile"""
    high: float = 0.0
    floor: float = 0.0
    """median seconds a call, or what the calls say they have taken"""
    subject: float = 0.0
    cpu_ratio: float = 0.0
    """of this process's CPU time; 0 where the work is done elsewhere"""
    rounds: int = 0
    seconds: float = 0.0
    """that the measurement took, its preparation included"""
    skipped: str = ""
    failed: str = ""


class Turn(msgspec.Struct, frozen=True):
    """One turn of a callable, a call's share of it."""

    amount: float
    cpu: float


def run(measurement: Measurement, bench: Bench) -> Result:
    """Make a measurement. Never raises but for being interrupted."""
    began = time.perf_counter()
    place = {"name": measurement.name, "database": bench.database}
    try:
        found = _measure_ratio(measurement, bench) if measurement.floor else _measure_figure(measurement, bench)
    except Skipped as reason:
        return Result(**place, skipped=str(reason))
    except Exception as error:
        traceback.print_exc(limit=-6, chain=False)
        return Result(**place, failed=f"{type(error).__name__}: {error}")
    return Result(**place, **found, seconds=time.perf_counter() - began)


def _measure_figure(measurement: Measurement, bench: Bench) -> dict[str, float]:
    given = measurement.function(bench)
    values = list(given) if isinstance(given, Sequence) else [given]
    return {**_summarise(values), "rounds": len(values)}


def _measure_ratio(measurement: Measurement, bench: Bench) -> dict[str, float]:
    with measurement.open(bench) as pair:
        rounds = QUICK_ROUNDS if bench.is_quick else measurement.rounds
        turns = run_rounds(pair, rounds)
    ratios = [subject.amount / floor.amount for floor, subject in turns]
    cpu = [subject.cpu / floor.cpu for floor, subject in turns if floor.cpu > 0]
    return {
        **_summarise(ratios),
        "floor": median(floor.amount for floor, _ in turns),
        "subject": median(subject.amount for _, subject in turns),
        "cpu_ratio": median(cpu) if cpu else 0.0,
        "rounds": len(turns),
    }


def run_rounds(pair: Pair, rounds: int) -> list[tuple[Turn, Turn]]:
    """Return the turns of floor and subject, which go first by turns too."""
    # The first calls fill caches, and tell how long one takes.
    calls = {which: _calls(getattr(pair, which)) for which in ("floor", "subject")}
    began = time.perf_counter()
    turns = []
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > SECONDS_OF_ROUNDS:
            break
        order = ("floor", "subject") if number % 2 else ("subject", "floor")
        taken = {which: _take_turn(getattr(pair, which), calls[which]) for which in order}
        turns.append((taken["floor"], taken["subject"]))
    return turns


def _calls(call: Callable[[], object]) -> int:
    """Return how many calls make a turn; one of what measures itself."""
    if isinstance(call(), Taken):
        return 1
    began = time.perf_counter()
    call()
    seconds = max(time.perf_counter() - began, 1e-9)
    return max(1, min(MOST_CALLS, math.ceil(SECONDS_A_TURN / seconds)))


def _take_turn(call: Callable[[], object], calls: int) -> Turn:
    gc.collect(1)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        # None is kept: many answers would give the garbage collector more to do.
        answer = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if isinstance(answer, Taken):
        return Turn(answer.amount, 0.0)
    return Turn(wall / calls, cpu / calls)


def _summarise(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"value": middle, "low": low, "high": high}
