"""The HTTP side: loopback only, a thread a connection, for trying and testing without a key."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

from explanations.model_server.replies import (
    CHAT,
    RAW,
    BadRequestError,
    ModelRequest,
    Reply,
    error_reply,
    json_reply,
    parse_request,
)

logger = logging.getLogger(__name__)

LARGEST_REQUEST = 16 * 2**20
DRIP_SECONDS = 0.05
"""between two bytes of a dripping answer"""


class Responder(Protocol):
    """Whatever answers requests."""

    @property
    def name(self) -> str:
        """Return the model's name."""

    def __call__(self, request: ModelRequest) -> Reply:
        """Return the reply. BadRequestError where the request asks for what there is not."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in, for those who test."""

    route: str
    body: bytes
    authorization: str


class ModelServer:
    """An OpenAI-compatible server on 127.0.0.1, running from the beginning to the end of a `with`."""

    def __init__(self, responder: Responder, port: int = 0) -> None:
        self.responder = responder
        self.received: list[Received] = []
        self.keeps_requests = False
        self.stopping = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        """Return what LLM_BASE_URL is to be."""
        return f"http://127.0.0.1:{self.port}/v1"

    def serve(self) -> None:
        """Answer until `stop` is called from another thread, or the process is interrupted."""
        self._http.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        self.stopping.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        self.keeps_requests = True
        self._thread = threading.Thread(target=self.serve, name="model server", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        model_server = self

        class BoundHandler(Handler):
            server_of_models = model_server

        return BoundHandler

    def reply(self, method: str, path: str, content: bytes, authorization: str) -> Reply:
        """Return the reply to a request."""
        route = path.partition("?")[0].removeprefix("/v1").strip("/")
        if self.keeps_requests:
            self.received.append(Received(route, content, authorization))
        if route == "models" and method == "GET":
            model = {"id": self.responder.name, "object": "model", "created": 0, "owned_by": "neuronviewer"}
            return json_reply({"object": "list", "data": [model]})
        if route not in {CHAT, RAW}:
            return error_reply(404, f"there is no {method} /v1/{route}; there are models, {CHAT} and {RAW}")
        if method != "POST":
            return error_reply(405, f"/v1/{route} takes POST", headers={"Allow": "POST"})
        try:
            return self.responder(parse_request(route, content))
        except BadRequestError as error:
            return error_reply(400, str(error))


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "neuronviewer"
    sys_version = ""
    # One write a reply: two, with Nagle's algorithm between them, cost 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    server_of_models: ModelServer

    def do_GET(self) -> None:
        self._send(self.server_of_models.reply("GET", self.path, b"", ""))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_REQUEST:
            self.close_connection = True
            self._send(error_reply(413, f"a request needs a Content-Length of at most {LARGEST_REQUEST >> 20} MB"))
            return
        content = self.rfile.read(int(length))
        self._send(self.server_of_models.reply("POST", self.path, content, self.headers.get("Authorization", "")))

    def _send(self, reply: Reply) -> None:
        stopping = self.server_of_models.stopping
        if reply.fault == "hang":
            stopping.wait()
        if reply.delay:
            stopping.wait(reply.delay)
        if reply.fault in {"hang", "drop"}:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self._send_body(reply)

    def _send_body(self, reply: Reply) -> None:
        if reply.fault == "cut_off":
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.close_connection = True
            return
        parts = [reply.body] if reply.fault != "drip" else [bytes([byte]) for byte in reply.body]
        try:
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()
                if reply.fault == "drip" and self.server_of_models.stopping.wait(DRIP_SECONDS):
                    break
        except OSError:
            self.close_connection = True  # whoever asked has gone

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            logger.debug("a connection was cut")

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)
