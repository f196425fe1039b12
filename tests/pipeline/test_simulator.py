from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanations.pipeline.records import ActivationRecord, Split, split_records, split_top
from explanations.pipeline.simulator import SIMULATORS, TokenLookupSimulator
from explanations.pipeline.token_lookup import TOKEN_LOOKUP, fit_table
from tests.pipeline.real_baseline import PUBLISHED, Published


def record(tokens: str, activations: list[float]) -> ActivationRecord:
    return ActivationRecord(tuple(tokens), np.array(activations))


def test_a_token_does_what_it_did_on_average_and_one_never_seen_nothing() -> None:
    simulate = TokenLookupSimulator().fit([record("abca", [1, 4, -7, 3]), record("bd", [0, 0.5])])
    # Means: a 2, b 2, c 0 (a negative activation counts as 0), d 0.5; the largest is put at 10.
    assert simulate("whatever it says", tuple("abcdea")).values.tolist() == [10.0, 10.0, 0.0, 2.5, 0.0, 10.0]


def test_it_never_reads_the_explanation() -> None:
    simulate = TokenLookupSimulator().fit([record("ab", [1, 2])])
    assert simulate("one", ("a", "b")).values.tolist() == simulate("another", ("a", "b")).values.tolist()


@pytest.mark.parametrize("activations", [[0.0, 0.0], [-1.0, -2.0]])
def test_a_neuron_that_is_never_positive_is_simulated_as_silent(activations: list[float]) -> None:
    simulate = TokenLookupSimulator().fit([record("ab", activations)])
    assert simulate("", ("a", "b", "c")).values.tolist() == [0.0, 0.0, 0.0]


def test_an_excerpt_without_tokens_has_no_values() -> None:
    assert TokenLookupSimulator().fit([])("", ()).values.shape == (0,)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case.record.neuron_id))
def test_it_predicts_the_published_baseline_digit_for_digit(case: Published) -> None:
    simulate = SIMULATORS[TOKEN_LOOKUP].fit(split_top(case.record, Split.TRAIN))
    excerpts = [excerpt for _, excerpt in split_records(case.record, Split.VALID)]
    assert [simulate("", excerpt.tokens).values.tolist() for excerpt in excerpts] == case.simulated


excerpts = st.lists(
    st.lists(st.tuples(st.sampled_from("abcde"), st.floats(-100, 100).map(lambda x: round(x, 3))), min_size=1),
    min_size=1,
    max_size=5,
).map(lambda rows: [record("".join(t for t, _ in row), [a for _, a in row]) for row in rows])


@given(excerpts)
def test_values_lie_between_nothing_and_ten_and_the_strongest_token_is_at_ten(records: list[ActivationRecord]) -> None:
    table = fit_table(records)
    assert all(0 <= value <= 10 for value in table.values.values())
    if max(r.activations.max() for r in records) > 0:
        assert table.values[table.strongest(1)[0]] == 10
    else:
        assert table.strongest(1) == []


def test_every_simulator_goes_by_its_name_and_describes_itself_in_a_line() -> None:
    for name, simulator in SIMULATORS.items():
        assert simulator.name == name
        assert simulator.description.endswith(".")
        assert simulator.cost
