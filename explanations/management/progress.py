"""How a long command shows how far it is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management.base import OutputWrapper

SECONDS_BETWEEN_LINES = 5.0

Advance = Callable[[int], None]


def no_note() -> str:
    return ""


@contextmanager
def show_progress(out: OutputWrapper, total: int, what: str, note: Callable[[], str] = no_note) -> Iterator[Advance]:
    """Yield a function that is told how many more of `total` are done. What `note` returns is shown beside it."""
    if out.isatty():
        # Only here: rich takes as long to import as some 40 neurons do.
        from explanations.management.progress_bar import make_bar

        with make_bar() as progress:
            task = progress.add_task(what, total=total, note="")
            yield lambda count: progress.update(task, advance=count, note=note())
    else:
        yield _Lines(out, total, what, note).advance


class _Lines:
    """A line every few seconds, and one at the end."""

    def __init__(self, out: OutputWrapper, total: int, what: str, note: Callable[[], str]) -> None:
        self._out, self._total, self._what, self._note = out, total, what, note
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if self._done >= self._total or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._out.write(self._line(now - self._start))
            self._out.flush()

    def _line(self, seconds: float) -> str:
        rate = self._done / max(seconds, 1e-6)
        line = f"{self._what}: {self._done:,} of {self._total:,}, {_rate(rate)} a second"
        line += f", {note}" if (note := self._note()) else ""
        left = (self._total - self._done) / rate
        return line if self._done >= self._total else f"{line}, about {_duration(left)} left"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
