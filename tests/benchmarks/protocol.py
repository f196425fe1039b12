"""What a measurement is, and what it is given. The package's docstring tells how to write one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.benchmarks import databases

On = Literal["databases", "nothing"]


class Skipped(Exception):  # noqa: N818  it is what happened, not a mistake
    """A measurement that cannot be made here, with the reason in words."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a call measured of itself: seconds, or a throughput where the ratio is to be `at_least` something."""

    amount: float


@dataclass(frozen=True, slots=True)
class Pair:
    """What is measured and what it is compared with; called by turns."""

    floor: Callable[[], object]
    subject: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a measurement may know of the run."""

    is_quick: bool
    database: str
    """SQLite, PostgreSQL or, for measurements on nothing, empty"""
    layers: int
    neurons: int
    """a layer of the synthetic model"""
    folder: Path
    """for data that is built once and used again; name what you put there for its shape"""
    slug: str = "synthetic-xl"
    """the synthetic model's"""

    def empty_database(self) -> AbstractContextManager[str]:
        """Make an empty database of the same kind, give its address (for DATABASE_URL), and drop it in the end."""
        return databases.empty_database(self.database, self.folder)

    def neuron_url(self, layer: int = 0, index: int = 0) -> str:
        return f"/{self.slug}/layers/{layer % self.layers}/neurons/{index % self.neurons}/"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table, or one a database."""

    name: str
    module: str
    what: str
    """the subject, in words"""
    floor: str
    """what it is compared with; empty for a figure"""
    unit: str
    """of a figure"""
    limit: float | None
    is_at_least: bool
    on: On
    rounds: int
    function: Callable[[Bench], object] = field(repr=False)

    def open(self, bench: Bench) -> AbstractContextManager[Pair]:
        """Prepare a ratio's pair; tidied up when the block is left."""
        return contextmanager(self.function)(bench)  # type: ignore[arg-type]

    def is_met(self, value: float) -> bool | None:
        """Return whether a value meets the target; None where there is none."""
        if self.limit is None:
            return None
        return value >= self.limit if self.is_at_least else value <= self.limit


FOUND: list[Measurement] = []
"""Every measurement of the modules that have been imported."""
ROUNDS = 7

RatioFunction = Callable[[Bench], Iterator[Pair]]
FigureFunction = Callable[[Bench], float | Sequence[float]]


def ratio(
    name: str,
    *,
    subject: str,
    floor: str,
    at_most: float | None = None,
    at_least: float | None = None,
    on: On = "databases",
    rounds: int = ROUNDS,
) -> Callable[[RatioFunction], RatioFunction]:
    """Register a measurement of a subject against its floor, in `rounds` rounds (one in a quick run)."""

    def register(function: RatioFunction) -> RatioFunction:
        _add(name, function, what=subject, floor=floor, at_most=at_most, at_least=at_least, on=on, rounds=rounds)
        return function

    return register


def figure(
    name: str,
    *,
    what: str,
    unit: str,
    at_most: float | None = None,
    at_least: float | None = None,
    on: On = "databases",
) -> Callable[[FigureFunction], FigureFunction]:
    """Register a measurement that has no floor."""

    def register(function: FigureFunction) -> FigureFunction:
        _add(name, function, what=what, unit=unit, at_most=at_most, at_least=at_least, on=on, rounds=1)
        return function

    return register


def _add(
    name: str,
    function: Callable[[Bench], object],
    *,
    what: str,
    at_most: float | None,
    at_least: float | None,
    on: On,
    rounds: int,
    floor: str = "",
    unit: str = "",
) -> None:
    assert at_most is None or at_least is None, f"{name}: a target is either at most or at least something"
    assert name not in {m.name for m in FOUND}, f"two measurements are called {name}"
    limit = at_least if at_most is None else at_most
    module = function.__module__.rpartition(".")[-1]
    FOUND.append(Measurement(name, module, what, floor, unit, limit, at_least is not None, on, rounds, function))
