"""A causal language model on this machine. Load it by `loading.load_local`: this module imports torch."""

from __future__ import annotations

import secrets
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from explanations.pipeline.language_models.computing import Transformer
from explanations.pipeline.language_models.protocol import (
    Completion,
    LanguageModelError,
    Prompt,
    PromptToken,
    ScoredPrompt,
    Usage,
)
from explanations.pipeline.language_models.reading import Reader
from explanations.pipeline.language_models.sampling import Continuation, check_numbers, chooser
from explanations.pipeline.language_models.token_strings import cut

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt that is to be scored."""

    text: str
    ids: list[int]
    starts: list[int]
    """where each token begins in the text, and where the text ends; -1 for what the tokenizer puts in front"""
    scored: list[int]
    """the tokens whose probabilities are asked for"""

    @property
    def wanted(self) -> list[int]:
        """Return the positions whose logits tell these; nothing tells the first token's."""
        return [token - 1 for token in self.scored if token]


class LocalModel:
    """A model and its tokenizer. It may be used from several threads, one of which computes at a time."""

    counts_exactly = True
    has_prompt_log_probabilities = True

    def __init__(
        self, transformer: Transformer, tokenizer: Any, *, name: str, context_window: int | None, ends: frozenset[int]
    ) -> None:
        self.name = name
        self.context_window = context_window
        self.transformer = transformer
        self.reader = Reader(tokenizer)
        self._ends = ends
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r})"

    @property
    def can_chat(self) -> bool:
        return self.reader.can_chat

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self.reader.read(prompt))

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:  # noqa: ARG002
        return 0.0

    def complete(self, prompt: Prompt, *, max_tokens: int, **options: Any) -> Completion:
        return only(self.complete_batch([prompt], max_tokens=max_tokens, **options))

    def complete_batch(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        temperature: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        stop: Sequence[str] = (),
        until: Sequence[Callable[[str], bool]] = (),
    ) -> list[Completion | LanguageModelError]:
        seed = secrets.randbits(48) if seed is None else seed
        rows = [attempt(lambda p=prompt: self._read(p, max_tokens)) for prompt in prompts]
        going = [(i, row, k) for i, row in enumerate(rows) if not isinstance(row, LanguageModelError) for k in range(n)]
        writing = [
            Continuation(
                self.reader.strings,
                self._ends,
                max_tokens,
                stop,
                chooser(temperature, seed, k),
                until[i] if until else None,
            )
            for i, _, k in going
        ]
        with self._computing():
            for batch in self.transformer.batches([row for _, row, _ in going]):
                parts = [writing[place] for place in batch]
                self.transformer.generate([going[place][1] for place in batch], [part.add for part in parts])
        return [
            row
            if isinstance(row, LanguageModelError)
            else completion(len(row), [part for (j, _, _), part in zip(going, writing, strict=True) if j == i])
            for i, row in enumerate(rows)
        ]

    def prompt_log_probabilities(self, prompt: str, *, top: int, places: Sequence[int] | None = None) -> ScoredPrompt:
        chosen = None if places is None else [places]
        return only(self.prompt_log_probabilities_batch([prompt], top=top, places=chosen))

    def prompt_log_probabilities_batch(
        self, prompts: Sequence[str], *, top: int, places: Sequence[Sequence[int]] | None = None
    ) -> list[ScoredPrompt | LanguageModelError]:
        chosen = [None] * len(prompts) if places is None else places
        read = [
            attempt(lambda p=prompt, c=some: self._read_to_score(p, c))
            for prompt, some in zip(prompts, chosen, strict=True)
        ]
        found: list[ScoredPrompt | LanguageModelError] = [
            r if isinstance(r, LanguageModelError) else unscored(r) for r in read
        ]
        going = [(i, r) for i, r in enumerate(read) if isinstance(r, ReadPrompt) and r.wanted]
        with self._computing():
            firsts = [r.wanted[0] for _, r in going]
            for batch in self.transformer.batches([r.ids for _, r in going], firsts):
                for place, scored in zip(batch, self._score([going[p][1] for p in batch], top), strict=True):
                    found[going[place][0]] = scored
        return found

    def _score(self, prompts: Sequence[ReadPrompt], top: int) -> list[ScoredPrompt]:
        tokens = [list(unscored(prompt).tokens) for prompt in prompts]
        wanted = [prompt.wanted for prompt in prompts]
        for row, positions, logits in self.transformer.logits([prompt.ids for prompt in prompts], wanted):
            check_numbers(logits)
            log_probabilities = torch.log_softmax(logits, dim=-1)  # [position, vocabulary]
            prompt, front = prompts[row], prompts[row].starts.count(-1)
            own = [prompt.ids[position + 1] for position in positions]
            each = log_probabilities[range(len(own)), own].tolist()
            likeliest = self._likeliest(log_probabilities, top)
            for position, value, alternatives in zip(positions, each, likeliest, strict=True):
                place = position + 1 - front
                tokens[row][place] = PromptToken(
                    tokens[row][place].text, alternatives, tokens[row][place].start, log_probability=value
                )
        return [ScoredPrompt(t, Usage(tokens_in=len(p.ids))) for t, p in zip(tokens, prompts, strict=True)]

    def _likeliest(self, log_probabilities: Tensor, top: int) -> list[dict[str, float]]:
        values, ids = log_probabilities.topk(min(top, log_probabilities.shape[-1]), dim=-1)  # [position, top]
        return [self._by_text(row, of) for row, of in zip(ids.tolist(), values.tolist(), strict=True)]

    def _by_text(self, ids: list[int], values: list[float]) -> dict[str, float]:
        """Return the values by the tokens' texts; tokens of one text count together."""
        found: dict[str, float] = {}
        for token, value in zip(ids, values, strict=True):
            if text := self.reader.strings.text_of(token):
                found[text] = float(np.logaddexp(found[text], value)) if text in found else value
        return found

    def _read(self, prompt: Prompt, max_tokens: int) -> list[int]:
        ids = self.reader.read(prompt)
        self._check_length(len(ids), max_tokens)
        return ids

    def _read_to_score(self, prompt: str, places: Sequence[int] | None) -> ReadPrompt:
        ids, starts = self.reader.read_text(prompt)
        self._check_length(len(ids), 0)
        if places is None:
            front = starts.count(-1)
            return ReadPrompt(prompt, ids, starts, list(range(front, len(ids))))
        if wrong := [place for place in places if not 0 <= place < len(prompt)]:
            raise LanguageModelError(f"Character {wrong[0]} is not in the prompt of {len(prompt)} characters.")
        return ReadPrompt(prompt, ids, starts, sorted({bisect_right(starts, place) - 1 for place in places}))

    def _check_length(self, length: int, max_tokens: int) -> None:
        if self.context_window is None or length + max_tokens <= self.context_window:
            return
        answer = f" and its answer up to {max_tokens:,}" if max_tokens else ""
        raise LanguageModelError(
            f"The prompt takes {length:,} tokens{answer}, but {self.name} reads {self.context_window:,} in all. "
            "Use fewer or shorter excerpts, or a model with a larger window."
        )

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Let one thread compute at a time; say it in words where the memory does not suffice."""
        problem = ""
        try:
            with self._lock:
                yield
        except (torch.OutOfMemoryError, MemoryError):
            problem = "memory"
        except RuntimeError as error:
            if "not enough memory" not in str(error):
                raise
            problem = "memory"
        if problem:
            raise LanguageModelError(
                f"There is not enough memory to run {self.name} on this prompt. Use shorter prompts or a smaller model."
            )


def attempt(do: Any) -> Any:
    """Return what it returns, or the LanguageModelError that it raises."""
    try:
        return do()
    except LanguageModelError as error:
        return error


def only(results: list[Result | LanguageModelError]) -> Result:
    (result,) = results
    if isinstance(result, LanguageModelError):
        raise result
    return result


def completion(tokens_in: int, written: Sequence[Continuation]) -> Completion:
    first, *others = [part.sample() for part in written]
    usage = Usage(tokens_in, sum(part.tokens for part in written))
    return Completion(first.text, usage, first.is_cut_off, tuple(others))


def unscored(prompt: ReadPrompt) -> ScoredPrompt:
    """Return the prompt's own tokens, without any probability."""
    starts = [start for start in prompt.starts if start >= 0]
    tokens = [PromptToken(text, {}, start) for text, start in zip(cut(prompt.text, starts), starts, strict=False)]
    return ScoredPrompt(tokens, Usage(tokens_in=len(prompt.ids)))
