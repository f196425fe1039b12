"""A web server for tests that holds a dataset and misbehaves as it is told: slow, broken off, 500, 429, truncated.

What a path does is a list of actions, one for each time that it is asked for; then files are served as they are.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Action = Callable[["Handler", bytes], None]


@dataclass
class DatasetServer:
    root: Path
    """the folder whose files are served"""
    actions: defaultdict[str, list[Action]] = field(default_factory=lambda: defaultdict(list))
    """what is done instead of serving, by path, first come first served; "*" is for every path"""
    asked: Counter[str] = field(default_factory=Counter)
    """how often each path was asked for"""
    connections: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def action(self, path: str) -> Action | None:
        with self.lock:
            self.asked[path] += 1
            for name in (path, "*"):
                if self.actions[name]:
                    return self.actions[name].pop(0)
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.server.dataset.lock:
            self.server.dataset.connections += 1

    def do_GET(self) -> None:
        dataset: DatasetServer = self.server.dataset
        path = self.path.lstrip("/")
        file = dataset.root / path
        body = file.read_bytes() if file.is_file() else None
        if action := dataset.action(path):
            action(self, body or b"")
        elif body is None:
            self.send(404, b"<?xml version='1.0'?><Error>BlobNotFound</Error>", {"Content-Type": "application/xml"})
        else:
            self.send(200, body)

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def status(code: int, headers: dict[str, str] | None = None) -> Action:
    """Answer with an error, or with a redirect."""
    return lambda handler, _body: handler.send(code, b"no", headers)


def break_off(handler: Handler, body: bytes) -> None:
    """Promise the whole file, send half of it, and close."""
    handler.send(200, body[: len(body) // 2], length=len(body))
    handler.close_connection = True


def truncate(handler: Handler, body: bytes) -> None:
    """Send half a file as if it were whole."""
    handler.send(200, body[: len(body) // 2])


def end_without_length(cut: int) -> Action:
    """Send a file without its last bytes and without its length, so that only its content tells."""

    def act(handler: Handler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body[: len(body) - cut])
        handler.close_connection = True

    return act


def web_page(handler: Handler, _body: bytes) -> None:
    handler.send(200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"})


def hang_up(handler: Handler, _body: bytes) -> None:
    """Close without an answer."""
    handler.close_connection = True


@contextmanager
def serve(root: Path) -> Iterator[DatasetServer]:
    """Serve a folder on a free port of this machine."""
    dataset = DatasetServer(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # Clients are killed and time out: that is what tests are for.
    server.handle_error = lambda *_args: None  # type: ignore[method-assign]
    server.dataset = dataset  # type: ignore[attr-defined]
    dataset.port = server.server_address[1]
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield dataset
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
