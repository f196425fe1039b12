"""Requests that the server gets and replies that it sends, in the forms of OpenAI's protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from explanations.pipeline.language_models import Message, PromptToken, Sample

Fault: TypeAlias = Literal["", "hang", "drip", "cut_off", "drop"]
"""What happens on the way: no answer at all, an answer byte by byte, half an answer, a closed connection"""
CHAT, RAW = "chat/completions", "completions"
Roles: TypeAlias = Literal["system", "user", "assistant"]
ROLES: Mapping[str, Roles] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class BadRequestError(Exception):
    """The request is not in the protocol's form; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to write or to score."""

    route: str
    """`chat/completions` or `completions`"""
    body: Mapping[str, Any]
    prompt: str | Sequence[Message]

    @property
    def text(self) -> str:
        """Return everything that the prompt says."""
        return self.prompt if isinstance(self.prompt, str) else "\n\n".join(m.content for m in self.prompt)

    @property
    def is_echo(self) -> bool:
        return bool(self.body.get("echo")) and self.top is not None

    @property
    def top(self) -> int | None:
        """Return how many log-probabilities a token it asks for."""
        top = self.body.get("logprobs")
        return top if type(top) is int else None

    def number(self, name: str, default: float, least: float, most: float) -> float:
        value = self.body.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise BadRequestError(f"{name} must be a number from {least:g} to {most:g}")
        return value

    @property
    def max_tokens(self) -> int:
        newer = "max_completion_tokens" if "max_completion_tokens" in self.body else "max_tokens"
        return int(self.number(newer, 16, 0, 10**6))

    @property
    def stop(self) -> list[str]:
        stop = self.body.get("stop") or []
        stop = [stop] if isinstance(stop, str) else stop
        if not isinstance(stop, list) or not all(isinstance(mark, str) and mark for mark in stop):
            raise BadRequestError("stop must be a text or a list of texts")
        return stop


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, and what goes wrong with it."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    fault: Fault = ""
    delay: float = 0.0
    """seconds before it is sent"""


def parse_request(route: str, content: bytes) -> ModelRequest:
    """Return the request. BadRequestError where it is none of the protocol's."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise BadRequestError("the request's body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("the request's body is not a JSON object")
    if body.get("stream"):
        raise BadRequestError("this server does not stream; leave stream out")
    if route == CHAT:
        return ModelRequest(route, body, parse_messages(body.get("messages")))
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequestError("prompt must be one text")
    return ModelRequest(route, body, prompt)


def parse_messages(told: object) -> list[Message]:
    if not isinstance(told, list) or not told:
        raise BadRequestError("messages must be a list that is not empty")
    return [parse_message(message) for message in told]


def parse_message(told: object) -> Message:
    role = told.get("role") if isinstance(told, dict) else None
    content = told.get("content") if isinstance(told, dict) else None
    if isinstance(content, list):  # parts, of which only texts can be read here
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    if not isinstance(role, str) or role not in ROLES or not isinstance(content, str):
        raise BadRequestError("every message needs a role (system, user, assistant) and a content that is a text")
    return Message(ROLES[role], content)


def json_reply(body: Any, **options: Any) -> Reply:
    return Reply(json.dumps(body).encode(), **options)


def error_reply(status: int, message: str, kind: str = "invalid_request_error", **options: Any) -> Reply:
    return json_reply({"error": {"message": message, "type": kind, "code": None}}, status=status, **options)


def completion_body(
    request: ModelRequest,
    model: str,
    samples: Sequence[Sample],
    usage: Mapping[str, int] | None,
    echoed: Sequence[PromptToken] = (),
) -> dict[str, Any]:
    """Return an answer in the route's form; with `echoed`, the prompt and its log-probabilities in front."""
    chat = request.route == CHAT
    choices = []
    for index, sample in enumerate(samples):
        text = (request.text if echoed else "") + sample.text
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        told = logprobs(echoed, sample.text) if echoed else None
        reason = "length" if sample.is_cut_off else "stop"
        choices.append({"index": index, **said, "logprobs": told, "finish_reason": reason})
    body: dict[str, Any] = {"id": "answer", "object": "chat.completion" if chat else "text_completion"}
    body |= {"created": int(time.time()), "model": model, "choices": choices}
    return body | ({"usage": {**usage, "total_tokens": sum(usage.values())}} if usage is not None else {})


def logprobs(echoed: Sequence[PromptToken], written: str) -> dict[str, Any]:
    """Return the prompt's log-probabilities as the protocol has them; what was written stands as one token of none."""
    tokens = [token.text for token in echoed]
    after = [written] if written else []
    return {
        "tokens": tokens + after,
        "token_logprobs": [token.log_probability for token in echoed] + [None for _ in after],
        "top_logprobs": [dict(token.alternatives) or None for token in echoed] + [None for _ in after],
        "text_offset": [token.start for token in echoed] + [sum(map(len, tokens)) for _ in after],
    }
