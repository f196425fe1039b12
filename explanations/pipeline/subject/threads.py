"""How many of the processor's threads a model's run may take, and how long they wait for the next piece of work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""what tells torch's threads how to wait; read once, as torch is loaded"""
SPINS = 10_000
"""about a tenth of a millisecond: longer than the pauses within a model's run"""


def load_torch() -> None:
    """Load torch so that its threads go to sleep soon after their work; not where the user says how they wait.

    Unless told they spin for three milliseconds, on a core that whoever looks at activations between two layers needs,
    or another program. Without effect where torch is loaded already.
    """
    if any(name in os.environ for name in WAITING):
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    try:
        import_module("torch")
    finally:
        del os.environ["GOMP_SPINCOUNT"]


@contextmanager
def at_most_threads(count: int) -> Iterator[None]:
    """Let torch, where it is loaded, use no more threads inside this block.

    Torch's threads wait for each other by spinning, several hundred times a run: where another program has one of the
    cores, two threads take ten times as long as one on a text of 32 tokens (SmolLM2-135M, 2 cores under load).
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(min(count, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
