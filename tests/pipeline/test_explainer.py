from __future__ import annotations

import numpy as np
import pytest

from explanations.pipeline.explainer import EXPLAINERS, ExplanationError, TokenLookupExplainer, readable_token
from explanations.pipeline.records import ActivationRecord, Split, split_top
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.pipeline.real_baseline import PUBLISHED, Published


def record(**activations: float) -> ActivationRecord:
    return ActivationRecord(tuple(activations), np.array(list(activations.values())))


def test_it_names_the_three_strongest_tokens_by_mean_the_first_met_of_equals() -> None:
    records = [record(a=1.0, b=9.0, c=2.0, d=2.0), record(b=-9.0, e=4.5, a=3.0)]
    # Means: a 2, b 4.5 (a negative activation counts as 0), c 2, d 2, e 4.5.
    assert TokenLookupExplainer().explain(records).text == "tokens such as 'b', 'e', 'a'"


def test_it_names_fewer_where_fewer_tokens_are_active() -> None:
    assert TokenLookupExplainer().explain([record(a=1.0, b=0.0, c=-1.0)]).text == "tokens such as 'a'"


@pytest.mark.parametrize("records", [[], [record(a=0.0, b=-2.0)]])
def test_a_neuron_that_is_never_positive_has_no_baseline_explanation(records: list[ActivationRecord]) -> None:
    with pytest.raises(ExplanationError, match=f"not positive at any token of the {len(records)} train excerpts"):
        TokenLookupExplainer().explain(records)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: str(case.record.neuron_id))
def test_it_says_what_the_published_baseline_says(case: Published) -> None:
    assert EXPLAINERS[TOKEN_LOOKUP].explain(split_top(case.record, Split.TRAIN)).text == case.explanation


@pytest.mark.parametrize(
    ("token", "readable"),
    [
        (" the", " the"),
        ("\n", r"\n"),
        (" \t\r\n", r" \t\r\n"),
        ("\0", r"\x00"),
        ("\xa0", r"\xa0"),
        ("\u202e", r"\u202e"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("\ufffd", "\ufffd"),
        ("é漢", "é漢"),
        ("", ""),
        ("<script>", "<script>"),
    ],
)
def test_invisible_characters_are_made_readable(token: str, readable: str) -> None:
    assert readable_token(token) == readable
    assert readable_token(token).isprintable()


def test_every_explainer_goes_by_its_name_and_describes_itself_in_a_line() -> None:
    for name, explainer in EXPLAINERS.items():
        assert explainer.name == name
        assert explainer.description.endswith(".")
        assert explainer.cost
