"""One visitor of a web server on loopback: a connection that is kept open, and one page after the other.

Written on a bare socket, since a client library takes as long as the server's smallest page.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable
from types import TracebackType

PATIENCE = 30.0
"""Seconds to wait for an answer."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Visitor:
    """A browser that takes gzip; a context manager."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def seconds_for(self, places: Iterable[str]) -> float:
        """Return how long these pages take, from asking for the first to the last one's last byte."""
        began = time.perf_counter()
        for place in places:
            self._get(place)
        return time.perf_counter() - began

    def _get(self, place: str) -> None:
        self._socket.sendall(f"GET {place} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more(place)
        head, _, body = answer.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or found is None:
            raise ConnectionError(f"{place}: {head[:200].decode('latin-1')}")
        left = int(found[1]) - len(body)
        while left > 0:
            left -= len(self._more(place))

    def _more(self, place: str) -> bytes:
        received = self._socket.recv(1 << 16)
        if not received:
            raise ConnectionError(f"{place}: the server closed the connection")
        return received
