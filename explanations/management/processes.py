"""Child processes that start, run and stop together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

PATIENCE = 10.0
"""Seconds that a child is given to stop before it is killed."""
_POLL = 0.05
_PR_SET_PDEATHSIG = 1
# Loaded here, since a child between fork and exec should do as little as it can.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Processes:
    """A few children, each in a process group of its own, so that Ctrl-C reaches them through us alone.

    The first signal to stop (Ctrl-C, SIGTERM, a closed terminal) is noted in `stopping`; the second kills.
    """

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._signals = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note_signal)

    def _note_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    @property
    def stopping(self) -> bool:
        return self._signals > 0

    def start(self, name: str, command: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        # The commands are our own, never a person's.
        self._children[name] = subprocess.Popen(  # noqa: S603
            command, pass_fds=pass_fds, start_new_session=True, preexec_fn=_die_with_parent, stdin=subprocess.DEVNULL
        )

    def dead(self) -> tuple[str, int] | None:
        """Return the name and exit status of a child that has ended; None while all run."""
        for name, child in self._children.items():
            if (status := child.poll()) is not None:
                return name, status
        return None

    def wait(self, until: Callable[[], bool] = lambda: False, seconds: float = float("inf")) -> bool:
        """Wait until told so, asked to stop, bereft of a child or out of time; return whether `until` came true."""
        deadline = time.monotonic() + seconds
        while not self.stopping and self.dead() is None and time.monotonic() < deadline:
            if until():
                return True
            time.sleep(_POLL)
        return False

    def stop(self) -> None:
        """Stop every child and all that it started; return when none is left."""
        signals = self._signals
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + PATIENCE
        while self._running() and self._signals <= max(signals, 1) and time.monotonic() < deadline:
            time.sleep(_POLL)
        for child in self._children.values():
            _kill_group(child.pid)
            child.wait()

    def _running(self) -> bool:
        return any(child.poll() is None for child in self._children.values())


def _kill_group(leader: int) -> None:
    """Kill what is left of a child's process group, the child too; nothing where it is empty already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _die_with_parent() -> None:
    """Ask Linux to stop this child when its parent is killed, so that even `kill -9` leaves no orphan."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
