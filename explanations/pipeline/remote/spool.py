"""Files fetched ahead of whoever reads them, into a folder of the public layout that is emptied behind the reader.

So the reader needs only to know folders, and what waits lies on the disk and not in memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import NeuronId
from explanations.pipeline.remote.fetching import FetchError, RemoteSource, SourceError


class Wanted(NamedTuple):
    """The files to fetch of one neuron."""

    neuron_id: NeuronId
    kinds: tuple[DataKind, ...]


@dataclass(slots=True)
class Delivery:
    """A batch of neurons whose files lie in the folder, but for those that did not come."""

    wanted: Sequence[Wanted]
    missing: set[tuple[NeuronId, DataKind]] = field(default_factory=set)
    """files that the server does not have"""
    failed: dict[tuple[NeuronId, DataKind], str] = field(default_factory=dict)
    """files that did not come, and why"""

    def remove_files(self, folder: Path) -> None:
        """Remove what was fetched, once it has been read."""
        for neuron_id, kinds in self.wanted:
            for kind in kinds:
                (folder / kind.path(neuron_id)).unlink(missing_ok=True)


class Traffic:
    """Counts files and bytes as they come; safe for threads."""

    WINDOW = 15.0
    """seconds over which speeds are told"""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int, int]] = deque([(time.monotonic(), 0, 0)])

    def add(self, size: int) -> None:
        with self._lock:
            self.files += 1
            self.bytes += size

    def describe(self) -> str:
        """Return e.g. "1.2 MB and 340 files a second, 1.4 GB in all"."""
        now = time.monotonic()
        self._seen.append((now, self.files, self.bytes))
        while len(self._seen) > 2 and now - self._seen[1][0] > self.WINDOW:
            self._seen.popleft()
        then, files, size = self._seen[0]
        seconds = max(now - then, 1e-3)
        rate, files_rate = describe_bytes((self.bytes - size) / seconds), (self.files - files) / seconds
        return f"{rate} and {files_rate:,.0f} files a second, {describe_bytes(self.bytes)} in all"


def describe_bytes(count: float) -> str:
    """Return a number of bytes with its unit: 1.2 MB."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


@dataclass(slots=True)
class _Coming:
    """A batch that is under way: its files with what will become of each (True: there is such a file)."""

    delivery: Delivery
    futures: list[tuple[NeuronId, DataKind, Future[bool]]]

    def finish(self) -> Delivery:
        """Wait for all files. SourceError where the source as a whole fails."""
        for neuron_id, kind, future in self.futures:
            try:
                if not future.result():
                    self.delivery.missing.add((neuron_id, kind))
            except FetchError as error:
                self.delivery.failed[neuron_id, kind] = str(error.strerror)
        return self.delivery


def download(
    source: RemoteSource,
    prefix: str,
    batches: Iterable[Sequence[Wanted]],
    folder: Path,
    *,
    ahead: int = 6,
    traffic: Traffic | None = None,
) -> Generator[Delivery, None, None]:
    """Yield the batches in order, each once its files lie in `folder`; up to `ahead` later ones are on their way.

    The reader removes a batch's files when it is done with it. Where the reader stops, so does this.
    """
    fetcher = _Fetcher(source, prefix, folder, traffic or Traffic())
    coming: deque[_Coming] = deque()
    pool = ThreadPoolExecutor(source.connections, thread_name_prefix="fetch")
    try:
        for batch in batches:
            coming.append(fetcher.start(pool, batch))
            if len(coming) > ahead:
                yield coming.popleft().finish()
        while coming:
            yield coming.popleft().finish()
    finally:
        source.stopping.set()
        pool.shutdown(cancel_futures=True)


@dataclass(slots=True)
class _Fetcher:
    source: RemoteSource
    prefix: str
    folder: Path
    traffic: Traffic

    def start(self, pool: ThreadPoolExecutor, batch: Sequence[Wanted]) -> _Coming:
        for layer, kind in {(neuron_id.layer, kind) for neuron_id, kinds in batch for kind in kinds}:
            (self.folder / kind.folder / str(layer)).mkdir(parents=True, exist_ok=True)
        futures = [
            (neuron_id, kind, pool.submit(self._fetch, kind.path(neuron_id)))
            for neuron_id, kinds in batch
            for kind in kinds
        ]
        return _Coming(Delivery(batch), futures)

    def _fetch(self, path: str) -> bool:
        data = self.source.fetch(self.prefix + path)
        self.traffic.add(0 if data is None else len(data))
        if data is None:
            return False
        try:
            (self.folder / path).write_bytes(data)
        except OSError as error:
            with suppress(OSError):
                (self.folder / path).unlink(missing_ok=True)
            raise SourceError(f"{self.folder}: cannot be written: {error.strerror}") from None
        return True
