"""Ingesting in this process, or in several beside it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TypeAlias

import numpy as np

from explanations.pipeline.ingest.ingester import Chunk, Ingester
from explanations.pipeline.ingest.packed import PackedNeuron
from explanations.pipeline.layout import DataKind, Source

WORTH_PROCESSES = 2_000
"""Neurons: each process has to learn the excerpts for itself, and starting one may take a second."""
_A_TASK = 50
"""Neurons: the parts of a chunk that processes take, so that none is left alone with a whole chunk in the end."""
_KEPT_FREE = 31 * 2**20
"""Bytes: glibc learns from blocks of up to 32 MB."""

Ingest: TypeAlias = Callable[[Iterable[Chunk]], Iterator[list[PackedNeuron]]]
"""Yields the chunks' neurons in order. To be called once."""

_of_this_process: list[Ingester] = []


def default_processes(neurons: int) -> int:
    """Return how many processes should decode so many neurons: one a core, where starting them is worth it."""
    if neurons < WORTH_PROCESSES:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_process(source: Source, kinds: Sequence[DataKind]) -> None:
    # Ctrl-C reaches every process of the terminal; only the one that holds the database answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Who stores goes first, so that little is left to be stored when all is decoded; and so does a web server.
    if hasattr(os, "nice"):
        os.nice(19)
    # A parent that is killed closes nothing: without this, its processes would wait for work for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What was here before stays: a forked process must not close what is its parent's, such as a connection.
    gc.freeze()
    # Nothing that is decoded holds itself, so looking for what does would be in vain; a file is hundreds of lists.
    gc.set_threshold(100_000)
    # glibc hands large blocks back as they are freed, and clears them when they are asked for again, until it has
    # seen as large a block freed: a quarter of the time of packing.
    np.empty(_KEPT_FREE, np.uint8)
    _of_this_process.append(Ingester(source, kinds))


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, and end this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _ingest_in_process(chunk: Chunk) -> list[PackedNeuron]:
    return _of_this_process[0].ingest_chunk(chunk)


def _start_method() -> str:
    """Return how processes are to be started.

    A fork is there at once, with all that was imported; but where other threads run, it may find their locks taken.
    It must leave alone what it shares with its parent: it ends without closing anything (`os._exit`), as
    multiprocessing lets it, so a connection to the database stays its parent's alone.
    """
    return "fork" if sys.platform == "linux" and threading.active_count() == 1 else "spawn"


@contextmanager
def open_ingesters(source: Source, kinds: Sequence[DataKind], processes: int = 1) -> Iterator[Ingest]:
    """Give what ingests chunks; with more than one process, they start at once and work some chunks ahead."""
    if processes == 1:
        ingester = Ingester(source, kinds)
        yield lambda chunks: (ingester.ingest_chunk(chunk) for chunk in chunks)
        return
    context = multiprocessing.get_context(_start_method())
    pool = ProcessPoolExecutor(processes, context, initializer=_start_process, initargs=(source, kinds))
    pool.submit(os.getpid)  # All processes start with the first task.
    try:
        yield lambda chunks: _ingest_ahead(pool, chunks, processes + 1)
    finally:
        pool.shutdown(cancel_futures=True)


def _ingest_ahead(
    pool: ProcessPoolExecutor, chunks: Iterable[Chunk], chunks_ahead: int
) -> Iterator[list[PackedNeuron]]:
    ahead: deque[list[Future[list[PackedNeuron]]]] = deque()
    for chunk in chunks:
        parts = [chunk[start : start + _A_TASK] for start in range(0, len(chunk), _A_TASK)]
        ahead.append([pool.submit(_ingest_in_process, part) for part in parts])
        if len(ahead) > chunks_ahead:
            yield _finish_chunk(ahead.popleft())
    # No part comes after these: the processes end with the last one, and not only when its neurons are stored.
    pool.shutdown(wait=False)
    while ahead:
        yield _finish_chunk(ahead.popleft())


def _finish_chunk(parts: Iterable[Future[list[PackedNeuron]]]) -> list[PackedNeuron]:
    return [neuron for part in parts for neuron in part.result()]
