"""A histogram of recorded activations: its figures, and its drawing as SVG, made here and not in template loops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from django.utils.safestring import SafeString, mark_safe

from explanations.pipeline.packing import PackedRecord
from explanations.pipeline.records import Floats

MOST_BARS = 60
WIDTH, HEIGHT = 360, 110
"""of the plot, in SVG units"""


class Mark(msgspec.Struct, frozen=True):
    """A labelled place on an axis."""

    at: float
    label: str


class Histogram(msgspec.Struct, frozen=True):
    """What the histogram counts; in its drawing a bar's height is the logarithm of its count."""

    tokens: int
    excerpts: int
    below: int
    zero: int
    above: int
    step: float
    drawing: SafeString
    """grid, bars and axis, as the content of an SVG element"""
    view_box: str = f"-34 -8 {WIDTH + 44} {HEIGHT + 26}"
    """with room for the labels around the plot"""


def histogram_of(records: Iterable[PackedRecord]) -> Histogram | None:
    """Return the histogram of all recorded tokens, each excerpt counted once; None without any."""
    distinct: Mapping[int, Floats] = {r.key: r.activations for r in records if len(r.activations)}
    if not distinct:
        return None
    values = np.concatenate(list(distinct.values()))
    low, high = min(0.0, float(np.minimum.reduce(values))), max(0.0, float(np.maximum.reduce(values)))
    step = _step(high - low)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    places = np.floor(values / step).astype(np.int64) - first
    # The highest value may be where the last bar ends.
    counts = np.bincount(np.minimum(places, last - first - 1), minlength=last - first).tolist()
    most = max(counts)
    highest = math.log10(1 + most)
    heights = [math.log10(1 + count) / highest * HEIGHT for count in counts]
    bar = WIDTH / (last - first)
    return Histogram(
        tokens=len(values),
        excerpts=len(distinct),
        below=(below := int(np.count_nonzero(values < 0))),
        zero=len(values) - below - (above := int(np.count_nonzero(values > 0))),
        above=above,
        step=step,
        drawing=_draw(
            _path(heights[:-first] if first else [], 0.0, bar),
            _path(heights[-first:], -first * bar, bar),
            _value_marks(low, high, first * step, bar / step),
            _count_marks(most, highest),
        ),
    )


def _draw(negative: str, positive: str, values: Iterable[Mark], counts: Iterable[Mark]) -> SafeString:
    """Return the two paths of bars, below zero and from zero up, over the grid of counts and the axis of values."""
    grid = "".join(
        f'<line class="grid" x1="0" x2="{WIDTH}" y1="{mark.at}" y2="{mark.at}"/>'
        f'<text class="count" x="-5" y="{mark.at}" dy="3.5">{mark.label}</text>'
        for mark in counts
    )
    axis = "".join(
        f'<line class="tick" x1="{mark.at}" x2="{mark.at}" y1="{HEIGHT}" y2="{HEIGHT + 4}"/>'
        f'<text class="value" x="{mark.at}" y="{HEIGHT + 15}">{mark.label}</text>'
        for mark in values
    )
    bars = f'<path class="negative" d="{negative}"/><path class="positive" d="{positive}"/>'
    return mark_safe(f"{grid}\n    {bars}\n    {axis}")  # noqa: S308  all of it is numbers


def _step(span: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that spans the range in at most `MOST_BARS` bars."""
    if not span > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / MOST_BARS))
    return next(power * k for k in (1, 2, 5, 10, 20) if span / (power * k) <= MOST_BARS)


def _path(heights: Iterable[float], left: float, bar: float) -> str:
    """Return the outline of bars that stand side by side, as a path; bars of no height are left out."""
    width = max(bar - 0.6, bar * 0.6)
    corners = [x for i, height in enumerate(heights) if height > 0 for x in (left + i * bar, -height)]
    one = f"M%.1f {HEIGHT}v%.1fh{width:.1f}V{HEIGHT}z"
    return one * (len(corners) // 2) % tuple(corners)


def _value_marks(low: float, high: float, left: float, scale: float) -> Iterable[Mark]:
    """Yield the lowest value, zero and the highest, zero being left out where it is one of them."""
    for value in sorted({low, 0.0, high}):
        yield Mark(round((value - left) * scale, 1), f"{value:.3g}".replace("-", "\u2212"))


def _count_marks(most: int, highest: float) -> Iterable[Mark]:
    for power in range(len(str(most))):
        count = 10**power
        yield Mark(round(HEIGHT - math.log10(1 + count) / highest * HEIGHT, 1), f"{count:,}")
