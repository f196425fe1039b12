"""Charts: the figure and its table say the same, and nothing heavy is imported before one is made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.finders import get_finder

from explanations import charts
from explanations.statistics import BIN_EDGES, LayerStatistics, ModelStatistics, Scores

ROOT = Path(__file__).parents[2]


def scores(bins: dict[int, int], mean: float = 0.1, best: float = 0.9) -> Scores:
    return Scores(
        count=sum(bins.values()), mean=mean, best=best, bins=tuple(bins.get(i, 0) for i in range(len(BIN_EDGES) - 1))
    )


def test_starting_the_site_imports_nothing_heavy() -> None:
    code = (
        "import django, sys; django.setup(); import neuronviewer.urls, explanations.charts;"
        "print([m for m in ('plotly', 'pandas', 'torch', 'transformers', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "neuronviewer.settings", "SECRET_KEY": "x", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_score_chart_and_its_table_say_the_same() -> None:
    chart = charts.score_chart("m", scores({18: 2, 20: 1234, 39: 5}), "toy", "/search/?model=m")
    bars = chart.figure["data"][0]
    assert [f"{count:,}" for count in bars["y"]] == [row.values[0] for row in chart.rows]
    assert bars["x"][0] == pytest.approx(-0.075)
    assert [row.label for row in chart.rows][:3] == ["−0.10 to −0.05", "−0.05 to 0.00", "0.00 to 0.05"]
    assert chart.rows[-1].label == "0.95 to 1.00"
    assert chart.rows[2].address == "/search/?model=m&min_score=0&max_score=0.05"
    assert list(bars["customdata"]) == [row.address for row in chart.rows]
    assert (chart.title, chart.summary) == ("Scores by toy", "1,241 scored neurons, mean 0.10, best 0.90.")


def test_a_layer_without_scores_is_a_gap_not_a_zero() -> None:
    statistics = ModelStatistics({0: LayerStatistics(9, 9, 9, {"toy": scores({1: 3}, mean=-0.2)})})
    chart = charts.layer_chart("m", statistics, "toy", 3, ["/0", "/1", "/2"])
    assert list(chart.figure["data"][0]["y"]) == [-0.2, None, None]
    assert [row.values for row in chart.rows] == [("−0.20", "3"), ("no scores", "0"), ("no scores", "0")]
    assert chart.summary == "Only layer 0 has scores: mean −0.20."
    statistics = ModelStatistics({2: LayerStatistics(9, 9, 9, {"other": scores({1: 3})})})
    assert charts.layer_chart("m", statistics, "toy", 3, ["/0", "/1", "/2"]).summary == "No layer has scores."


def test_figures_are_plain_json_without_colours() -> None:
    chart = charts.score_chart("m", scores({20: 1}), "")
    text = json.dumps(chart.figure, allow_nan=False)
    assert not re.search(r"#[0-9a-f]{6}|rgb\(", text)
    assert chart.title == "Scores by an unnamed simulator"
    assert not chart.is_linked


def test_plotly_is_served_from_its_wheel_and_alone() -> None:
    found = finders.find("vendor/plotly.min.js")
    assert isinstance(found, str)
    assert Path(found).stat().st_size > 1_000_000
    assert finders.find("vendor/widgetbundle.js") is None
    finder = get_finder("neuronviewer.plotly_finder.PlotlyFinder")
    assert [(name, storage.prefix) for name, storage in finder.list(None)] == [("plotly.min.js", "vendor")]  # type: ignore[attr-defined]
    assert finder.check() == []


def test_plotly_still_looks_for_the_elements_that_keep_it_from_writing_styles() -> None:
    found = finders.find("vendor/plotly.min.js")
    assert isinstance(found, str)
    script = Path(found).read_text("utf-8")
    assert '"plotly.js-style-"' in script
    assert ".no-inline-styles" in script
    assert charts.score_chart("m", scores({20: 1}), "").style_ids, "the maps' styles would be refused by the policy"
