"""The public files: what is read, what is refused and why, and that what is written reads back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explanations.pipeline import dataset, dataset_encoding
from explanations.pipeline.excerpts import Excerpts
from explanations.pipeline.json_reading import BrokenFileError
from explanations.pipeline.layout import ALL_KINDS, DataKind, FolderSource, NoDatasetError
from explanations.pipeline.records import (
    NEURON_SCALE,
    NORMALISED_SCALE,
    Kind,
    NeuronId,
    NeuronRecord,
    NeuronWeights,
    RelatedNeurons,
    ScoredExplanation,
    Split,
    TokenValues,
    WeightTokens,
    split_records,
)
from tests.world import HOSTILE, make_record, make_simulation

ID = NeuronId(5, 131)
HOSTILE_TOKENS = [
    HOSTILE,
    "\0",
    "\ud800",
    "",
    "\r\n",
    "\t",
    "\ufffd",
    "\u202e",
    "😀",
    '"',
    "\\",
    "NaN",
    '":NaN',
    "Infinity",
]


def plain(item: Any) -> Any:
    """Return records with lists instead of arrays, so that they can be compared."""
    if isinstance(item, np.ndarray):
        return item.tolist()
    if hasattr(item, "__dataclass_fields__"):
        return {name: plain(getattr(item, name)) for name in item.__dataclass_fields__}
    return [plain(part) for part in item] if isinstance(item, list | tuple) else item


def encoded(record: NeuronRecord | None = None) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(dataset_encoding.encode_record(record or make_record(ID)))
    return content


def decode(content: Any) -> NeuronRecord:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return dataset.decode_record(data, ID, Excerpts()).to_record()


def small(**changes: Any) -> dict[str, Any]:
    """Return a file with one top excerpt of two tokens."""
    return {
        "neuron_id": {"layer_index": 5, "neuron_index": 131},
        "random_sample": [],
        "most_positive_activation_records": [{"tokens": ["a", "b"], "activations": [1.0, 2.0]}],
        **changes,
    }


def simulated(**changes: Any) -> dict[str, Any]:
    """Return a scored sequence of two tokens."""
    simulation = {"tokens": ["a", "b"], "expected_activations": [0, 10.0], "activation_scale": NORMALISED_SCALE}
    scores = {"ev_correlation_score": 0.5, "rsquared_score": -1.0, "absolute_dev_explained_score": None}
    return {"simulation": simulation, "true_activations": [1.0, 2.0], **scores, **changes}


def results(*sequences: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a file of one explanation."""
    scored = {"scored_sequence_simulations": list(sequences), "ev_correlation_score": 0.25, **changes}
    return {
        "neuron_id": {"layer_index": 5, "neuron_index": 131},
        "scored_explanations": [{"explanation": "days", "scored_simulation": scored}],
    }


def decode_results(content: Any) -> list[dataset.ExplanationColumns]:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return dataset.decode_explanations(data, ID, Excerpts())


# Activations


@pytest.mark.parametrize("vocabulary", [None, HOSTILE_TOKENS])
def test_a_record_that_is_written_reads_back(vocabulary: list[str] | None) -> None:
    record = make_record(ID, vocabulary) if vocabulary else make_record(ID)
    assert plain(decode(dataset_encoding.encode_record(record))) == plain(record)


def test_the_lowest_excerpts_read_back_last() -> None:
    record = make_record(ID)
    record = replace(record, bottom=record.random[:3])
    found = decode(dataset_encoding.encode_record(record))
    assert plain(found) == plain(record)
    assert [kind for kind, _ in found.labelled()][-4:] == [Kind.QUANTILE + 3, *[Kind.BOTTOM] * 3]
    assert "most_negative_activation_records" not in encoded()


def test_objects_without_their_class_names_are_read() -> None:
    def strip(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: strip(value) for key, value in item.items() if key != "dataclass_name"}
        return [strip(part) for part in item] if isinstance(item, list) else item

    content = encoded()
    assert content["dataclass_name"] == "NeuronRecord"
    assert plain(decode(strip(content))) == plain(decode(content))


@pytest.mark.parametrize(
    "neuron_id",
    [
        {"layer_index": 5, "neuron_index": 131},
        {"layer_index": "5", "neuron_index": 131},
        {"layer": 5, "idx": 131},
        {"layer": "5", "neuron_index": 131, "dataclass_name": "NeuronId"},
    ],
)
def test_old_and_new_names_of_a_neuron_id_are_read(neuron_id: dict[str, Any]) -> None:
    assert decode(small(neuron_id=neuron_id)).neuron_id == ID


def test_quantiles_and_moments_may_be_null_or_absent() -> None:
    absent = decode(small())
    null = decode(small(random_sample_by_quantile=None, quantile_boundaries=None, mean=None, kurtosis=None))
    assert plain(absent) == plain(null)
    assert (absent.by_quantile, absent.quantile_boundaries, absent.mean) == ((), None, None)


@pytest.mark.parametrize("bare", ["NaN", "Infinity", "-Infinity"])
def test_a_moment_that_is_not_finite_is_undefined(bare: str) -> None:
    data = json.dumps(small(mean=1.5, kurtosis="HERE")).replace('"HERE"', bare).encode()
    record = decode(data)
    assert (record.mean, record.kurtosis) == (1.5, None)


def test_tokens_that_look_like_numbers_that_are_not_finite_survive_beside_real_ones() -> None:
    tokens = ['score":NaN', "NaN", '"mean": Infinity', '\\":NaN']
    excerpt = {"tokens": tokens, "activations": [1, 2, 3, 4]}
    data = json.dumps(small(most_positive_activation_records=[excerpt], mean="HERE")).replace('"HERE"', "NaN")
    assert decode(data.encode()).top[0].tokens == tuple(tokens)


def test_lone_surrogates_survive_beside_bare_nan() -> None:
    excerpt = {"tokens": ["\ud800", "\udfff x", "\0"], "activations": [1, 2, 3]}
    data = json.dumps(small(random_sample=[excerpt], mean="HERE")).replace('"HERE"', "NaN")
    assert decode(data.encode()).random[0].tokens == ("\ud800", "\udfff x", "\0")


def test_whole_numbers_and_empty_excerpts_are_read() -> None:
    record = decode(small(random_sample=[{"tokens": [], "activations": []}, {"tokens": ["x"], "activations": [3]}]))
    assert [len(r.tokens) for r in record.random] == [0, 1]
    assert record.random[1].activations.tolist() == [3.0]


def test_an_excerpt_that_recurs_is_decoded_once() -> None:
    excerpts = Excerpts()
    data = json.dumps(small()).encode()
    first = dataset.decode_record(data, ID, excerpts).excerpts[0]
    assert dataset.decode_record(data, ID, excerpts).excerpts[0] is first


def test_excerpts_that_never_recur_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Excerpts, "LIMIT", 3)
    excerpts = Excerpts()
    for i in range(10):
        assert excerpts[b'"%d"' % i].tokens == (str(i),)
    assert len(excerpts) <= 3


BROKEN_RECORDS = {
    "empty": (b"", "truncated"),
    "cut": (json.dumps(small()).encode()[:-20], "truncated"),
    "not JSON": (b"<html>404</html>", "bad JSON"),
    "two documents": (b"{}{}", "not of the expected form|bad JSON"),
    "not UTF-8": (json.dumps(small()).encode().replace(b'"a"', b'"\xff"'), "text|bad JSON"),
    "a list": (b"[]", "not of the expected form"),
    "nested deeply": (b'{"x":' + b"[" * 100_000, "nested too deeply|truncated"),
    "no records": (
        json.dumps({"neuron_id": {"layer_index": 5, "neuron_index": 131}}).encode(),
        "missing required field",
    ),
    "another neuron": (small(neuron_id={"layer_index": 5, "neuron_index": 132}), "it is of neuron 5:132, not of 5:131"),
    "another layer": (small(neuron_id={"layer_index": "05", "neuron_index": 131}), "it is of neuron 05:131"),
    "no neuron": (small(neuron_id={}), "names no layer and neuron"),
    "too few activations": (
        small(random_sample=[{"tokens": ["a", "b"], "activations": [1.0]}]),
        "excerpt 1 has 2 tokens but 1 activations",
    ),
    "too many activations": (
        small(random_sample=[{"tokens": ["a"], "activations": [1.0, 2.0]}]),
        "excerpt 1 has 1 tokens but 2 activations",
    ),
    "null activation": (small(random_sample=[{"tokens": ["a"], "activations": [None]}]), "got `null`"),
    "text activation": (small(random_sample=[{"tokens": ["a"], "activations": ["1"]}]), "got `str`"),
    "boolean activation": (small(random_sample=[{"tokens": ["a"], "activations": [True]}]), "got `bool`"),
    "huge activation": (json.dumps(small()).encode().replace(b"2.0", b"1e999"), "out of range"),
    "NaN activation": (json.dumps(small()).encode().replace(b"2.0", b"NaN"), "a number must be - at"),
    "infinite activation": (
        json.dumps(small()).encode().replace(b"2.0", b"-Infinity"),
        "NaN or Infinity where a number must be",
    ),
    "NaN boundary": (
        json.dumps(small(quantile_boundaries=["HERE"])).encode().replace(b'"HERE"', b"NaN"),
        "NaN or Infinity where a number must be",
    ),
    "null token": (small(random_sample=[{"tokens": [None], "activations": [1.0]}]), "a token is null"),
    "number token": (small(random_sample=[{"tokens": [7], "activations": [1.0]}]), "not a list of texts"),
    "no token list": (small(random_sample=[{"tokens": "a", "activations": [1.0]}]), "not a list of texts"),
    "token object": (small(random_sample=[{"tokens": {"a": "b"}, "activations": [1.0]}]), "not a list of texts"),
    "tokens of objects": (small(random_sample=[{"tokens": [{"a": 1}], "activations": [1]}]), "not a list of texts"),
    "hidden tokens": (small(random_sample=[{"tokens": [{"json": "{"}], "activations": [1]}]), "cannot be decoded"),
    "too many tokens": (
        small(random_sample=[{"tokens": ["a"] * 65536, "activations": [0] * 65536}]),
        "65536 tokens; at most 65535",
    ),
    "too many quantiles": (small(random_sample_by_quantile=[[]] * 201), "more than 200 quantile ranges"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_RECORDS.values(), ids=BROKEN_RECORDS.keys())
def test_a_broken_record_is_refused_with_the_reason(content: Any, reason: str) -> None:
    with pytest.raises(BrokenFileError, match=reason):
        decode(content)


@pytest.mark.parametrize("length", range(0, 300, 7))
def test_a_record_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(BrokenFileError):
        decode(json.dumps(small()).encode()[: min(length, len(json.dumps(small())) - 1)])


# Explanations


@pytest.mark.parametrize("vocabulary", [None, HOSTILE_TOKENS])
def test_explanations_that_are_written_read_back(vocabulary: list[str] | None) -> None:
    record = make_record(ID, vocabulary) if vocabulary else make_record(ID)
    given = [
        ScoredExplanation(HOSTILE, make_simulation(record, 0.4, "")),
        ScoredExplanation("\ud800 half of a character, and \0", make_simulation(record, None, "")),
        ScoredExplanation("nobody simulated it", None),
    ]
    kinds = [kind for kind, _ in split_records(record, Split.VALID)]
    read = [e.to_scored(kinds) for e in decode_results(dataset_encoding.encode_explanations(ID, given))]
    without_names = [plain(e) for e in given]
    for item in without_names[:2]:
        item["simulation"]["top_only"] = None
    assert [plain(e) for e in read] == without_names


def test_the_file_is_one_line() -> None:
    data = dataset_encoding.encode_explanations(ID, [ScoredExplanation("a\nb", None)])
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")


def test_old_names_of_all_fields_are_read() -> None:
    sequence = simulated(response={"choices": []})
    old_simulation = {"tokens": ["a", "b"], "expected_activations": [0, 10.0], "unit": NEURON_SCALE}
    old_sequence = {key: value for key, value in sequence.items() if key != "simulation"}
    old_sequence["sequence_simulation"] = old_simulation | {"response": "dropped"}
    old = {
        "neuron_id": {"layer": "5", "idx": 131},
        "scored_explanation_or_baseline_list": [
            {
                "explanation_or_baseline": "days",
                "scored_simulation": {"scored_sequence_simulations": [old_sequence], "ev_correlation_score": 0.25},
            }
        ],
    }
    [explanation] = decode_results(old)
    assert explanation.text == "days"
    assert explanation.simulation is not None
    assert explanation.simulation.scale == NEURON_SCALE
    assert explanation.simulation.simulated.tolist() == [0.0, 10.0]
    assert explanation.simulation.scores.ev_correlation == 0.25


@pytest.mark.parametrize("bare", ["NaN", "null"])
def test_an_undefined_score_is_none_and_never_zero(bare: str) -> None:
    content = results(simulated(ev_correlation_score="HERE"), ev_correlation_score="HERE", rsquared_score="HERE")
    [explanation] = decode_results(json.dumps(content).replace('"HERE"', bare).encode())
    scored = explanation.to_scored([Kind.TOP]).simulation
    assert scored is not None
    assert scored.scores.ev_correlation is None
    assert scored.scores.rsquared is None
    assert scored.sequences[0].scores.ev_correlation is None
    assert scored.sequences[0].scores.rsquared == -1.0


def test_a_correlation_may_lie_a_rounding_error_beyond_one() -> None:
    [explanation] = decode_results(results(simulated(), ev_correlation_score=1.0000005))
    assert explanation.simulation is not None
    assert explanation.simulation.scores.ev_correlation == 1.0000005


def test_an_infinite_rsquared_is_undefined() -> None:
    data = json.dumps(results(simulated(), rsquared_score="HERE")).replace('"HERE"', "-Infinity").encode()
    [explanation] = decode_results(data)
    assert explanation.simulation is not None
    assert explanation.simulation.scores.rsquared is None


def simulation_with(**changes: Any) -> dict[str, Any]:
    return simulated()["simulation"] | changes  # type: ignore[no-any-return]


BROKEN_RESULTS = {
    "cut": (json.dumps(results(simulated())).encode()[:-9], "truncated"),
    "another neuron": (results() | {"neuron_id": {"layer": 5, "idx": 1}}, "it is of neuron 5:1, not of 5:131"),
    "two lines": (json.dumps(results()).encode() + b"\n" + json.dumps(results()).encode(), "bad JSON: trailing"),
    "no list": ({"neuron_id": {"layer": 5, "idx": 131}}, "no scored_explanations"),
    "empty text": (
        results() | {"scored_explanations": [{"explanation": "", "scored_simulation": None}]},
        "an explanation has no text",
    ),
    "no text": (results() | {"scored_explanations": [{"scored_simulation": None}]}, "an explanation has no text"),
    "text of numbers": (
        results() | {"scored_explanations": [{"explanation": 7, "scored_simulation": None}]},
        "an explanation has no text",
    ),
    "too few simulated": (
        results(simulated(simulation=simulation_with(expected_activations=[1.0]))),
        "excerpt 0 has 2 tokens but 1 simulated activations",
    ),
    "too few true": (results(simulated(true_activations=[1.0])), "excerpt 0 has 2 tokens but 1 true activations"),
    "no simulation": (
        results({"true_activations": [1.0]}),
        "a scored sequence has no simulation",
    ),
    "unknown scale": (results(simulated(simulation=simulation_with(activation_scale="volts"))), "Invalid enum value"),
    "two scales": (
        results(simulated(), simulated(simulation=simulation_with(activation_scale=NEURON_SCALE))),
        "different activation scales",
    ),
    "score above one": (results(simulated(), ev_correlation_score=1.01), "an ev_correlation_score is 1.01"),
    "score below minus one": (results(simulated(ev_correlation_score=-2)), "an ev_correlation_score is -2"),
    "infinite score": (
        json.dumps(results(simulated(ev_correlation_score="HERE"))).replace('"HERE"', "Infinity").encode(),
        "an ev_correlation_score is infinite",
    ),
    "NaN simulated": (
        json.dumps(results(simulated())).replace("10.0", "NaN").encode(),
        "NaN or Infinity where a number must be",
    ),
    "NaN true": (
        json.dumps(results(simulated(true_activations=[1.0, float("nan")]))).encode(),
        "NaN or Infinity where a number must be",
    ),
    "too many": (
        results() | {"scored_explanations": [{"explanation": "a", "scored_simulation": None}] * 1001},
        "1001 explanations of one neuron",
    ),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_RESULTS.values(), ids=BROKEN_RESULTS.keys())
def test_broken_explanations_are_refused_with_the_reason(content: Any, reason: str) -> None:
    with pytest.raises(BrokenFileError, match=reason):
        decode_results(content)


# Related tokens and neurons

PAIR = TokenValues(("a", None, "\ud800", "\0"), (1.5, None, -0.25, 0.0))
SIDE = NeuronWeights((NeuronId(0, 1), NeuronId(47, 6399)), (0.5, -0.25))


def test_related_files_that_are_written_read_back() -> None:
    weights = WeightTokens(PAIR, TokenValues((), ()), PAIR, PAIR)
    neurons = RelatedNeurons(None, None, SIDE, NeuronWeights((), ()))
    assert dataset.decode_tokens_by_activation(dataset_encoding.encode_tokens_by_activation(PAIR)) == PAIR
    assert dataset.decode_tokens_by_weight(dataset_encoding.encode_tokens_by_weight(weights)) == weights
    assert dataset.decode_related_neurons(dataset_encoding.encode_related_neurons(neurons)) == neurons


def test_an_average_that_is_nan_is_left_empty() -> None:
    read = dataset.decode_tokens_by_activation(b'{"tokens":["a","b"],"average_activations":[NaN,1]}')
    assert read == TokenValues(("a", "b"), (None, 1.0))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"tokens":["a"],"average_activations":[]}', "1 tokens but 0 values"),
        (b'{"tokens":["a"],"average_activations":[1e39]}', "out of range"),
        (b'{"tokens":["a","b"],"average_activations":[null,-1e39]}', "out of range"),
        (b'{"tokens":["a"]', "truncated"),
        (b'{"tokens":[3],"average_activations":[1]}', "not a list of texts"),
        (b"{}", "missing required field"),
    ],
)
def test_broken_related_tokens_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BrokenFileError, match=reason):
        dataset.decode_tokens_by_activation(data)


@pytest.mark.parametrize("name", ["", "3", "3_", "_3", "-1_3", "3_-1", "3_4_5", "٣_4", "03_4", "3_99999999999", "x_y"])
def test_a_related_neuron_that_is_none_is_refused(name: str) -> None:
    side = {"top_positive_neurons": [name], "top_positive_weights": [1.0]}
    side |= {"top_negative_neurons": [], "top_negative_weights": []}
    with pytest.raises(BrokenFileError, match="not a related neuron"):
        dataset.decode_related_neurons(json.dumps({"c_fc": side, "c_proj": None}).encode())


def test_related_neurons_and_weights_are_as_many() -> None:
    side = {"top_positive_neurons": ["1_2"], "top_positive_weights": []}
    side |= {"top_negative_neurons": [], "top_negative_weights": []}
    with pytest.raises(BrokenFileError, match="1 related neurons but 0 weights"):
        dataset.decode_related_neurons(json.dumps({"c_fc": side}).encode())


# Where files lie


@pytest.mark.parametrize("prefix", ["", "data", "gpt2_small_data"])
def test_every_layout_is_found(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / prefix / "collated-activations" / "3" / "14.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}")
    for noise in ("notes.txt", "014.json", "x.json", "14.json.part"):
        (path.parent / noise).write_bytes(b"")
    source = FolderSource.open(tmp_path)
    assert list(source.neurons(DataKind.ACTIVATIONS)) == [NeuronId(3, 14)]
    assert list(source.neurons(DataKind.EXPLANATIONS)) == []
    assert source.read(DataKind.ACTIVATIONS.path(NeuronId(3, 14))) == b"{}"
    assert source.read(DataKind.ACTIVATIONS.path(NeuronId(3, 15))) is None


def test_the_paths_are_those_of_the_public_layout() -> None:
    assert [kind.path(NeuronId(5, 131)) for kind in ALL_KINDS] == [
        "collated-activations/5/131.json",
        "explanations/5/131.jsonl",
        "related-neurons/weight-based/5/131.json",
        "related-tokens/activation-based/5/131.json",
        "related-tokens/weight-based/5/131.json",
    ]


def test_a_folder_that_holds_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path, "holds no dataset"),
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "absent", "is not there"),
    ]:
        with pytest.raises(NoDatasetError, match=reason):
            FolderSource.open(path)


def test_a_folder_that_holds_two_datasets_is_refused(tmp_path: Path) -> None:
    for prefix in ("data", "gpt2_small_data"):
        (tmp_path / prefix / "explanations").mkdir(parents=True)
    with pytest.raises(NoDatasetError, match=r"name the one you mean: .*data or .*gpt2_small_data"):
        FolderSource.open(tmp_path)
    assert FolderSource.open(tmp_path / "data").root == tmp_path / "data"
