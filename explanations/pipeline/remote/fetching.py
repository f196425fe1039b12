"""One file of a dataset on the web: asked for again where that helps, whole or not at all."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from explanations.pipeline.remote.address import is_loopback
from explanations.pipeline.remote.bandwidth import Bandwidth
from explanations.pipeline.retry_after import retry_after

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

ATTEMPTS = 8
CONNECTIONS = 16
TIMEOUT = 30.0
LONGEST_PAUSE = 120.0
"""seconds that a server may ask to wait; where it asks for more, the import stops and can be started again later"""
SLOWEST_FILE = 300.0
"""seconds that a file may take, waiting for --max-bandwidth not counted"""
LARGEST_FILE = 64 * 2**20
_LARGEST_ERROR_PAGE = 2**16
PATIENCE_WITH_FILES = 4
"""times as many files in a row may be broken as may fail for the source's sake"""
MISSING = frozenset({404, 410})
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class SourceError(Exception):
    """The source as a whole cannot be used, in one line."""


class FetchError(OSError):
    """A file that did not come, with the reason in words."""

    def __init__(self, reason: str, is_of_source: bool = True) -> None:
        super().__init__(reason)
        self.strerror = reason
        self.is_of_source = is_of_source
        """whether it says something about the source, and not only about this file"""


class _AnswerError(Exception):
    """An answer that is no file."""

    def __init__(
        self, reason: str, pause: float | None = None, *, is_of_source: bool = True, is_passing: bool = True
    ) -> None:
        super().__init__(reason)
        self.pause = pause
        """seconds that the server asks to wait"""
        self.is_of_source = is_of_source
        """whether it says something about the source, and not only about this file"""
        self.is_passing = is_passing
        """whether it may be gone at the next try"""


class _StoppedError(Exception):
    """The import is being stopped."""


@dataclass(slots=True)
class RemoteSource:
    """Files below one base address. Any number of threads may ask; connections are kept and used again."""

    base: str
    """with a slash at its end"""
    connections: int = CONNECTIONS
    timeout: float = TIMEOUT
    attempts: int = ATTEMPTS
    longest_wait: float = 30.0
    """seconds between two tries, unless the server says"""
    bandwidth: Bandwidth = field(default_factory=lambda: Bandwidth(None))
    stopping: threading.Event = field(default_factory=threading.Event)
    """once set, nothing more is asked for, and whoever waits wakes up"""
    _client: httpx.Client = field(init=False, repr=False)
    _not_before: float = field(init=False, default=0.0)
    _failures: int = field(init=False, default=0)
    """files that failed since the last that came"""

    def __post_init__(self) -> None:
        import httpx  # only where it is used, as tenacity: an import from a folder need not wait for them

        host = httpx.URL(self.base).host
        self._client = httpx.Client(
            # A proxy that the environment names is for the world, not for this machine.
            trust_env=not is_loopback(host),
            timeout=httpx.Timeout(self.timeout, pool=None),
            limits=httpx.Limits(max_connections=self.connections, max_keepalive_connections=self.connections),
            headers={"User-Agent": "neuronviewer", "Accept": "application/json, */*;q=0.5"},
        )

    def close(self) -> None:
        self._client.close()

    def fetch(self, path: str, attempts: int | None = None) -> bytes | None:
        """Return a file's bytes; None where the server says that there is none.

        FetchError where this file does not come, SourceError where no other will come either.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_when_event_set

        tries = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, _AnswerError) and error.is_passing),
            stop=stop_after_attempt(attempts or self.attempts) | stop_when_event_set(self.stopping),
            wait=self._pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            data: bytes | None = tries(self._fetch_once, path)
        except _StoppedError:
            raise FetchError("the import was stopped") from None
        except _AnswerError as error:
            reason = f"{error} (tried {attempts or self.attempts} times)" if error.is_passing else str(error)
            self._note_failure(error, reason)
            raise FetchError(reason, error.is_of_source) from None
        self._failures = 0
        return data

    def _note_failure(self, error: _AnswerError, reason: str) -> None:
        if self.stopping.is_set():
            return
        self._failures += 1
        # A broken file says little about the others; many in a row do.
        if self._failures >= max(4, self.connections) * (1 if error.is_of_source else PATIENCE_WITH_FILES):
            raise SourceError(f"{self.base} {reason}; {self._failures} files in a row did not come") from None

    def _fetch_once(self, path: str) -> bytes | None:
        import httpx

        self._sleep(self._not_before - time.monotonic())  # the server told some thread to wait
        try:
            with self._client.stream("GET", self.base + path) as response:
                if response.status_code == httpx.codes.OK:
                    return self._checked(response, self._read(response, LARGEST_FILE))
                if response.status_code in MISSING:
                    self._read(response, _LARGEST_ERROR_PAGE)  # so that the connection can be used again
                    return None
                self._refuse(response)
        except httpx.TimeoutException:
            raise _AnswerError(f"did not answer within {self.timeout:g} seconds") from None
        except httpx.ConnectError as error:
            self._refuse_connection(str(error))
        except httpx.DecodingError:
            raise _AnswerError("sent a file whose compression is damaged", is_of_source=False) from None
        except httpx.TransportError as error:
            raise _AnswerError(f"broke the connection off ({error or type(error).__name__})") from None

    def _read(self, response: httpx.Response, most: int) -> bytes:
        """Return what the server sends, as slowly as the bandwidth allows."""
        body = bytearray()
        started, waited, counted = time.monotonic(), 0.0, 0
        for part in response.iter_bytes():
            body += part
            wait = self.bandwidth.take(response.num_bytes_downloaded - counted)
            counted = response.num_bytes_downloaded
            waited += wait
            self._sleep(wait)
            if len(body) > most:
                raise _AnswerError(f"sent more than {most >> 10:,} KB", is_of_source=False)
            if time.monotonic() - started - waited > SLOWEST_FILE:
                raise _AnswerError(f"was not done after {SLOWEST_FILE:g} seconds")
        return bytes(body)

    def _checked(self, response: httpx.Response, body: bytes) -> bytes:
        """Return a body that is whole JSON as far as its ends tell; what lies between, the decoder checks."""
        start = body.lstrip()[:1]
        if start == b"<" or "html" in response.headers.get("content-type", ""):
            raise _AnswerError("sent a web page where a JSON file was expected")
        is_framed = "content-length" in response.headers or "chunked" in response.headers.get("transfer-encoding", "")
        if start == b"{" and body.rstrip()[-1:] == b"}" and (is_framed or _is_json(body)):
            return body
        what = "nothing" if not start else "a file that breaks off" if start == b"{" else "something other than JSON"
        raise _AnswerError(f"sent {what} ({len(body):,} bytes)", is_of_source=False)

    def _refuse(self, response: httpx.Response) -> NoReturn:
        """Raise what an error status means."""
        status = response.status_code
        if response.is_redirect:
            there = str(response.headers.get("location", "another place"))[:300]
            raise SourceError(
                f"{self.base} sends elsewhere ({status}), to {there}: use the address where the data is now"
            )
        words = f"answered {status} {response.reason_phrase}".rstrip()
        if status not in RETRIED:
            raise _AnswerError(words, is_passing=False)
        self._read(response, _LARGEST_ERROR_PAGE)
        pause = retry_after(response.headers.get("retry-after", ""))
        if pause is not None and pause > LONGEST_PAUSE:
            raise SourceError(f"{self.base} {words} and asks to wait {pause:,.0f} seconds: try again then")
        if pause is not None:
            self._not_before = max(self._not_before, time.monotonic() + pause)
        raise _AnswerError(words, pause)

    def _refuse_connection(self, reason: str) -> NoReturn:
        if "SSL" in reason or "CERTIFICATE" in reason.upper():
            raise SourceError(f"{self.base}: no secure connection ({reason})") from None
        raise _AnswerError(f"cannot be reached ({reason})") from None

    def _pause(self, state: RetryCallState) -> float:
        from tenacity.wait import wait_random_exponential

        error = state.outcome.exception() if state.outcome else None
        spread: float = wait_random_exponential(multiplier=0.5, max=self.longest_wait)(state)
        asked = error.pause if isinstance(error, _AnswerError) else None
        # A little later than asked for, so that not all threads come back at once.
        return spread if asked is None else asked + min(spread, 1.0)

    def _sleep(self, seconds: float) -> None:
        """Wait, unless the import stops meanwhile."""
        if self.stopping.is_set() or (seconds > 0 and self.stopping.wait(seconds)):
            raise _StoppedError


def _is_json(body: bytes) -> bool:
    """Return whether each line is whole JSON. Slow, so asked only where nothing else tells."""
    try:
        for line in body.splitlines():
            if line.strip():
                json.loads(line)
    except (ValueError, RecursionError):
        # One object over many lines?
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return False
    return True
