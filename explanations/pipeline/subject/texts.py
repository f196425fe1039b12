"""Texts as a subject model reads them: token ids, the strings that pages show, and the token in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from explanations.pipeline.language_models.token_strings import TokenStrings
from explanations.pipeline.subject.points import SubjectModelError

BETWEEN_TEXTS = "<|endoftext|>"
"""what models without a token of their own for it have seen where texts begin"""
NO_SINK = "none"


@dataclass(frozen=True, slots=True)
class Tokenised:
    """A text, without the token in front."""

    ids: tuple[int, ...]
    """[pos]"""
    tokens: tuple[str, ...]
    """[pos], as pages show them: U+FFFD stands for bytes that are no whole character"""


class Texts:
    """A subject model's tokenizer.

    Models pile attention on the first token whatever it is (an attention sink), and its activations are unlike all
    others. So a token that begins texts is fed in front, and its activations are not recorded.
    """

    def __init__(self, tokenizer: Any, sink: str = "") -> None:
        """`sink` is the token in front; empty chooses it, `none` is none. SubjectModelError where there is no such."""
        self._tokenizer = tokenizer
        self._strings = TokenStrings(tokenizer)
        self.sink = self._choose_sink(sink)

    def _choose_sink(self, sink: str) -> int | None:
        vocabulary = self._tokenizer.get_vocab()
        if sink == NO_SINK:
            return None
        if sink:
            if sink not in vocabulary:
                raise SubjectModelError(f"--sink: the model's vocabulary has no token “{sink}”.")
            return int(vocabulary[sink])
        if self._tokenizer.bos_token_id is not None:
            return int(self._tokenizer.bos_token_id)
        between = vocabulary.get(BETWEEN_TEXTS, self._tokenizer.eos_token_id)
        return None if between is None else int(between)

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return len(self._tokenizer)

    @property
    def sink_name(self) -> str:
        """The token in front; empty where there is none."""
        return "" if self.sink is None else str(self._tokenizer.convert_ids_to_tokens(self.sink))

    def encode(self, text: str) -> list[int]:
        """Return a text's token ids, without any that the tokenizer would add in front or behind."""
        # A text longer than the model's context is cut up later: no warning.
        return list(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def strings(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return what these tokens say, one by one."""
        return tuple(map(self._strings.text_of, ids))

    def tokenise(self, text: str) -> Tokenised:
        ids = self.encode(text)
        return Tokenised(tuple(ids), self.strings(ids))
