"""Bytes and back: what survives, how precisely, and how small it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from explanations.pipeline import packing
from explanations.pipeline.packing import PackedRecord, PackedSequence, PackingError
from explanations.pipeline.packing.sequences import short_form, whole_form
from explanations.pipeline.records import (
    NeuronId,
    NeuronWeights,
    Related,
    RelatedNeurons,
    Scores,
    TokenValues,
    WeightTokens,
)

steady = settings(deadline=None, max_examples=60)
finite = st.floats(allow_nan=False, allow_infinity=False)
any_text = st.text(st.characters(codec=None), max_size=8)
"""With NUL and lone surrogates."""


def keep(*excerpts: np.ndarray) -> list[np.ndarray]:
    """Return excerpts as packing keeps them."""
    packed = packing.pack_records([PackedRecord(i, 0, values) for i, values in enumerate(excerpts)])
    return [record.activations for record in packing.unpack_records(packed)[0]]


@steady
@given(st.lists(arrays(np.float64, st.integers(0, 20), elements=finite), max_size=5))
def test_every_finite_value_errs_by_at_most_2_to_the_minus_11(excerpts: list[np.ndarray]) -> None:
    for values, kept in zip(excerpts, keep(*excerpts), strict=True):
        assert np.all(np.abs(kept - values) <= np.abs(values) * 2.0**-11)


@steady
@given(arrays(np.float64, st.integers(1, 20), elements=finite))
def test_signs_survive_and_only_zero_becomes_zero(values: np.ndarray) -> None:
    [kept] = keep(values)
    assert np.array_equal(np.sign(kept), np.sign(values))


@steady
@given(arrays(np.float16, st.integers(1, 40), elements=st.floats(allow_nan=False, allow_infinity=False, width=16)))
def test_halves_are_kept_exactly(values: np.ndarray) -> None:
    [kept] = keep(values.astype(np.float64))
    assert np.array_equal(kept, values.astype(np.float64))


@steady
@given(arrays(np.float64, st.integers(1, 20), elements=finite))
def test_what_was_kept_is_kept_exactly_the_second_time(values: np.ndarray) -> None:
    [kept] = keep(values)
    assert np.array_equal(keep(kept)[0], kept)


@pytest.mark.parametrize(
    "values", [[1e-300, 1e300], [5e-324], [2.0**142, -(2.0**142)], [65504.0, 2.0**-24], [1.7976931348623157e308]]
)
def test_values_far_apart_keep_their_precision(values: list[float]) -> None:
    [kept] = keep(np.array(values))
    assert kept == pytest.approx(values, rel=2.0**-11, abs=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(PackingError, match="NaN or infinite"):
        keep(np.array([1.0, value]))


def test_records_keep_key_kind_and_boundaries() -> None:
    records = [PackedRecord(-(2**63), 0, np.array([1.0, -2.0])), PackedRecord(2**63 - 1, 19, np.zeros(0))]
    unpacked, boundaries = packing.unpack_records(packing.pack_records(records, (0.0, 0.5)))
    assert [(r.key, r.kind, r.activations.tolist()) for r in unpacked] == [
        (-(2**63), 0, [1.0, -2.0]),
        (2**63 - 1, 19, []),
    ]
    assert boundaries == (0.0, 0.5)


def test_no_boundaries_and_empty_boundaries_are_told_apart() -> None:
    assert packing.unpack_records(packing.pack_records([]))[1] is None
    assert packing.unpack_records(packing.pack_records([], ()))[1] == ()


def test_an_excerpt_of_too_many_tokens_is_refused() -> None:
    with pytest.raises(PackingError, match="65536 tokens; at most 65535"):
        keep(np.ones(65536))
    assert len(keep(np.ones(65535))[0]) == 65535


def test_too_many_boundaries_are_refused() -> None:
    with pytest.raises(PackingError, match="256 quantile boundaries"):
        packing.pack_records([], tuple(map(float, range(256))))


def test_sequences_survive_with_and_without_real_values() -> None:
    sequences = [
        PackedSequence(1, 0, np.array([0.0, 10.0]), None, Scores(0.5, None, -3.25)),
        PackedSequence(2, 1, np.array([0.1]), np.array([-1e-9]), Scores(None)),
        PackedSequence(3, 1, np.zeros(0), np.zeros(0), Scores(1.0)),
    ]
    unpacked = packing.unpack_sequences(packing.pack_sequences(sequences))
    assert [(s.key, s.kind, s.scores) for s in unpacked] == [(s.key, s.kind, s.scores) for s in sequences]
    assert unpacked[0].real is None
    assert unpacked[0].simulated.tolist() == [0.0, 10.0]
    assert unpacked[1].simulated == pytest.approx([0.1], rel=2.0**-11)
    assert unpacked[1].real == pytest.approx([-1e-9], rel=2.0**-11)
    assert unpacked[2].real is not None
    assert packing.unpack_sequences(packing.pack_sequences([])) == []


@steady
@given(st.lists(arrays(np.float64, st.integers(0, 9), elements=st.sampled_from([0.0, 0.0, -0.0, 3.5, 1e-9, -7.0]))))
def test_simulated_zeros_take_a_bit_and_both_forms_are_read(excerpts: list[np.ndarray]) -> None:
    sequences = [PackedSequence(i, 0, v, v[::-1] if i % 2 else None, Scores(0.5)) for i, v in enumerate(excerpts)]
    packed = packing.pack_sequences(sequences)
    whole = whole_form(packed)
    assert whole[0] == 1  # what earlier versions wrote
    assert len(packed) <= len(whole)
    zeros = sum(int(np.count_nonzero((v == 0) & ~np.signbit(v))) for v in excerpts)
    tokens = sum(map(len, excerpts))
    if -(-tokens // 8) < 2 * zeros:
        assert len(packed) == len(whole) - 2 * zeros + -(-tokens // 8)
    assert short_form(whole) == short_form(packed) == packed
    read = [packing.unpack_sequences(data) for data in (packed, whole)]
    for a, b in zip(*read, strict=True):
        assert (a.key, a.scores) == (b.key, b.scores)
        assert a.simulated.tobytes() == b.simulated.tobytes()
        assert (a.real is None) == (b.real is None)
        assert a.real is None or b.real is None or a.real.tobytes() == b.real.tobytes()
    for given_values, kept in zip(excerpts, read[0], strict=True):
        assert np.array_equal(np.signbit(given_values), np.signbit(kept.simulated))
        assert kept.simulated == pytest.approx(given_values, rel=2.0**-11)


@steady
@given(st.lists(st.none() | any_text, max_size=10))
def test_hostile_tokens_survive(tokens: list[str | None]) -> None:
    packed = packing.pack_tokens(tokens)
    assert packing.unpack_tokens(packed) == tuple(tokens)
    assert packing.unpack_texts(packed) == tuple(token or "" for token in tokens)


@steady
@given(st.lists(any_text, max_size=4), st.lists(any_text, max_size=4))
def test_packed_tokens_are_equal_exactly_where_the_tokens_are(a: list[str], b: list[str]) -> None:
    assert (packing.pack_tokens(a) == packing.pack_tokens(b)) == (a == b)


@pytest.mark.parametrize("unpack", [packing.unpack_records, packing.unpack_sequences])
@pytest.mark.parametrize("data", [b"", b"\x01\x00", b"\x09" + bytes(20)])
def test_foreign_bytes_are_refused(unpack: object, data: bytes) -> None:
    with pytest.raises(PackingError, match=r"not .*packed"):
        unpack(data)  # type: ignore[operator]


def test_tokens_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(PackingError, match="not packed tokens"):
        packing.unpack_tokens(b"\xc1")


RELATED = Related(
    TokenValues(("a", None, "\ud800"), (1.5, None, -0.25)),
    WeightTokens(*(TokenValues((str(i),), (float(i),)) for i in range(4))),
    RelatedNeurons(NeuronWeights((NeuronId(3, 4),), (0.5,)), NeuronWeights((), ()), None, None),
)


def test_related_tokens_and_neurons_survive() -> None:
    assert packing.unpack_related(packing.pack_related(RELATED)) == RELATED
    assert packing.unpack_related(packing.pack_related(Related())) == Related()


def test_merging_related_parts_replaces_only_what_is_new() -> None:
    new = Related(tokens_by_activation=TokenValues(("b",), (2.0,)))
    merged = packing.merge_related(packing.pack_related(RELATED), packing.pack_related(new))
    assert packing.unpack_related(merged) == Related(
        new.tokens_by_activation, RELATED.tokens_by_weight, RELATED.neurons
    )


@steady
@given(st.lists(arrays(np.float64, st.integers(0, 9), elements=finite), max_size=4))
def test_packed_bytes_taken_apart_are_put_together_again(excerpts: list[np.ndarray]) -> None:
    records = packing.pack_records([PackedRecord(i, 0, values) for i, values in enumerate(excerpts)], (0.5,))
    assert packing.join_records(packing.split_records(records)) == records
    sequences = packing.pack_sequences(
        [PackedSequence(i, 0, v, v if i % 2 else None, Scores(None)) for i, v in enumerate(excerpts)]
    )
    assert packing.join_sequences(packing.split_sequences(sequences)) == sequences


def test_a_peak_holds_the_tokens_around_the_maximum() -> None:
    tokens = tuple(map(str, range(40)))
    activations = np.zeros(40)
    activations[20], activations[21], activations[22] = 2.0, 1.0, -5.0
    peak = packing.unpack_peak(packing.pack_peak(tokens, activations))
    assert [token for token, _ in peak] == [str(i) for i in range(9, 26)]
    assert dict(peak)["20"] == 10
    assert dict(peak)["21"] == 5
    assert dict(peak)["22"] == 0


def test_an_excerpt_without_tokens_has_no_peak() -> None:
    assert packing.pack_peak((), np.zeros(0)) == b""
    assert packing.unpack_peak(b"") == []


def test_a_record_of_64_tokens_takes_140_bytes() -> None:
    rng = np.random.default_rng(0)
    records = [PackedRecord(i, 0, rng.normal(0, 1, 64)) for i in range(300)]
    assert len(packing.pack_records(records, (0.0, 0.5, 0.9, 0.99, 0.999))) / 300 < 141


def test_neurons_packed_together_are_packed_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    neurons = [
        packing.RecordBatch(
            keys=[3, -4, 5][:count],
            kinds=[0, 1, 12][:count],
            lengths=np.array([4, 0, 7][:count], dtype=np.int64),
            # Beside the halves' range: what is kept exactly has its place counted from the neuron's own start.
            activations=rng.normal(size=sum([4, 0, 7][:count])) * 10.0 ** rng.integers(-40, 3, sum([4, 0, 7][:count])),
            quantile_boundaries=boundaries,
        )
        for count, boundaries in ((3, (0.5, 0.9)), (0, None), (1, ()), (3, None))
    ]
    assert packing.pack_record_batch(neurons) == [packing.pack_record_batch([neuron])[0] for neuron in neurons]


def test_simulations_packed_together_are_packed_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    simulations = [
        packing.SequenceTable(
            counts=[count],
            keys=[7, 8][:count],
            kinds=[0, 1][:count],
            lengths=np.array([3, 5][:count], dtype=np.int64),
            # Beside the halves' range: what is kept exactly has its place counted from the simulation's own start.
            simulated=rng.normal(size=8)[: sum([3, 5][:count])] * 10.0 ** rng.integers(-40, 3, sum([3, 5][:count])),
            has_real=np.array(has_real, dtype=np.bool_),
            real=rng.normal(size=int(np.dot([3, 5][:count], has_real))) * 1e-30,
            scores=rng.uniform(-1, 1, (count, 3)),
        )
        for count, has_real in ((2, (True, False)), (2, (False, False)), (0, ()), (1, (True,)), (2, (True, True)))
    ]
    table = packing.SequenceTable(
        counts=[count for s in simulations for count in s.counts],
        keys=[key for s in simulations for key in s.keys],
        kinds=[kind for s in simulations for kind in s.kinds],
        lengths=np.concatenate([s.lengths for s in simulations]),
        simulated=np.concatenate([s.simulated for s in simulations]),
        has_real=np.concatenate([s.has_real for s in simulations]),
        real=np.concatenate([s.real for s in simulations]),
        scores=np.concatenate([s.scores for s in simulations]),
    )
    together = packing.pack_sequence_table(table)
    assert together == [packing.pack_sequence_table(simulation)[0] for simulation in simulations]
    assert [[s.real is not None for s in packing.unpack_sequences(data)] for data in together] == [
        [True, False],
        [False, False],
        [],
        [True],
        [True, True],
    ]
