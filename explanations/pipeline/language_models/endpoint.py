"""A language model at any OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp.

What the server has is found out by asking once, and remembered: whether it takes conversations, raw texts or both, and
whether it echoes prompts with their log-probabilities.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from explanations.pipeline.language_models.answers import TokenCounts, prompt_tokens, samples, token_counts
from explanations.pipeline.language_models.estimating import estimate_tokens
from explanations.pipeline.language_models.protocol import (
    Completion,
    LanguageModelError,
    Message,
    Prompt,
    Sample,
    ScoredPrompt,
    Usage,
)
from explanations.pipeline.language_models.stops import cut_at_stop
from explanations.pipeline.language_models.transport import EndpointError, Transport

Result = TypeVar("Result")
CHAT, RAW = "chat/completions", "completions"
ABSENT = frozenset({404, 405, 501})
"""statuses by which servers say that they, or their model, do not have a route"""
REFUSED = frozenset({400, 404, 405, 422, 501})
"""statuses by which servers say that they do not echo log-probabilities"""
MOST_STOPS = 4
"""stop strings that OpenAI's servers take; the others are seen to here"""
MOST_ROUNDS = 3
"""times that further samples are asked for, where a server gives fewer than asked"""


@dataclass(frozen=True, slots=True)
class Price:
    """What a server takes for a million tokens, in US dollars."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0

    def of(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


FREE = Price()


class EndpointModel:
    """One model of one server. It may be used from any number of threads."""

    counts_exactly = False

    def __init__(
        self, transport: Transport, model: str, *, price: Price = FREE, context_window: int | None = None
    ) -> None:
        self.name = model
        self.price = price
        self.context_window = context_window
        self._transport = transport
        self._lacking: set[str] = set()
        """routes that the server was found not to have"""
        self._limit = "max_tokens"
        """what it calls the number of tokens to write"""
        self._echoes: bool | None = None
        self._asking = threading.Lock()

    def __repr__(self) -> str:
        return f"EndpointModel({self.name!r} at {self._transport.base_url})"

    def close(self) -> None:
        self._transport.close()

    @property
    def can_chat(self) -> bool:
        """Return whether conversations suit it: so of every server, until it was found not to take them."""
        return CHAT not in self._lacking

    @property
    def has_prompt_log_probabilities(self) -> bool:
        """Return whether it echoes prompts with log-probabilities, asking it the first time. LanguageModelError."""
        with self._asking:
            if self._echoes is None:
                self._echoes = self._ask_whether_it_echoes()
            return self._echoes

    def count_tokens(self, prompt: Prompt) -> int:
        return estimate_tokens(prompt)

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return self.price.of(tokens_in, tokens_out)

    def complete(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Completion:
        check_not_empty(prompt)
        found: list[Sample] = []
        usage = Usage()
        for _ in range(MOST_ROUNDS if n > 1 else 1):
            left = n - len(found)
            body: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
            body |= {"n": left} if left > 1 else {}
            # Some servers give one sample whatever n is: they are asked again, for others.
            body |= {"seed": seed + len(found)} if seed is not None else {}
            body |= {"stop": list(stop[:MOST_STOPS])} if stop else {}
            answer = self._ask(prompt, body)
            new = [Sample(cut_at_stop(s.text, stop), s.is_cut_off) for s in samples(answer)[:left]]
            usage += self._usage(answer, prompt, "".join(sample.text for sample in new))
            found += new
            if len(found) == n:
                break
        first, *others = found
        return Completion(first.text, usage, first.is_cut_off, tuple(others))

    def complete_batch(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        until: Sequence[Callable[[str], bool]] = (),  # noqa: ARG002 - answers come whole
        **options: Any,
    ) -> list[Completion | LanguageModelError]:
        return self._all(partial(self.complete, max_tokens=max_tokens, **options), prompts)

    def prompt_log_probabilities(self, prompt: str, *, top: int, places: Sequence[int] | None = None) -> ScoredPrompt:
        check_not_empty(prompt)
        if wrong := [place for place in places or () if not 0 <= place < len(prompt)]:
            raise LanguageModelError(f"Character {wrong[0]} is not in the prompt of {len(prompt)} characters.")
        if not self.has_prompt_log_probabilities:
            raise LanguageModelError(
                f"The server of {self.name} tells no log-probabilities of prompts. "
                "Take a local model, or a way to simulate that needs none."
            )
        answer = self._transport.post(RAW, self._echo(prompt, top))
        return ScoredPrompt(prompt_tokens(answer, prompt), self._usage(answer, prompt, ""))

    def prompt_log_probabilities_batch(
        self, prompts: Sequence[str], *, top: int, places: Sequence[Sequence[int]] | None = None
    ) -> list[ScoredPrompt | LanguageModelError]:
        chosen: Sequence[Sequence[int] | None] = [None] * len(prompts) if places is None else places

        def score(pair: tuple[str, Sequence[int] | None]) -> ScoredPrompt:
            return self.prompt_log_probabilities(pair[0], top=top, places=pair[1])

        return self._all(score, zip(prompts, chosen, strict=True))

    def _all(self, do: Callable[[Any], Result], items: Iterable[Any]) -> list[Result | LanguageModelError]:
        """Return what `do` makes of each item, as many at a time as the server may be asked."""

        def attempt(item: Any) -> Result | LanguageModelError:
            try:
                return do(item)
            except LanguageModelError as error:
                return error.with_traceback(None)

        with ThreadPoolExecutor(self._transport.concurrency) as pool:
            return list(pool.map(attempt, items))

    def _ask(self, prompt: Prompt, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer by the route that suits the prompt, or by the other where the server lacks that one."""
        routes = [RAW, CHAT] if isinstance(prompt, str) else [CHAT, RAW]
        usable = [route for route in routes if route not in self._lacking] or routes
        try:
            return self._post(usable[0], prompt, body)
        except EndpointError as error:
            if error.status not in ABSENT or len(usable) == 1:
                raise
            refused = error.with_traceback(None)
        try:
            answer = self._post(usable[1], prompt, body)
        except EndpointError as error:
            problem = refused if error.status in ABSENT else error.with_traceback(None)
        else:
            self._lacking.add(usable[0])
            return answer
        raise problem

    def _post(self, route: str, prompt: Prompt, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"model": self.name, **body, **(as_messages(prompt) if route == CHAT else as_text(prompt))}
        try:
            return self._transport.post(route, self._renamed(asked))
        except EndpointError as error:
            # OpenAI's newer models know the limit by another name, and say so.
            if error.status != 400 or "max_completion_tokens" not in str(error) or self._limit != "max_tokens":
                raise
        self._limit = "max_completion_tokens"
        return self._transport.post(route, self._renamed(asked))

    def _renamed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {self._limit if name == "max_tokens" else name: value for name, value in body.items()}

    def _echo(self, prompt: str, top: int) -> dict[str, Any]:
        # One token is written and thrown away: some servers refuse to write none.
        return {"model": self.name, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": top}

    def _ask_whether_it_echoes(self) -> bool:
        asked = "one\ttwo\n"
        try:
            answer = self._transport.post(RAW, self._echo(asked, 1))
        except EndpointError as error:
            if error.status not in REFUSED:
                raise
            return False
        try:
            found = prompt_tokens(answer, asked)
        except LanguageModelError:
            return False
        return any(token.alternatives for token in found)

    def _usage(self, answer: Mapping[str, Any], prompt: Prompt, written: str) -> Usage:
        told = token_counts(answer)
        counts = told or TokenCounts(estimate_tokens(prompt), estimate_tokens(written))
        cost = self.price.of(counts.tokens_in, counts.tokens_out)
        return Usage(counts.tokens_in, counts.tokens_out, cost, is_estimate=told is None)


def as_messages(prompt: Prompt) -> dict[str, Any]:
    messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
    return {"messages": [{"role": message.role, "content": message.content} for message in messages]}


def as_text(prompt: Prompt) -> dict[str, Any]:
    return {"prompt": prompt if isinstance(prompt, str) else "\n\n".join(message.content for message in prompt)}


def check_not_empty(prompt: Prompt) -> None:
    if not prompt:
        raise LanguageModelError("The prompt is empty, so there is nothing to go on with.")
