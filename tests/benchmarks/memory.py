"""What a program and all that it starts hold in memory, looked at from outside: a thread within would change it."""

from __future__ import annotations

import threading

import psutil

INTERVAL = 0.2
"""Seconds between looks at the memory."""


class MemoryWatch(threading.Thread):
    """Looks at a process and its children until it is told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self._process = psutil.Process(pid)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(INTERVAL):
            self.highest = max(self.highest, sum(map(_share, self._family())))

    def finish(self) -> int:
        """Stop; return the highest sum in bytes."""
        self._stop_asked.set()
        self.join()
        return self.highest

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return []


def _share(process: psutil.Process) -> int:
    """Return a process's own bytes, and its share of those that it has together with others, as after a fork."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # It ended between the two looks.
        return 0
