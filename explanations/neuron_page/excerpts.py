"""A neuron's recorded excerpts: the groups they come in, and those that are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec
import numpy as np
from django.utils.safestring import SafeString

from explanations import tokens as markup
from explanations.forms.neuron import SHOWN_STEPS, PageState
from explanations.import_commands import excerpts_command
from explanations.models import Neuron
from explanations.neuron_page import elements
from explanations.neuron_page.drawing import Drawn, Strip
from explanations.pipeline import packing
from explanations.pipeline.packing import PackedRecord
from explanations.pipeline.records import Floats, Kind
from explanations.store import Tokens

_NAMES = {int(Kind.TOP): "top", int(Kind.RANDOM): "random", int(Kind.BOTTOM): "bottom", int(Kind.OTHER): "other"}
_QUANTILE = int(Kind.QUANTILE)
_TITLES = {"top": "Top", "random": "Random", "bottom": "Lowest", "other": "Other"}
_ABOUT = {
    "top": "The excerpts in which the neuron was most active, best first.",
    "random": "An independent random sample of the corpus: what the neuron does on ordinary text.",
    "bottom": "The excerpts in which the neuron’s activation fell lowest, lowest first: its other side.",
    "other": "Excerpts that were recorded for another reason.",
}
_PROTOCOL_RANGES = (0.0, 0.5, 0.9, 0.99, 0.999)
"""The released protocol's quantile boundaries, for data that gives values instead of probabilities, or nothing."""


class Recorded(msgspec.Struct, frozen=True):
    """All of a neuron's activation records, by excerpt key."""

    records: Sequence[PackedRecord] = ()
    boundaries: tuple[float, ...] | None = None

    def of_kind(self, kind: int) -> list[PackedRecord]:
        return [r for r in self.records if r.kind == kind]


class Group(msgspec.Struct, frozen=True):
    """The excerpts that were recorded for one reason."""

    name: str
    """as addresses have it"""
    title: str
    sample: str
    """what sample of excerpts it is, in a sentence"""
    records: Sequence[PackedRecord]
    bounds: str = ""
    """a quantile range's boundaries in a sentence, where the data gives them as activations"""

    @property
    def about(self) -> str:
        return f"{self.sample} {self.bounds or _reach(self.records)}" if self.is_quantile else self.sample

    @property
    def peak_name(self) -> str:
        """What is told of each excerpt."""
        return "minimum" if self.is_bottom else "maximum"

    @property
    def is_bottom(self) -> bool:
        return self.name == _NAMES[Kind.BOTTOM]

    @property
    def is_quantile(self) -> bool:
        return self.name not in _TITLES


class ShownExcerpt(msgspec.Struct, frozen=True):
    """One excerpt on the page."""

    title: str
    element: SafeString
    rows: Sequence[tuple[SafeString, str]] = ()
    """tokens with their exact values, for the plain table"""


class MissingExcerpts(msgspec.Struct, frozen=True):
    """What is known of a neuron whose excerpts are not stored, and how to get them."""

    peak: Sequence[tuple[str, int]]
    """the tokens around its highest activation with their levels, where they were kept"""
    command: str
    is_import: bool
    """whether the command imports from a known source; else it collects"""


class ExcerptsSection(msgspec.Struct, frozen=True):
    """What the section of recorded excerpts shows."""

    groups: Sequence[Group]
    group: Group | None
    shown: Sequence[ShownExcerpt]
    total: int
    more: int | None
    """how many excerpts "show more" would show; None where all are shown"""
    maximum: float
    """what shades are relative to"""
    missing: MissingExcerpts | None = None
    """where there is no group"""


def read_recorded(neuron: Neuron) -> Recorded:
    """Return a neuron's records; none where it has none. Costs a query where `activation_set` was not fetched."""
    if not hasattr(neuron, "activation_set"):
        return Recorded()
    return Recorded(*packing.unpack_records(neuron.activation_set.data))


def groups_of(recorded: Recorded) -> list[Group]:
    """Return the groups that have excerpts: top, random and others, then the quantile ranges from the lowest."""
    by_kind: dict[int, list[PackedRecord]] = {}
    for record in recorded.records:
        by_kind.setdefault(record.kind, []).append(record)
    plain = [
        Group(name, _TITLES[name], _ABOUT[name], by_kind[kind]) for kind, name in _NAMES.items() if kind in by_kind
    ]
    ranges = sorted(kind - _QUANTILE for kind in by_kind if kind >= _QUANTILE)
    return plain + [
        _quantile_group(recorded, by_kind[_QUANTILE + number], number, max(ranges) + 1) for number in ranges
    ]


def _quantile_group(recorded: Recorded, records: Sequence[PackedRecord], number: int, count: int) -> Group:
    probabilities = _probabilities(recorded.boundaries, count)
    title = f"Range {number + 1}"
    sample = f"A sample of excerpts from quantile range {number + 1} of {count} of the maximum activation."
    if probabilities is not None:
        low, high = probabilities[number], probabilities[number + 1]
        title = f"{_percent(low)}–{_percent(high)} %"
        sample = (
            f"A sample of excerpts whose maximum activation lies between the {_percent(low)} % and "
            f"{_percent(high)} % quantile of all excerpts."
        )
    return Group(f"q{number}", title, sample, records, _bounds(recorded.boundaries, number, count))


def _looks_like_probabilities(boundaries: Sequence[float], count: int) -> bool:
    return len(boundaries) == count + 1 and boundaries[0] == 0 and all(0 <= b <= 1 for b in boundaries)


def _probabilities(boundaries: Sequence[float] | None, count: int) -> Sequence[float] | None:
    if boundaries is not None and _looks_like_probabilities(boundaries, count):
        return boundaries
    return _PROTOCOL_RANGES if count == len(_PROTOCOL_RANGES) - 1 else None


def _bounds(boundaries: Sequence[float] | None, number: int, count: int) -> str:
    """Return the range's boundaries where the data gives them as activations, as a sentence."""
    if boundaries is None or _looks_like_probabilities(boundaries, count) or len(boundaries) <= number + 1:
        return ""
    return f"The range is {_figure(boundaries[number])} to {_figure(boundaries[number + 1])}."


def _reach(records: Sequence[PackedRecord]) -> str:
    """Return what maximum activations the range's recorded excerpts have, as a sentence."""
    maxima = [float(r.activations.max()) for r in records if len(r.activations)]
    if not maxima:
        return ""
    return f"The maxima of those recorded here run from {_figure(min(maxima))} to {_figure(max(maxima))}."


def _percent(probability: float) -> str:
    return f"{probability * 100:.6g}"


def _figure(value: float) -> str:
    return f"{value:.3g}".replace("-", "\u2212")


def choose_group(groups: Sequence[Group], state: PageState) -> tuple[Group | None, PageState]:
    """Return the group that the state asks for, else the first, with the state as it was followed."""
    chosen = next((g for g in groups if g.name == state.excerpts), None)
    if chosen is None and state.excerpts:
        state = state.with_problem(f"No excerpts called {state.excerpts} were recorded of this neuron.", excerpts="")
    return chosen or (groups[0] if groups else None), state


def shown_keys(group: Group | None, state: PageState) -> set[int]:
    """Return the keys of the excerpts whose tokens the section needs."""
    return {r.key for r in group.records[: state.shown]} if group else set()


def strips_of(group: Group | None, tokens: Mapping[int, Tokens], maximum: float, state: PageState) -> list[Strip]:
    """Return what of the chosen group is to be drawn."""
    records = group.records[: state.shown] if group else ()
    return [Strip(tokens.get(record.key), record.activations, maximum) for record in records]


def build_section(
    neuron: Neuron,
    groups: Sequence[Group],
    group: Group | None,
    maximum: float,
    strips: Sequence[tuple[Strip, Drawn]],
    state: PageState,
) -> ExcerptsSection:
    """Return the section; `strips` are those of `strips_of`, drawn."""
    total = len(group.records) if group else 0
    return ExcerptsSection(
        groups=groups,
        group=group,
        shown=_show(group, strips, state) if group else [],
        total=total,
        more=next((min(step, total) for step in SHOWN_STEPS if step > state.shown), None)
        if state.shown < total
        else None,
        maximum=maximum,
        missing=None if group else _missing(neuron),
    )


def scale_of(neuron: Neuron, groups: Sequence[Group], group: Group | None) -> float:
    """Return what shades are relative to: the neuron's maximum; on its other side the lowest value there."""
    if group is not None and group.is_bottom:
        lowest = min((float(r.activations.min()) for r in group.records if len(r.activations)), default=0.0)
        if lowest < 0:
            return -lowest
    if neuron.max_activation and neuron.max_activation > 0:
        return neuron.max_activation
    return markup.scale_of(r.activations for g in groups for r in g.records)


def _missing(neuron: Neuron) -> MissingExcerpts:
    """Return what there is without excerpts. One query where the peak was not fetched."""
    return MissingExcerpts(packing.unpack_peak(neuron.peak), *excerpts_command(neuron))


def _show(group: Group, strips: Sequence[tuple[Strip, Drawn]], state: PageState) -> list[ShownExcerpt]:
    # The lowest values where excerpts were chosen for them.
    peaks = extremes_of([strip.values for strip, _ in strips], np.minimum if group.is_bottom else np.maximum)
    return [
        ShownExcerpt(
            title := f"{group.title} {place}",
            elements.recorded_excerpt(
                title, group.peak_name, peak, drawn.values, None if strip.tokens is None else drawn.pieces
            ),
            rows=value_rows(strip) if state.values else (),
        )
        for place, ((strip, drawn), peak) in enumerate(zip(strips, peaks, strict=True), 1)
    ]


def extremes_of(parts: Sequence[Floats | None], extreme: np.ufunc = np.maximum) -> list[float | None]:
    """Return the highest value of each part, or with `np.minimum` the lowest, all at once; None where there is none."""
    filled = [part for part in parts if part is not None and len(part)]
    if not filled:
        return [None] * len(parts)
    starts = list(accumulate(map(len, filled[:-1]), initial=0))
    found = iter(extreme.reduceat(np.concatenate(filled), starts).tolist())
    return [next(found) if part is not None and len(part) else None for part in parts]


def value_rows(strip: Strip) -> list[tuple[SafeString, str]]:
    """Return each token, shaded, with its exact value; none where its text is not stored."""
    values = strip.values
    return [
        (markup.shaded([token], values[i : i + 1], strip.maximum), markup.written_value(float(values[i])))
        for i, token in enumerate((strip.tokens or ())[: len(values)])
    ]
