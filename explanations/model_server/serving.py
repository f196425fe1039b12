"""Answers from a language model of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from explanations.model_server.replies import (
    CHAT,
    BadRequestError,
    ModelRequest,
    Reply,
    completion_body,
    error_reply,
    json_reply,
)
from explanations.pipeline.language_models import LanguageModel, LanguageModelError, Sample


@dataclass(frozen=True, slots=True)
class LocalResponder:
    """Answers requests with what a model writes."""

    model: LanguageModel

    @property
    def name(self) -> str:
        return self.model.name

    def __call__(self, request: ModelRequest) -> Reply:
        try:
            return self._answer(request)
        except LanguageModelError as error:
            return error_reply(400, str(error))

    def _answer(self, request: ModelRequest) -> Reply:
        if request.is_echo and request.route == CHAT:
            raise BadRequestError("conversations are not echoed; use completions")
        if request.is_echo and request.max_tokens <= 1:
            return self._echo(request, [Sample("")])
        seed = request.body.get("seed")
        written = self.model.complete(
            request.prompt,
            max_tokens=max(1, request.max_tokens),
            temperature=request.number("temperature", 1.0, 0.0, 10.0),
            n=int(request.number("n", 1, 1, 128)),
            seed=seed if type(seed) is int else None,
            stop=request.stop,
        )
        if request.is_echo:
            return self._echo(request, list(written.samples))
        usage = {"prompt_tokens": written.usage.tokens_in, "completion_tokens": written.usage.tokens_out}
        return json_reply(completion_body(request, self.name, written.samples, usage))

    def _echo(self, request: ModelRequest, samples: list[Sample]) -> Reply:
        scored = self.model.prompt_log_probabilities(request.text, top=request.top or 0)
        usage = {"prompt_tokens": scored.usage.tokens_in, "completion_tokens": 0}
        return json_reply(completion_body(request, self.name, samples, usage, scored.tokens))
