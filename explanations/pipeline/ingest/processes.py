"""Ingesting in this process, or in several beside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait

from explanations.pipeline.ingest.ingester import Chunk, Ingester
from explanations.pipeline.ingest.packed import PackedNeuron
from explanations.pipeline.layout import DataKind, Source

WORTH_PROCESSES = 2_000
"""Neurons: starting a process takes a second, and each has to learn the excerpts for itself."""

_of_this_process: list[Ingester] = []


def default_processes(neurons: int) -> int:
    """Return how many processes should decode so many neurons: one a core, where starting them is worth it."""
    if neurons < WORTH_PROCESSES:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_process(source: Source, kinds: Sequence[DataKind]) -> None:
    # Ctrl-C reaches every process of the terminal; only the one that holds the database answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed closes nothing: without this, its processes would wait for work for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _of_this_process.append(Ingester(source, kinds))


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, and end this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _ingest_in_process(chunk: Chunk) -> list[PackedNeuron]:
    return _of_this_process[0].ingest_chunk(chunk)


def ingest_chunks(
    source: Source, kinds: Sequence[DataKind], chunks: Iterable[Chunk], processes: int = 1
) -> Iterator[list[PackedNeuron]]:
    """Yield the chunks' neurons in order; with more than one process, some chunks ahead."""
    if processes == 1:
        ingester = Ingester(source, kinds)
        for chunk in chunks:
            yield ingester.ingest_chunk(chunk)
        return
    # Spawned and not forked: a forked process would share, and close, the connection to the database.
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_start_process, initargs=(source, kinds)
    )
    ahead: deque[Future[list[PackedNeuron]]] = deque()
    try:
        for chunk in chunks:
            ahead.append(pool.submit(_ingest_in_process, chunk))
            if len(ahead) > processes + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
