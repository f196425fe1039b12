"""The long arrays of a public file, cut out of its JSON, so that each is read by what reads it fastest.

Nearly all of a file is its excerpts' tokens, which recur from neuron to neuron and need no reading then, and their
numbers, which become one array without a Python object each. What is left, the skeleton, is a twentieth: it says where
the arrays belong, by their places.

Nothing is taken on trust. The cuts are made at bytes that valid JSON holds nowhere else; what is cut out is read as
JSON of its own, and so is the skeleton. So where all of it can be read, the file is valid, and says what was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import simdjson

Doubles: TypeAlias = npt.NDArray[np.float64]

_SEPARATORS = ((b",", b":"), (b", ", b": "))
"""As most programs write JSON, and as Python's own module does."""


class _Lists(Protocol):
    """A simdjson.Array of lists of numbers."""

    def as_buffer(self, *, of_type: str) -> bytes: ...

    def __iter__(self) -> Iterator[Sized]: ...


class CutError(ValueError):
    """A file that cannot be cut, whether broken or only written in another way."""


class Arrays:
    """The arrays of a file, by their places in its skeleton. Each is to be taken once, and none to be left."""

    def __init__(self, tokens: Sequence[bytes], beside: Sequence[bytes], alone: Sequence[bytes]) -> None:
        self._arrays = tokens, beside, alone
        self._taken: tuple[list[int], list[int], list[int]] = [], [], []
        self._parsed_alone: tuple[list[bytes], tuple[Doubles, list[int]]] = [], _parse([])

    def take_tokens(self, places: Sequence[int]) -> list[bytes]:
        """Return the tokens at `places`, each a JSON list without its brackets. CutError where there are none."""
        return self._take(0, places)

    def take_beside(self, places: Sequence[int]) -> tuple[Doubles, list[int]]:
        """Return the numbers beside the tokens at `places`, concatenated, and their lengths.

        CutError where there are none, or they are no numbers.
        """
        return _parse(self._take(1, places))

    def take_alone(self, places: Sequence[int]) -> tuple[Doubles, list[int]]:
        """Return the same of numbers that stand alone.

        They are read once where they are those that were taken last: a neuron's explanations are scored against the
        same activations.
        """
        arrays = self._take(2, places)
        if arrays != self._parsed_alone[0]:
            self._parsed_alone = arrays, _parse(arrays)
        return self._parsed_alone[1]

    def _take(self, kind: int, places: Sequence[int]) -> list[bytes]:
        arrays = self._arrays[kind]
        self._taken[kind].extend(places)
        try:
            return [arrays[place] for place in places]
        except IndexError:
            raise CutError("a place of the file has no array") from None

    def check_taken(self) -> None:
        """CutError unless every array was taken once: a place in the skeleton may have been a number of the file."""
        for arrays, taken in zip(self._arrays, self._taken, strict=True):
            if not len(taken) == len(set(taken)) == len(arrays):
                raise CutError("an array of the file has no place, or more than one")


def _parse(arrays: Sequence[bytes]) -> tuple[Doubles, list[int]]:
    """Return lists of numbers, given without their brackets, concatenated, and their lengths."""
    if not arrays:
        return np.zeros(0), []
    try:
        document = cast(_Lists, simdjson.Parser().parse(b"[[%b]]" % b"],[".join(arrays)))
        return np.frombuffer(document.as_buffer(of_type="d"), np.float64), list(map(len, document))
    except (TypeError, ValueError, RuntimeError) as error:
        raise CutError(f"numbers cannot be read: {error}") from None


class Cutter:
    """Cuts a kind of file, in which numbers named `beside` follow their tokens and those named `alone` stand alone."""

    def __init__(self, beside: str, alone: str = "") -> None:
        self._styles = [_Style(comma, colon, beside.encode(), alone.encode()) for comma, colon in _SEPARATORS]

    def cut(self, data: bytes) -> tuple[bytes, Arrays]:
        """Return the skeleton and the arrays."""
        for style in self._styles:
            skeleton, *arrays = style.cut(data)
            if any(arrays):
                break
        return skeleton, Arrays(*arrays)


class _Style:
    """Cuts a kind of file that is written with these separators."""

    def __init__(self, comma: bytes, colon: bytes, beside: bytes, alone: bytes) -> None:
        self._tokens = b'"tokens"%b[' % colon
        self._beside = b']%b"%b"%b[' % (comma, beside, colon)
        self._alone = b'"%b"%b[' % (alone, colon) if alone else b""
        self._pairs = _Places(b'"tokens":%%d,"%b":%%d' % beside, 2)
        self._ones = _Places(b'"%b":%%d' % alone, 1)

    def cut(self, data: bytes) -> tuple[bytes, list[bytes], list[bytes], list[bytes]]:
        """Return the skeleton, the tokens, the numbers beside them and those that stand alone."""
        data, alone = self._cut_alone(data) if self._alone else (data, [])
        first, *parts = data.split(self._beside)
        before, opening, text = first.partition(self._tokens)
        skeleton, tokens, beside = [before], [], []
        for pair, part in zip(self._pairs(len(parts)), parts, strict=False):
            tokens.append(text)
            numbers, _, rest = part.partition(b"]")
            beside.append(numbers)
            between, opening, text = rest.partition(self._tokens)
            skeleton += pair, between
        return b"".join([*skeleton, opening, text]), tokens, beside, alone

    def _cut_alone(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """Return what is left without the numbers that stand alone, and these."""
        first, *parts = data.split(self._alone)
        skeleton, alone = [first], []
        for one, part in zip(self._ones(len(parts)), parts, strict=False):
            numbers, _, rest = part.partition(b"]")
            alone.append(numbers)
            skeleton += one, rest
        return b"".join(skeleton), alone


class _Places:
    """What stands in the skeleton for each array; nearly the same in all files, so it is kept."""

    def __init__(self, form: bytes, numbers: int) -> None:
        self._form = form
        self._numbers = numbers
        self._made: list[bytes] = []

    def __call__(self, count: int) -> list[bytes]:
        """Return those of the first `count` arrays, or of more."""
        for place in range(len(self._made), count):
            self._made.append(self._form % ((place,) * self._numbers))
        return self._made
