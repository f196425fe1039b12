"""The harness of `make bench`: what it makes of measurements, not what it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from explanations.pipeline import packing
from tests.benchmarks import report
from tests.benchmarks.__main__ import find_measurements
from tests.benchmarks.protocol import Bench, Measurement, Pair, Skipped, Taken
from tests.benchmarks.synthetic import EVERYWHERE, PLANTED, Maker
from tests.benchmarks.timing import Result, run

BENCH = Bench(is_quick=True, database="SQLite", layers=2, neurons=4, folder=Path())


def measurement(function: Callable[[Bench], object], **changes: object) -> Measurement:
    given: dict[str, object] = {
        "name": "pages",
        "module": "pages",
        "what": "a page",
        "floor": "an empty page",
        "unit": "",
        "limit": 2.0,
        "is_at_least": False,
        "on": "databases",
        "rounds": 5,
        "function": function,
    }
    return Measurement(**(given | changes))  # type: ignore[arg-type]


def pair_of(floor: float, subject: float) -> Callable[[Bench], Iterator[Pair]]:
    def function(_bench: Bench) -> Iterator[Pair]:
        yield Pair(floor=lambda: Taken(floor), subject=lambda: Taken(subject))

    return function


def test_a_ratio_is_subject_over_floor() -> None:
    result = run(measurement(pair_of(2, 3)), BENCH)
    assert (result.value, result.low, result.high, result.floor, result.subject) == (1.5, 1.5, 1.5, 2, 3)
    assert result.rounds == 1


def test_calls_are_timed_by_turns() -> None:
    order: list[str] = []

    def function(_bench: Bench) -> Iterator[Pair]:
        yield Pair(floor=lambda: order.append("floor"), subject=lambda: order.append("subject"))
        order.append("tidied up")

    result = run(measurement(function, rounds=3), replace(BENCH, is_quick=False))
    assert result.floor > 0
    turns = [name for name, before in zip(order, ["", *order], strict=False) if name != before]
    # The calls before the rounds, then rounds of which the subject goes first, last and first.
    assert turns == ["floor", "subject", "floor", "subject", "floor", "tidied up"]


@pytest.mark.parametrize(
    ("limit", "is_at_least", "ratio", "verdict"),
    [(2.0, False, 2.0, "met"), (2.0, False, 2.1, "missed"), (2.0, True, 2.1, "met"), (None, False, 9.0, "-")],
)
def test_a_verdict_follows_from_the_target(limit: float | None, is_at_least: bool, ratio: float, verdict: str) -> None:
    given = measurement(pair_of(1, ratio), limit=limit, is_at_least=is_at_least)
    assert report.rows([given], [run(given, BENCH)])[0][-1] == verdict


@pytest.mark.parametrize(("is_at_least", "written"), [(False, ("20 ms", "30 ms")), (True, ("0.02", "0.03"))])
def test_what_calls_measure_of_themselves_are_seconds_or_a_throughput(
    is_at_least: bool, written: tuple[str, str]
) -> None:
    given = measurement(pair_of(0.02, 0.03), is_at_least=is_at_least)
    assert report.rows([given], [run(given, BENCH)])[0][2:4] == written


def test_what_cannot_be_measured_says_why() -> None:
    def function(_bench: Bench) -> Iterator[Pair]:
        raise Skipped("no torch")
        yield

    given = measurement(function)
    assert report.rows([given], [run(given, BENCH)])[0][-1] == "skipped: no torch"


def test_a_failure_is_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    def function(_bench: Bench) -> float:
        raise ZeroDivisionError("nothing there")

    given = measurement(function, floor="", unit="KB")
    assert report.rows([given], [run(given, BENCH)])[0][-1] == "FAILED: ZeroDivisionError: nothing there"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_figure_is_the_median_of_its_values() -> None:
    given = measurement(lambda _bench: [30.0, 50.0, 40.0], floor="", unit="KB", limit=60.0)
    row = report.rows([given], [run(given, BENCH)])[0]
    assert row == ("pages", "SQLite", "", "40 KB", "", "30 to 50", "", "at most 60 KB", "met")


def test_the_page_defines_what_it_shows() -> None:
    given = measurement(pair_of(1, 2))
    page = report.write_page([("memory", "1 GiB")], [given], [Result("pages", "SQLite", 2.0)], "few neurons")
    assert "| memory | 1 GiB |" in page
    assert "- *pages*: a page, against an empty page." in page


def test_every_module_is_found() -> None:
    assert "base page" in {m.name for m in find_measurements()}
    assert find_measurements("no such measurement") == []


def test_synthetic_neurons_are_whole_and_their_words_are_planted() -> None:
    (batch,) = Maker(layers=2, neurons=40, excerpts=20).make_layer(1, batch=100)
    explanations = [explanation for neuron in batch for explanation in neuron.explanations or ()]
    assert len(batch) == 40
    assert len(explanations) == 80
    assert all(EVERYWHERE in explanation.text.split() for explanation in explanations)
    common = next(iter(PLANTED))
    assert sum(common in explanation.text.split() for explanation in explanations) == pytest.approx(80 / 30, abs=1)
    records, _ = packing.unpack_records(batch[0].activations.data)  # type: ignore[union-attr]
    assert len(records) == 20
    kept = {record.key for record in records}
    for explanation in batch[0].explanations or ():
        sequences = packing.unpack_sequences(explanation.simulation.data)  # type: ignore[union-attr]
        assert {sequence.key for sequence in sequences} <= kept
        assert all(sequence.real is None for sequence in sequences)
