"""Whole numbers as ranges: short where they lie together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def gather(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers as ranges [first, last], in order."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def spread(ranges: Iterable[Iterable[int]]) -> Iterator[int]:
    """Yield the numbers of ranges [first, last]."""
    for first, last in ranges:
        yield from range(first, last + 1)
