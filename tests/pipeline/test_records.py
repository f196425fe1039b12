"""Normalised activations and splits: the two rules that scores rest on."""

from __future__ import annotations

import numpy as np
import pytest

from explanations.pipeline.records import (
    ActivationRecord,
    Kind,
    NeuronId,
    NeuronRecord,
    NeuronWeights,
    Split,
    TokenValues,
    maximum_of,
    normalise,
    shade,
    split_records,
)
from tests.world import make_record


def numbered(count: int) -> tuple[ActivationRecord, ...]:
    return tuple(ActivationRecord((str(i),), np.array([float(i)])) for i in range(count))


def names(records: tuple[tuple[Kind, ActivationRecord], ...], kind: Kind) -> list[int]:
    return [int(r.tokens[0]) for k, r in records if k is kind]


@pytest.mark.parametrize(
    ("split", "top", "random"),
    [
        (Split.TRAIN, [0, 4, 8, 12, 16], []),
        (Split.CALIBRATION, [1, 5, 9, 13, 17], [0, 3, 6, 9, 12]),
        (Split.VALID, [2, 6, 10, 14, 18], [1, 4, 7, 10, 13]),
        (Split.TEST, [3, 7, 11, 15, 19], [2, 5, 8, 11, 14]),
    ],
)
def test_splits_take_the_published_ranks(split: Split, top: list[int], random: list[int]) -> None:
    chosen = split_records(NeuronRecord(NeuronId(0, 0), numbered(25), numbered(25)), split)
    assert names(chosen, Kind.TOP) == top
    assert names(chosen, Kind.RANDOM) == random


def test_splits_of_few_records_are_short_and_never_overlap() -> None:
    record = NeuronRecord(NeuronId(0, 0), numbered(6), numbered(4))
    tops = [rank for split in Split for rank in names(split_records(record, split), Kind.TOP)]
    assert sorted(tops) == list(range(6))


@pytest.mark.parametrize(
    ("activations", "maximum", "levels"),
    [
        ([0.0, 0.5, 1.0, 2.0], 1.0, [0, 5, 10, 10]),
        ([-1.0, 0.099, 0.1], 1.0, [0, 0, 1]),
        ([1.0, 2.0], 0.0, [0, 0]),
        ([-1.0], -1.0, [0]),
        ([], 1.0, []),
    ],
)
def test_levels(activations: list[float], maximum: float, levels: list[int]) -> None:
    assert normalise(np.array(activations), maximum).tolist() == levels


@pytest.mark.parametrize(
    ("value", "maximum", "name"),
    [
        (0.0, 1.0, ""),
        (-0.0, 1.0, ""),
        (0.01, 1.0, "p0"),
        (-0.01, 1.0, "n0"),
        (1.0, 1.0, "p10"),
        (-9.0, 1.0, "n10"),
        (1.0, 0.0, ""),
    ],
)
def test_shades(value: float, maximum: float, name: str) -> None:
    assert shade(value, maximum) == name


def test_the_maximum_is_never_negative() -> None:
    assert maximum_of([ActivationRecord(("a",), np.array([-1.0]))]) == 0.0
    assert maximum_of([]) == 0.0


def test_the_maximum_activation_is_derived_from_all_records() -> None:
    record = make_record(NeuronId(0, 0))
    assert record.max_activation == max(float(r.activations.max()) for _, r in record.labelled())
    assert NeuronRecord(NeuronId(0, 0), (), ()).max_activation is None


def test_records_of_unequal_lengths_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="1 tokens but 2 activations"):
        ActivationRecord(("a",), np.zeros(2))
    with pytest.raises(ValueError, match="1 tokens but 0 values"):
        TokenValues(("a",), ())
    with pytest.raises(ValueError, match="1 neurons but 0 weights"):
        NeuronWeights((NeuronId(0, 0),), ())
