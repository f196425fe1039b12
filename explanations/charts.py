"""Charts of scores: figures that plotly.js draws, each with a table of the same numbers.

plotly is imported when a chart is made, never before: the web process starts without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from explanations.statistics import BIN_EDGES, ModelStatistics, Scores

BIN_WIDTH = float(BIN_EDGES[1] - BIN_EDGES[0])
ZERO_BIN = list(BIN_EDGES).index(0)


@dataclass(frozen=True)
class Row:
    """A line of the table beside a chart."""

    label: str
    values: tuple[str, ...]
    address: str = ""
    """the page that the line, and its bar, stand for"""


@dataclass(frozen=True)
class Chart:
    """A figure and its equal in text."""

    id: str
    title: str
    summary: str
    """what the eye would take from the figure, in a sentence"""
    figure: Mapping[str, Any]
    head: tuple[str, ...]
    rows: Sequence[Row]

    @property
    def figure_id(self) -> str:
        return f"{self.id}-figure"

    @property
    def style_ids(self) -> tuple[str, ...]:
        """The ids of elements that keep plotly.js from writing style elements, which our policy forbids."""
        return _style_ids()

    @property
    def is_linked(self) -> bool:
        return any(row.address for row in self.rows)


@cache
def _style_ids() -> tuple[str, ...]:
    """Return the ids that plotly.js looks for before it adds its maps' styles; they change with its version."""
    import plotly

    script = Path(plotly.__file__).with_name("package_data") / "plotly.min.js"
    return tuple(re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', script.read_text("utf-8")))


def named_simulator(simulator: str) -> str:
    """Return the simulator's name as pages write it: sources may leave it out."""
    return simulator or "an unnamed simulator"


def score_chart(name: str, scores: Scores, simulator: str, search_address: str = "") -> Chart:
    """Return the distribution of headline scores; bars lead to `search_address` with their range added."""
    first = min([ZERO_BIN, *(i for i, count in enumerate(scores.bins) if count)])
    rows = [
        Row(
            label=f"{_signed(BIN_EDGES[i])} to {_signed(BIN_EDGES[i + 1])}",
            values=(f"{scores.bins[i]:,}",),
            address=f"{search_address}&min_score={BIN_EDGES[i]:g}&max_score={BIN_EDGES[i + 1]:g}"
            if search_address
            else "",
        )
        for i in range(first, len(scores.bins))
    ]
    figure = _bars(
        x=[float(edge) + BIN_WIDTH / 2 for edge in BIN_EDGES[first:-1]],
        y=list(scores.bins[first:]),
        rows=rows,
        hover=[f"score {row.label}: {row.values[0]} neurons" for row in rows],
        width=BIN_WIDTH * 0.92,
        x_title="score (correlation)",
        y_title="neurons",
    )
    return Chart(
        id=f"scores-{name}",
        title=f"Scores by {named_simulator(simulator)}",
        summary=f"{scores.count:,} scored neurons, mean {_signed(scores.mean)}, best {_signed(scores.best)}.",
        figure=figure,
        head=("Score", "Neurons"),
        rows=rows,
    )


def layer_chart(
    name: str, statistics: ModelStatistics, simulator: str, layer_count: int, addresses: Sequence[str]
) -> Chart:
    """Return the mean headline score by layer; layers without scores are gaps, not zeros."""
    of_layer = [statistics.layer(layer).scores.get(simulator) for layer in range(layer_count)]
    rows = [
        Row(
            label=str(layer),
            values=(_signed(scores.mean), f"{scores.count:,}") if scores else ("no scores", "0"),
            address=addresses[layer],
        )
        for layer, scores in enumerate(of_layer)
    ]
    figure = _bars(
        x=list(range(layer_count)),
        y=[scores.mean if scores else None for scores in of_layer],
        rows=rows,
        hover=[f"layer {row.label}: mean {row.values[0]} of {row.values[1]} neurons" for row in rows],
        width=0.8,
        x_title="layer",
        y_title="mean score (correlation)",
    )
    figure["layout"]["xaxis"].update(range=[-0.6, layer_count - 0.4], tickformat="d")
    return Chart(
        id=f"layers-{name}",
        title=f"Mean score by layer, by {named_simulator(simulator)}",
        summary=_describe_extremes(of_layer),
        figure=figure,
        head=("Layer", "Mean score", "Scored neurons"),
        rows=rows,
    )


def _describe_extremes(of_layer: Sequence[Scores | None]) -> str:
    means = [(scores.mean, layer) for layer, scores in enumerate(of_layer) if scores]
    if not means:
        return "No layer has scores."
    (low, low_layer), (high, high_layer) = min(means), max(means)
    if low_layer == high_layer:
        return f"Only layer {low_layer} has scores: mean {_signed(low)}."
    return f"Highest in layer {high_layer} ({_signed(high)}), lowest in layer {low_layer} ({_signed(low)})."


def _bars(
    *,
    x: Sequence[float],
    y: Sequence[float | None],
    rows: Sequence[Row],
    hover: Sequence[str],
    width: float,
    x_title: str,
    y_title: str,
) -> dict[str, Any]:
    """Return a bar chart without colours: the page's own are put in where it is drawn."""
    import plotly.graph_objects as go

    bars = go.Bar(
        x=x,
        y=y,
        width=width,
        hovertext=hover,
        hoverinfo="text",
        customdata=[row.address for row in rows],
        marker={"line": {"width": 0}},
    )
    figure = go.Figure(bars).update_layout(
        template=None,
        bargap=0,
        dragmode=False,
        showlegend=False,
        margin={"l": 56, "r": 8, "t": 8, "b": 44},
        font={"size": 12},
        xaxis={"title": {"text": x_title, "standoff": 8}, "fixedrange": True, "showgrid": False, "zeroline": False},
        yaxis={"title": {"text": y_title, "standoff": 8}, "fixedrange": True, "rangemode": "tozero"},
    )
    return dict(figure.to_plotly_json())


def _signed(number: float) -> str:
    return f"{number:z.2f}".replace("-", "\u2212")
