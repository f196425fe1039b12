"""Requests to an OpenAI-compatible server: bounded, timed, tried again where that helps; the key is shown nowhere.

An exception of httpx carries the request with its headers, so none is kept: what went wrong becomes a sentence first,
and the error is raised where no exception is being handled.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from explanations.pipeline.language_models.protocol import LanguageModelError
from explanations.pipeline.language_models.secret import Secret
from explanations.pipeline.retry_after import retry_after

logger = logging.getLogger(__name__)

ATTEMPTS = 6
LONGEST_PAUSE = 120.0
"""seconds that a server may ask to wait; where it asks for more, the answer is no"""
LARGEST_ANSWER = 64 * 2**20
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
ADVICE = {
    401: "It does not accept the key: see LLM_API_KEY.",
    402: "The account has no money left.",
    403: "The key may not do this: see LLM_API_KEY and LLM_MODEL.",
    404: "It has no such address or model: see LLM_BASE_URL and LLM_MODEL.",
    429: "It takes no more requests for now: lower LLM_CONCURRENCY or wait.",
}


class EndpointError(LanguageModelError):
    """The server answered with an error status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class PassingError(LanguageModelError):
    """Something that may be gone at the next try."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause
        """seconds that the server asks to wait"""


class KeyInHeader(httpx.Auth):
    """Sends the key; keeps it out of what a request shows of itself."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server sent back."""

    status: int
    # Not shown: a server may send the key back.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Transport:
    """One server. Any number of threads may ask; at most `concurrency` requests are under way."""

    base_url: str
    key: Secret
    concurrency: int = 8
    timeout: float = 60.0
    attempts: int = ATTEMPTS
    sleep: Callable[[float], None] = time.sleep
    _client: httpx.Client = field(init=False, repr=False)
    _places: threading.Semaphore = field(init=False, repr=False)
    _not_before: float = field(init=False, default=0.0, repr=False)

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        self._places = threading.Semaphore(self.concurrency)
        self._client = httpx.Client(
            auth=KeyInHeader(self.key),
            timeout=httpx.Timeout(self.timeout, pool=None),
            limits=httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            headers={"User-Agent": "neuronviewer", "Accept": "application/json"},
        )

    def close(self) -> None:
        self._client.close()

    def post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the server's answer as JSON. LanguageModelError says what went wrong, where, and what to do."""
        content = json.dumps(body).encode()
        tries = Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(self.attempts),
            wait=self._pause,
            sleep=self.sleep,
            reraise=True,
            before_sleep=self._log,
        )
        problem = ""
        try:
            return tries(self._post_once, route, content)
        except PassingError as error:
            problem = str(error)
        raise LanguageModelError(f"{problem} Tried {self.attempts} times.")

    def _post_once(self, route: str, content: bytes) -> dict[str, Any]:
        if (wait := self._not_before - time.monotonic()) > 0:
            self.sleep(wait)  # the server told another thread to wait
        with self._places:
            sent = self._send(f"{self.base_url}/{route}", content)
        if isinstance(sent, str):
            raise PassingError(f"{self._where(route)} {sent}")
        if sent.status != 200:
            self._refuse(route, sent)
        return self._decode(route, sent)

    def _send(self, url: str, content: bytes) -> Answer | str:
        """Return the answer, or in words why there is none."""
        deadline = time.monotonic() + self.timeout
        try:
            with self._client.stream(
                "POST", url, content=content, headers={"Content-Type": "application/json"}
            ) as response:
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > LARGEST_ANSWER:
                        return f"sent more than {LARGEST_ANSWER >> 20} MB."
                    if time.monotonic() > deadline:
                        return f"was not done after {self.timeout:g} seconds (LLM_TIMEOUT)."
                return Answer(response.status_code, dict(response.headers), bytes(body))
        except httpx.TimeoutException:
            return f"did not answer within {self.timeout:g} seconds (LLM_TIMEOUT)."
        except httpx.ConnectError as error:
            return f"cannot be reached ({self._clean(str(error))}): see LLM_BASE_URL."
        except httpx.DecodingError:
            return "sent an answer whose compression is damaged."
        except httpx.TransportError:
            return "cut the connection before its answer was complete."

    def _refuse(self, route: str, answer: Answer) -> None:
        """Raise what an error status means."""
        words = f"{self._where(route)} answered {answer.status}{self._reason(answer)}."
        if advice := ADVICE.get(answer.status):
            words += f" {advice}"
        if 300 <= answer.status < 400:
            words += (
                f" It is now at {self._clean(answer.headers.get('location', 'another place'))[:200]}: see LLM_BASE_URL."
            )
        if answer.status not in RETRIED or is_out_of_money(answer):
            raise EndpointError(words, answer.status)
        pause = retry_after(answer.headers.get("retry-after", ""))
        if pause is not None and pause > LONGEST_PAUSE:
            raise EndpointError(f"{words} It asks to wait {pause:,.0f} seconds.", answer.status)
        if pause is not None:
            self._not_before = max(self._not_before, time.monotonic() + pause)
        raise PassingError(words, pause)

    def _reason(self, answer: Answer) -> str:
        """Return what the server says about its refusal, without the key; nothing where the key is what it refuses."""
        if answer.status in {401, 403}:
            return ""
        text = self._clean(error_message(answer.body)).rstrip(".")
        return f" ({text})" if text else ""

    def _decode(self, route: str, answer: Answer) -> dict[str, Any]:
        found: object = None
        with suppress(ValueError, RecursionError):
            found = json.loads(answer.body)
        if isinstance(found, dict):
            return found
        kind = answer.headers.get("content-type", "no content type").split(";")[0]
        what = "a page" if "html" in kind else "nothing" if not answer.body else "something that is not a JSON object"
        raise LanguageModelError(
            f"{self._where(route)} sent {what} ({self._clean(kind)[:100]}) where an answer in JSON was expected. "
            "See whether LLM_BASE_URL is an OpenAI-compatible address; it usually ends in /v1."
        )

    def _where(self, route: str) -> str:
        return f"The language model's server at {self.base_url}/{route}"

    def _clean(self, text: str) -> str:
        """Return others' words in one line, without the key."""
        return " ".join(self.key.remove_from(text).split())[:300]

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        spread: float = wait_random_exponential(multiplier=0.5, max=30)(state)
        asked = error.pause if isinstance(error, PassingError) else None
        # A little later than asked for, so that not all threads come back at once.
        return spread if asked is None else asked + min(spread, 1.0)

    def _log(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        logger.warning("%s Trying again in %.1f seconds.", error, pause)


def error_message(body: bytes) -> str:
    """Return the message of an error in OpenAI's form or a like one; nothing where there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    found = found.get("error", found.get("detail", found.get("message", ""))) if isinstance(found, dict) else ""
    found = found.get("message", "") if isinstance(found, dict) else found
    return found if isinstance(found, str) else ""


def is_out_of_money(answer: Answer) -> bool:
    """Return whether a 429 means that the account is empty, which no waiting mends."""
    return answer.status == 429 and b"insufficient_quota" in answer.body
