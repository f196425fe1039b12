"""`python -m tests.benchmarks.timed_import FOLDER`: import a folder into the configured, empty database; print JSON.

`seconds` from the command's start to its end; `memory`, the highest sum of what all its processes hold for themselves.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time

import psutil
from django.core.management import call_command

import tests.benchmarks  # noqa: F401  it sets Django up

INTERVAL = 0.2
"""Seconds between looks at the memory."""


class MemoryWatch(threading.Thread):
    """Looks at this process and its children until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self._stop_asked = threading.Event()

    def run(self) -> None:
        me = psutil.Process()
        while not self._stop_asked.wait(INTERVAL):
            self.highest = max(self.highest, sum(map(_private, [me, *me.children(recursive=True)])))

    def finish(self) -> int:
        """Stop; return the highest sum in bytes."""
        self._stop_asked.set()
        self.join()
        return self.highest


def _private(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.Error:  # It ended between the two looks.
        return 0
    return int(memory.rss - memory.shared)


def main(folder: str) -> None:
    call_command("migrate", verbosity=0)
    watch = MemoryWatch()
    watch.start()
    start = time.perf_counter()
    call_command("import_dataset", folder, model="imported", stdout=io.StringIO())
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "memory": watch.finish()}))


if __name__ == "__main__":
    main(sys.argv[1])
