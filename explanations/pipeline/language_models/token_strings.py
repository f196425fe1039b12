"""Which characters a tokenizer's tokens stand for, byte by byte.

Offsets that tokenizers report leave out blanks and give one character to several tokens, which shifts positions. Here a
prompt is cut by the bytes of its tokens: every character belongs to the token that its first byte lies in.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from explanations.pipeline.language_models.protocol import LanguageModelError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenStrings:
    """The bytes of a tokenizer's vocabulary."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = {token_id: str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}

    @cached_property
    def _decoder(self) -> str:
        """Return `bytes`, `sentencepiece`, or nothing for a kind of vocabulary not known here."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        decoder = json.dumps(json.loads(backend.to_str())["decoder"]) if backend is not None else ""
        if '"ByteLevel"' in decoder:
            return "bytes"
        return "sentencepiece" if "\u2581" in decoder or "\\u2581" in decoder else ""

    @cached_property
    def _bytes(self) -> list[bytes]:
        names = self._tokenizer.convert_ids_to_tokens(list(range(len(self._tokenizer))))
        return [self._read(token_id, name) for token_id, name in enumerate(names)]

    def _read(self, token_id: int, name: str | None) -> bytes:
        if name is None:
            return b""
        # Before added tokens: some vocabularies have their bytes among them.
        if self._decoder == "sentencepiece" and (byte := BYTE_TOKEN.fullmatch(name)):
            return bytes.fromhex(byte[1])
        if token_id in self._added:
            return self._added[token_id].encode()
        if self._decoder == "bytes":
            return b"".join(BYTE_OF.get(character, b"") or character.encode() for character in name)
        if self._decoder == "sentencepiece":
            return name.replace("\u2581", " ").encode()
        text: str = self._tokenizer.decode([token_id])
        return text.encode()

    def bytes_of(self, token_id: int) -> bytes:
        # Models may have more outputs than their tokenizer has tokens.
        return self._bytes[token_id] if token_id < len(self._bytes) else b""

    def text_of(self, token_id: int) -> str:
        """Return the token's text; bytes that are no whole character are shown as U+FFFD."""
        return self.bytes_of(token_id).decode("utf-8", "replace")

    def join(self, token_ids: Sequence[int]) -> str:
        """Return what these tokens say, without characters that are cut off at the end."""
        return b"".join(map(self.bytes_of, token_ids)).decode("utf-8", "ignore")

    def starts(self, prompt: str, token_ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[int]:
        """Return where each token begins in the prompt, in characters, and the prompt's length at the end.

        `offsets` are the tokenizer's own, for vocabularies of an unknown kind. LanguageModelError where the tokens are
        not the prompt's.
        """
        pieces = [self.bytes_of(token_id) for token_id in token_ids]
        whole, said = prompt.encode(), b"".join(pieces)
        if said == b" " + whole:
            pieces[0] = pieces[0][1:]  # the blank that sentencepiece puts in front of every text
        elif said != whole:
            return self._starts_by_offsets(prompt, offsets)
        first_bytes = list(accumulate((len(character.encode()) for character in prompt), initial=0))
        ends = accumulate(map(len, pieces), initial=0)
        return [bisect_left(first_bytes, byte) for byte in ends]

    def _starts_by_offsets(self, prompt: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
        ends = list(accumulate((end for _, end in offsets), max, initial=0))
        gaps = [prompt[end:start] for end, (start, _) in zip(ends, offsets, strict=False) if start > end]
        if ends[-1] > len(prompt) or any(gap.strip() for gap in [*gaps, prompt[ends[-1] :]]):
            raise LanguageModelError(
                "The model's tokenizer changes the prompt, so its tokens cannot be told apart in it. "
                "Take another model, or a way to simulate that needs no log-probabilities."
            )
        return [*ends[:-1], len(prompt)]


def cut(prompt: str, starts: Sequence[int]) -> list[str]:
    """Return the texts between these places."""
    return [prompt[start:end] for start, end in pairwise(starts)]


def _byte_alphabet() -> dict[str, bytes]:
    """Return which byte each character of a byte-level vocabulary stands for (GPT-2's alphabet)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): bytes([byte]) for byte in printable}
    return alphabet | {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}


BYTE_OF = _byte_alphabet()
