"""Many people at once, on loopback: connections kept open, each asking for one page after another.

Written on bare sockets, since a client library would take more of the machine than the site that is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from statistics import median, quantiles

PATIENCE = 30.0
"""Seconds to wait for an answer before it counts as an error."""


@dataclass
class Load:
    """What so many people got."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """seconds of each answer that was no error"""
    errors: Counter[str] = field(default_factory=Counter)
    """what was wrong, and how often: a status from 400 on, or an exception's name"""

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def median(self) -> float:
        return median(self.latencies)

    @property
    def p95(self) -> float:
        return quantiles(self.latencies, n=20)[-1]


def run_load(port: int, next_path: Callable[[], str], *, people: int, seconds: float, thinking: float = 0.0) -> Load:
    """Let people ask for paths until the time is up; each reads for `thinking` seconds before the next."""
    return asyncio.run(_run(port, next_path, people, seconds, thinking))


async def _run(port: int, next_path: Callable[[], str], people: int, seconds: float, thinking: float) -> Load:
    load = Load()
    began = time.perf_counter()
    until = began + seconds
    # They do not all come at the same moment.
    starts = (thinking * place / people for place in range(people))
    await asyncio.gather(*(_visit(port, next_path, until, load, start, thinking) for start in starts))
    load.seconds = time.perf_counter() - began
    return load


async def _visit(
    port: int, next_path: Callable[[], str], until: float, load: Load, start: float, thinking: float
) -> None:
    await asyncio.sleep(start)
    connection: _Connection | None = None
    # Once at least: where the machine is busy, the time may be up before everybody has come.
    for visit in count():
        began = time.perf_counter()
        if visit and began >= until:
            break
        try:
            async with asyncio.timeout(PATIENCE):
                connection, status = await _get(connection, port, next_path())
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            load.errors[type(error).__name__] += 1
            connection = connection and connection.close()
            continue
        if status >= 400:
            load.errors[str(status)] += 1
        else:
            load.latencies.append(time.perf_counter() - began)
        if connection.is_over:
            connection = connection.close()
        await asyncio.sleep(thinking)
    if connection:
        connection.close()


async def _get(connection: _Connection | None, port: int, path: str) -> tuple[_Connection, int]:
    """Return the connection that was used, and the answer's status.

    A server may close a connection that was idle for long at any moment; as a browser does, the page is then asked for
    on a new one.
    """
    if connection:
        try:
            return connection, await connection.get(path)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            connection.close()
            if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                raise
    connection = await _Connection.open(port)
    return connection, await connection.get(path)


class _Connection:
    """A connection to the web server that is kept open, as a browser's is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.is_over = False
        """the server will not answer on it again"""

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        self._writer.close()

    async def get(self, path: str) -> int:
        """Return the status of a page, its body read."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip, br\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        self.is_over = headers.get(b"connection") == b"close"
        if headers.get(b"transfer-encoding") == b"chunked":
            await self._read_chunks()
        else:
            await self._reader.readexactly(int(headers.get(b"content-length", 0)))
        return int(lines[0].split()[1])

    async def _read_chunks(self) -> None:
        while size := int(await self._reader.readline(), 16):
            await self._reader.readexactly(size + 2)
        await self._reader.readline()
