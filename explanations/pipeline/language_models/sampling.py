"""From a local model's logits to what it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from explanations.pipeline.language_models.protocol import LanguageModelError, Sample
from explanations.pipeline.language_models.stops import cut_at_stop
from explanations.pipeline.language_models.token_strings import TokenStrings

if TYPE_CHECKING:
    from torch import Tensor


def chooser(temperature: float, seed: int, sample: int) -> Callable[[Tensor], int]:
    """Return what chooses a token by its logits [vocabulary], with random numbers of its own for each sample."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + sample) % 2**63)

    def choose(logits: Tensor) -> int:
        check_numbers(logits)
        if temperature == 0:
            return int(logits.argmax())
        probabilities = torch.softmax(logits.cpu() / temperature, dim=-1)  # [vocabulary]
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return choose


def check_numbers(logits: Tensor) -> None:
    if bool(torch.isnan(logits).any()):
        raise LanguageModelError(
            "The model computed something that is not a number. Load it in float32, or see whether its files are whole."
        )


class Continuation:
    """What a model writes after one prompt, token by token."""

    def __init__(
        self,
        strings: TokenStrings,
        ends: frozenset[int],
        max_tokens: int,
        stop: Sequence[str],
        choose: Callable[[Tensor], int],
        until: Callable[[str], bool] | None = None,
    ) -> None:
        self.tokens = 0
        """tokens written, the one that ends the text included"""
        self.is_cut_off = False
        self._ids: list[int] = []
        self._strings, self._ends, self._max_tokens, self._stop = strings, ends, max_tokens, stop
        self._choose, self._until = choose, until

    def add(self, logits: Tensor) -> int | None:
        """Write one more token and return it; None when nothing comes after it."""
        token = self._choose(logits)
        self.tokens += 1
        if token in self._ends:
            return None
        self._ids.append(token)
        if self._stop and cut_at_stop(self._text(), self._stop) != self._text():
            return None
        if self._until and self._until(self._text()):
            return None
        self.is_cut_off = self.tokens == self._max_tokens
        return None if self.is_cut_off else token

    def _text(self) -> str:
        return self._strings.join(self._ids)

    def sample(self) -> Sample:
        return Sample(cut_at_stop(self._text(), self._stop), self.is_cut_off)
