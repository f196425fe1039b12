"""Excerpts by the JSON text of their tokens.

The same excerpts recur in hundreds of neurons, and their strings are most of the work of decoding. So tokens stay JSON
text until `Excerpts` is asked for them, once for each different text.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from explanations.pipeline.json_reading import BrokenFileError, text_list
from explanations.pipeline.packing import MAX_TOKENS, excerpt_key, pack_tokens, unpack_texts

_texts_decoder = msgspec.json.Decoder(list[str])


class Excerpt(Struct, frozen=True):
    """An excerpt as the database keeps it."""

    key: int
    """packing.excerpt_key"""
    length: int
    """in tokens"""
    packed: bytes
    """packing.pack_tokens"""

    @property
    def tokens(self) -> tuple[str, ...]:
        """[pos]; unpacked at every call"""
        return unpack_texts(self.packed)


class Excerpts(dict[bytes, Excerpt]):
    """Excerpts by the JSON text of their tokens, without its brackets.

    Asked for a text that it does not know, it decodes and keeps it.
    """

    LIMIT = 100_000
    """Texts to keep, so that a dataset whose excerpts never recur does not fill the memory."""

    def __missing__(self, raw: bytes) -> Excerpt:
        tokens = _texts(b"[%b]" % raw)
        if len(tokens) > MAX_TOKENS:
            raise BrokenFileError(f"an excerpt of {len(tokens)} tokens; at most {MAX_TOKENS} can be kept")
        if len(self) >= self.LIMIT:
            self.clear()
        packed = pack_tokens(tokens)
        self[raw] = known = Excerpt(excerpt_key(packed), len(tokens), packed)
        return known


def _texts(raw: bytes) -> Sequence[str | None]:
    """Return a list of texts, none of which may be null."""
    try:
        return _texts_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        tokens = text_list(raw)
    if None in tokens:
        raise BrokenFileError("a token is null")
    return tokens
