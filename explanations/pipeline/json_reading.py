"""JSON of others, read strictly and fast at first.

What Python's own json module writes beyond the standard (bare NaN, lone surrogates) is read too.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")


class BrokenFileError(ValueError):
    """A file that cannot be taken, with the reason in words."""


_tokens_decoder = msgspec.json.Decoder(list[str | None])
_NON_FINITE_VALUE = re.compile(rb'(?<=[a-z]")(\s*:\s*)(?:NaN|-?Infinity)')
"""A value that is not finite. A quote after a letter ends a string, so this matches nothing inside of one."""
_INFINITE_CORRELATION = re.compile(rb'ev_correlation_score"\s*:\s*-?Infinity')
_TEXT_FIELDS = ("tokens", "explanation", "explanation_or_baseline")


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Return the file's typed object, None for each value that is not finite. BrokenFileError where it does not fit."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:
        strict = error
    # Only now: looking for it takes a third of the time of decoding, and nearly no file has it.
    not_finite = b"NaN" in data or b"Infinity" in data
    if not_finite:
        if _INFINITE_CORRELATION.search(data):
            raise BrokenFileError("an ev_correlation_score is infinite; it must lie between -1 and 1")
        data = _NON_FINITE_VALUE.sub(rb"\1null", data)
        try:
            return decoder.decode(data)
        except (ValueError, RecursionError) as error:
            strict = error
    try:
        plain = _plain_json(data)
    except (ValueError, RecursionError):
        raise BrokenFileError(_in_words(strict, not_finite)) from None
    try:
        return decoder.decode(plain)
    except (ValueError, RecursionError) as error:
        raise BrokenFileError(_in_words(error, not_finite)) from None


def _plain_json(data: bytes) -> bytes:
    """Return JSON that only Python's own module reads (lone surrogates, bare NaN) as JSON that strict parsers take."""
    plain = json.loads(data, parse_constant=lambda _: None, object_hook=_wrap_texts)
    return json.dumps(plain, allow_nan=False).encode()


def _wrap_texts(item: dict[str, Any]) -> dict[str, Any]:
    """Hide texts, which may hold lone surrogates, as [{"json": their JSON}]. `decode_text` opens it again."""
    return item | {name: [{"json": json.dumps(item[name])}] for name in _TEXT_FIELDS if name in item}


def decode_text(raw: bytes | Raw) -> Any:
    """Return a raw field's value: one that strict parsers take, or one that `_wrap_texts` hid."""
    try:
        match msgspec.json.decode(raw):
            case [{"json": hidden}]:
                return json.loads(hidden)
            case value:
                return value
    except (ValueError, TypeError, RecursionError):
        raise BrokenFileError("not of the expected form: a text that cannot be decoded") from None


def _in_words(error: Exception, not_finite: bool) -> str:
    """Return why a strict parser refused a file."""
    reason = str(error)
    if isinstance(error, msgspec.ValidationError):
        if not_finite and "`null`" in reason:
            # The parser was given null in its place; only where it stood helps.
            _, at, place = reason.rpartition(" - at ")
            return f"NaN or Infinity where a number must be{at}{place if at else ''}"
        return f"not of the expected form: {reason}"
    if isinstance(error, RecursionError):
        return "not of the expected form: nested too deeply"
    if "truncated" in reason:
        return "truncated: the file ends in the middle of its JSON"
    return f"bad JSON: {reason.removeprefix('JSON is malformed: ')}"


def text_list(raw: bytes | Raw) -> list[str | None]:
    """Return a list of texts; None for an entry that the file left empty."""
    try:
        return _tokens_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        tokens = decode_text(raw)
    if not isinstance(tokens, list) or not all(token is None or isinstance(token, str) for token in tokens):
        raise BrokenFileError("tokens are not a list of texts")
    return tokens
