from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from explanations.management.processes import Processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
FAIL = [sys.executable, "-c", "raise SystemExit(3)"]


@pytest.fixture
def processes() -> Iterator[Processes]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    group = Processes()
    yield group
    group.stop()
    for number, handler in before.items():
        signal.signal(number, handler)


def has_ended(process: int) -> bool:
    """Return whether a process, as os.pidfd_open opened it, ends within a few seconds."""
    return bool(select.select([process], [], [], 5)[0])


def start_with_grandchild(processes: Processes, tmp_path: Path, before: str = "") -> int:
    """Start a child that starts one of its own; return the grandchild's process id."""
    pid_file = tmp_path / "pid"
    code = (
        f"{before}\nimport pathlib, subprocess, sys, time\n"
        f"pid = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid\n"
        f"pathlib.Path({str(tmp_path / 'half')!r}).write_text(str(pid))\n"
        f"pathlib.Path({str(tmp_path / 'half')!r}).rename({str(pid_file)!r})\n"
        "time.sleep(60)"
    )
    processes.start("parent", [sys.executable, "-c", code])
    assert processes.wait(until=pid_file.exists, seconds=20)
    return int(pid_file.read_text())


def test_it_tells_which_child_ended_and_how(processes: Processes) -> None:
    processes.start("steady", SLEEP)
    processes.start("broken", FAIL)
    assert processes.wait(seconds=20) is False
    assert processes.dead() == ("broken", 3)
    assert not processes.stopping


def test_stopping_leaves_no_child_behind(processes: Processes) -> None:
    processes.start("one", SLEEP)
    processes.start("two", SLEEP)
    assert processes.dead() is None
    processes.stop()
    assert processes.dead() == ("one", -signal.SIGTERM)


def test_stopping_ends_what_children_started(processes: Processes, tmp_path: Path) -> None:
    grandchild = os.pidfd_open(start_with_grandchild(processes, tmp_path))
    processes.stop()
    assert has_ended(grandchild)
    os.close(grandchild)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait(processes: Processes, number: signal.Signals) -> None:
    processes.start("steady", SLEEP)
    threading.Timer(0.1, os.kill, [os.getpid(), number]).start()
    assert processes.wait(seconds=20) is False
    assert processes.stopping
    assert processes.dead() is None


def test_a_second_signal_kills_a_child_that_will_not_stop(processes: Processes, tmp_path: Path) -> None:
    start_with_grandchild(processes, tmp_path, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    processes.stop()
    assert processes.dead() == ("parent", -signal.SIGKILL)


def test_the_wait_ends_when_what_it_waits_for_is_there(processes: Processes) -> None:
    processes.start("steady", SLEEP)
    assert processes.wait(until=lambda: True, seconds=20) is True


def test_the_wait_ends_when_its_time_is_over(processes: Processes) -> None:
    processes.start("steady", SLEEP)
    assert processes.wait(seconds=0.1) is False
    assert processes.dead() is None
