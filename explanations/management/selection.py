"""The commands' ways to choose: `--layers 0-3,7`, `--kinds activations,explanations`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from django.core.management.base import CommandError, CommandParser

from explanations.pipeline.layout import ALL_KINDS, DataKind
from explanations.pipeline.records import NeuronId

_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A choice of numbers; None chooses all."""

    ranges: tuple[range, ...] | None

    @classmethod
    def parse(cls, option: str, text: str | None) -> Self:
        """Return what e.g. "0-3,7" chooses. CommandError where it is malformed."""
        if text is None:
            return cls(None)
        return cls(tuple(_parse_range(option, part.strip()) for part in str(text).split(",")))

    @property
    def end(self) -> int | None:
        """The number after the last that is chosen; None where all are."""
        return None if self.ranges is None else max(part.stop for part in self.ranges)

    def __contains__(self, number: int) -> bool:
        return self.ranges is None or any(number in part for part in self.ranges)


def _parse_range(option: str, text: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise CommandError(f"{option}: “{text}” is neither a number nor a range such as 0-3; join several with commas")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise CommandError(f"{option}: “{text}” goes backwards; write {last}-{first}")
    return range(first, last + 1)


@dataclass(frozen=True, slots=True)
class Selection:
    """The neurons and kinds of files that a command is to look at."""

    layers: Numbers
    neurons: Numbers
    kinds: tuple[DataKind, ...]

    def __contains__(self, neuron_id: NeuronId) -> bool:
        return neuron_id.layer in self.layers and neuron_id.index in self.neurons


def add_selection_arguments(parser: CommandParser) -> None:
    parser.add_argument("--layers", metavar="0-3,7", help="only these layers, counted from 0")
    parser.add_argument("--neurons", metavar="0-99", help="only these neurons of each layer, counted from 0")
    parser.add_argument("--kinds", metavar="KIND,KIND", help=f"only these kinds of files: {', '.join(ALL_KINDS)}")


def parse_selection(layers: str | None, neurons: str | None, kinds: str | None) -> Selection:
    """Return what the options choose. CommandError where one is malformed."""
    return Selection(Numbers.parse("--layers", layers), Numbers.parse("--neurons", neurons), _parse_kinds(kinds))


def _parse_kinds(text: str | None) -> tuple[DataKind, ...]:
    if text is None:
        return ALL_KINDS
    names: Sequence[str] = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in ALL_KINDS:
            raise CommandError(f"--kinds: there is no kind “{name}”; there are {', '.join(ALL_KINDS)}")
    return tuple(kind for kind in ALL_KINDS if kind in names)
