"""Token strings as bytes, and the key of an excerpt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from explanations.pipeline.packing.errors import PackingError

_texts_decoder = msgspec.msgpack.Decoder(list[str])
_tokens_decoder = msgspec.msgpack.Decoder(list[Any])


def pack_tokens(tokens: Sequence[str | None]) -> bytes:
    """Return tokens as bytes, equal exactly where the tokens are. Lone surrogates, NUL and None survive."""
    try:
        return msgspec.msgpack.encode(tokens)
    except UnicodeEncodeError:
        return msgspec.msgpack.encode([_without_surrogates(token) for token in tokens])


def _without_surrogates(token: str | None) -> str | bytes | None:
    if token is None:
        return None
    try:
        token.encode()
    except UnicodeEncodeError:
        return token.encode("utf-8", "surrogatepass")
    return token


def unpack_tokens(data: bytes | memoryview) -> tuple[str | None, ...]:
    """Return what `pack_tokens` packed."""
    try:
        # Nearly all lists are of ordinary texts, which msgspec reads without a loop here.
        return tuple(_texts_decoder.decode(data))
    except msgspec.ValidationError:
        return _unpack_odd_tokens(data)
    except msgspec.MsgspecError as error:
        raise PackingError(f"not packed tokens: {error}") from error


def unpack_texts(data: bytes | memoryview) -> tuple[str, ...]:
    """Return what `pack_tokens` packed, with an empty text in place of None."""
    try:
        return tuple(_texts_decoder.decode(data))
    except msgspec.MsgspecError:
        return tuple(token or "" for token in unpack_tokens(data))


def _unpack_odd_tokens(data: bytes | memoryview) -> tuple[str | None, ...]:
    """Return tokens of which some are None or have lone surrogates."""
    try:
        packed = _tokens_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise PackingError(f"not packed tokens: {error}") from error
    return tuple(t.decode("utf-8", "surrogatepass") if isinstance(t, bytes) else t for t in packed)


def excerpt_key(packed_tokens: bytes) -> int:
    """Return the signed 64-bit number that names an excerpt in its model: a hash of its packed tokens."""
    return int.from_bytes(hashlib.blake2b(packed_tokens, digest_size=8).digest(), "little", signed=True)
