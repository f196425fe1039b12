"""The web server in processes of its own, as docs/configuration.md starts it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THREADS = 8
SECONDS_TO_ANSWER = 60


@dataclass
class WebServer:
    """A web server on a port of its own: a process that starts others, which answer."""

    process: subprocess.Popen[bytes]
    port: int

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        finally:
            self.kill()

    def kill(self) -> None:
        """End all its processes at once, as a machine that loses its power does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


SITE = "neuronviewer.wsgi"


def start_web(processes: int, environment: Mapping[str, str] | None = None, application: str = SITE) -> WebServer:
    """Start a web server with so many processes that answer; it may not answer yet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        command = [
            *(sys.executable, "-m", "gunicorn", application, "--no-control-socket", "--log-level=warning"),
            *("--worker-class=gthread", f"--threads={THREADS}", f"--workers={processes}", "--keep-alive=15"),
            *("--graceful-timeout=3", f"--bind=fd://{listener.fileno()}"),
        ]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, pass_fds=[listener.fileno()], start_new_session=True
        )
        return WebServer(process, listener.getsockname()[1])


@contextmanager
def run_web(processes: int, environment: Mapping[str, str] | None = None, application: str = SITE) -> Iterator[int]:
    """Start a web server, give its port once pages come, and stop it in the end."""
    server = start_web(processes, environment, application)
    try:
        await_answers(server, 20 * processes)
        yield server.port
    finally:
        server.stop()


def await_answers(server: WebServer, count: int = 1) -> None:
    """Wait until the first page came `count` times: so often that every process has begun by then."""
    deadline = time.monotonic() + SECONDS_TO_ANSWER
    while count:
        web = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS_TO_ANSWER)
        try:
            web.request("GET", "/")
            answer = web.getresponse()
            answer.read()
            assert answer.status == http.client.OK, f"the first page answers with {answer.status}"
            count -= 1
        except OSError:
            assert server.process.poll() is None, "the web server has stopped"
            assert time.monotonic() < deadline, "the web server does not answer"
            time.sleep(0.1)
        finally:
            web.close()
