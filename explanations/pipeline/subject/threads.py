"""How many of the processor's threads a model's run may take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
