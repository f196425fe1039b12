"""The long arrays of a public file, cut out of its JSON, so that each is read by what reads it fastest.

Nearly all of a file is its excerpts' tokens, which recur from neuron to neuron and need no reading then, and their
numbers, which become one array without a Python object each. What is left, the skeleton, is a twentieth: it says where
the arrays belong, by their places.

Nothing is taken on trust. The cuts are made at bytes that valid JSON holds nowhere else; what is cut out is read as
JSON of its own, and so is the skeleton. So where all of it can be read, the file is valid, and says what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from functools import lru_cache
from typing import Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import simdjson

Doubles: TypeAlias = npt.NDArray[np.float64]

_SEPARATORS = ((b",", b":"), (b", ", b": "))
"""As most programs write JSON, and as Python's own module does."""


class _Arrays(Protocol):
    """A simdjson.Array of lists of numbers."""

    def as_buffer(self, *, of_type: str) -> bytes: ...

    def __iter__(self) -> Iterator[Sized]: ...


class CutError(ValueError):
    """A file that cannot be cut, whether broken or only written in another way."""


class Arrays:
    """The arrays of a file, by their places in its skeleton. Each is to be taken once, and none to be left."""

    def __init__(self, tokens: Sequence[bytes], numbers: Sequence[bytes]) -> None:
        self._tokens = tokens
        self._numbers = numbers
        self._taken: list[int] = []
        self._taken_numbers: list[int] = []

    def take_tokens(self, places: Sequence[int]) -> list[bytes]:
        """Return the tokens at `places`, each a JSON list without its brackets. CutError where there are none."""
        self._taken += places
        return _at(self._tokens, places)

    def take_numbers(self, places: Sequence[int]) -> tuple[Doubles, list[int]]:
        """Return the numbers at `places`, concatenated, and their lengths. CutError where one is no list of numbers."""
        self._taken_numbers += places
        arrays = _at(self._numbers, places)
        if not arrays:
            return np.zeros(0), []
        try:
            document = cast(_Arrays, simdjson.Parser().parse(b"[[%b]]" % b"],[".join(arrays)))
            return np.frombuffer(document.as_buffer(of_type="d"), np.float64), list(map(len, document))
        except (TypeError, ValueError, RuntimeError) as error:
            raise CutError(f"numbers cannot be read: {error}") from None

    def check_taken(self) -> None:
        """CutError unless every array was taken once: a place in the skeleton may have been a number of the file."""
        for taken, arrays in ((self._taken, self._tokens), (self._taken_numbers, self._numbers)):
            if not len(taken) == len(set(taken)) == len(arrays):
                raise CutError("an array of the file has no place, or more than one")


def _at(arrays: Sequence[bytes], places: Sequence[int]) -> list[bytes]:
    try:
        return [arrays[place] for place in places]
    except IndexError:
        raise CutError("a place of the file has no array") from None


class Cutter:
    """Cuts a kind of file, in which numbers named `beside` follow their tokens and those named `alone` stand alone."""

    def __init__(self, beside: str, alone: str = "") -> None:
        self._styles = [_Style(comma, colon, beside.encode(), alone.encode()) for comma, colon in _SEPARATORS]

    def cut(self, data: bytes) -> tuple[bytes, Arrays]:
        """Return the skeleton and the arrays."""
        for style in self._styles:
            skeleton, tokens, numbers = style.cut(data)
            if numbers:
                break
        return skeleton, Arrays(tokens, numbers)


class _Style:
    """Cuts a kind of file that is written with these separators."""

    def __init__(self, comma: bytes, colon: bytes, beside: bytes, alone: bytes) -> None:
        self._tokens = b'"tokens"%b[' % colon
        self._beside = b']%b"%b"%b[' % (comma, beside, colon)
        self._alone = b'"%b"%b[' % (alone, colon) if alone else b""
        # The same few hundred in each file.
        self._pair: Callable[[int, int], bytes] = lru_cache(1024)(
            lambda tokens, numbers: b'"tokens":%d,"%b":%d' % (tokens, beside, numbers)
        )
        self._one: Callable[[int], bytes] = lru_cache(1024)(lambda place: b'"%b":%d' % (alone, place))

    def cut(self, data: bytes) -> tuple[bytes, list[bytes], list[bytes]]:
        """Return the skeleton, the tokens and the numbers."""
        numbers: list[bytes] = []
        if self._alone:
            data = self._cut_alone(data, numbers)
        first, *parts = data.split(self._beside)
        before, opening, text = first.partition(self._tokens)
        skeleton = [before]
        tokens: list[bytes] = []
        for part in parts:
            skeleton.append(self._pair(len(tokens), len(numbers)))
            tokens.append(text)
            array, _, rest = part.partition(b"]")
            numbers.append(array)
            between, opening, text = rest.partition(self._tokens)
            skeleton.append(between)
        return b"".join([*skeleton, opening, text]), tokens, numbers

    def _cut_alone(self, data: bytes, numbers: list[bytes]) -> bytes:
        """Return what is left without the numbers that stand alone, which are added to `numbers`."""
        first, *parts = data.split(self._alone)
        skeleton = [first]
        for part in parts:
            skeleton.append(self._one(len(numbers)))
            array, _, rest = part.partition(b"]")
            numbers.append(array)
            skeleton.append(rest)
        return b"".join(skeleton)
