"""Scripted answers: a list of rules, of which the first that fits a request answers it. docs/language-models.md."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from explanations.model_server.replies import (
    Fault,
    ModelRequest,
    Reply,
    completion_body,
    error_reply,
    json_reply,
)
from explanations.pipeline.language_models import PromptToken, Sample
from explanations.pipeline.language_models.estimating import estimate_tokens
from explanations.pipeline.language_models.stops import cut_at_stop

PIECE = re.compile(r"\w+|[^\w\s]|\s")
"""what counts as a token of a scripted model"""


class ScriptError(Exception):
    """The script cannot be used; the message says why."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to answer, and when."""

    route: Literal["", "chat/completions", "completions"] = ""
    """only requests by this route"""
    contains: str = ""
    """only prompts that contain this"""
    times: int | None = None
    """only so many requests; then the rules after it answer"""
    answer: str | list[str] = ""
    """what the model writes; of several, one after the other, again from the first after the last"""
    is_cut_off: bool = False
    """the answer ends because the tokens were used up"""
    log_probabilities: dict[str, dict[str, float]] | None = None
    """what the model expects at these tokens of an echoed prompt (words, single blanks, single signs); without it,
    echoes are refused as by a server that has none"""
    counts_tokens: bool = True
    """the answer says how many tokens it took"""
    status: int = 200
    message: str = ""
    """what an error says"""
    retry_after: int | float | str | None = None
    body: str | None = None
    """sent as it is, in the place of an answer"""
    content_type: str = "application/json"
    fault: Fault = ""
    delay: float = 0.0
    """seconds before the reply"""


class ScriptFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[Rule]
    model: str = "scripted"


class Script:
    """Answers requests by rules."""

    def __init__(self, rules: Sequence[Rule], name: str = "scripted") -> None:
        self.name = name
        self.rules = list(rules)
        self._used: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: ModelRequest) -> Reply:
        found = self._choose(request)
        if found is None:
            return error_reply(400, "no rule of the script fits this request")
        rule, use = found
        headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
        options: dict[str, Any] = {"headers": headers, "fault": rule.fault, "delay": rule.delay}
        if rule.body is not None:
            return Reply(rule.body.encode(), rule.status, headers, rule.content_type, rule.fault, rule.delay)
        if rule.status != 200:
            return error_reply(rule.status, rule.message or f"scripted {rule.status}", **options)
        if request.is_echo and rule.log_probabilities is None:
            return error_reply(400, "echoed log-probabilities are not available", **options)
        return json_reply(self._answer(rule, use, request), **options)

    def _choose(self, request: ModelRequest) -> tuple[Rule, int] | None:
        """Return the first rule that fits, and how often it was used before."""
        with self._lock:
            for place, rule in enumerate(self.rules):
                fits = rule.route in ("", request.route) and rule.contains in request.text
                if fits and (rule.times is None or self._used[place] < rule.times):
                    self._used[place] += 1
                    return rule, self._used[place] - 1
        return None

    def _answer(self, rule: Rule, use: int, request: ModelRequest) -> dict[str, object]:
        n = int(request.number("n", 1, 1, 128))
        answers = [rule.answer] if isinstance(rule.answer, str) else rule.answer
        texts = [cut_at_stop(answers[(use * n + k) % len(answers)], request.stop) for k in range(n)]
        samples = [Sample(text, rule.is_cut_off) for text in texts]
        usage = {
            "prompt_tokens": estimate_tokens(request.prompt),
            "completion_tokens": sum(map(estimate_tokens, texts)),
        }
        echoed = echo(request.text, rule.log_probabilities or {}) if request.is_echo else []
        return completion_body(request, self.name, samples, usage if rule.counts_tokens else None, echoed)


def echo(prompt: str, expected: dict[str, dict[str, float]]) -> list[PromptToken]:
    """Return the prompt's tokens; those not spoken of were expected as they are, half of the time."""
    found = []
    for match in PIECE.finditer(prompt):
        text, half = match[0], -0.6931471805599453
        alternatives = expected.get(text, {text: half}) if match.start() else {}
        own = alternatives.get(text, -20.0) if match.start() else None
        found.append(PromptToken(text, alternatives, match.start(), own))
    return found


def read_script(path: Path) -> Script:
    """Return the script in a JSON file. ScriptError where it cannot be used."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=ScriptFile)
    except OSError as error:
        raise ScriptError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ScriptError(f"{path} is no script: {error}") from None
    if any(rule.answer == [] for rule in found.rules):
        raise ScriptError(f"{path} is no script: an empty list of answers")
    return Script(found.rules, found.model)
