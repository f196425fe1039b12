"""Files read in pieces: the same as when they are read as a whole, however they are written or broken."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explanations.pipeline import dataset
from explanations.pipeline.array_cutting import CutError, Cutter
from explanations.pipeline.dataset import ExplanationColumns, RecordColumns
from explanations.pipeline.dataset_objects import RECORD_FILE, RESULTS_FILE, CutFile
from explanations.pipeline.excerpts import Excerpts
from explanations.pipeline.json_reading import BrokenFileError, decode
from explanations.pipeline.records import NeuronId

ID = NeuronId(5, 131)
CUTTER = Cutter("activations", alone="others")
# Tokens that look like the places where a file is cut.
TOKENS = st.sampled_from(
    ["a", "", "]", "[", "],", '"', '"tokens":[', '],"activations":[', '], "activations": [', "\\", "\ud800", "é", "\0"]
)
NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(-9, 9))
SCORES = st.one_of(st.none(), st.floats(-1, 1))
STYLES: list[dict[str, Any]] = [{"separators": (",", ":")}, {}, {"indent": 1}, {"separators": (" ,", ": ")}]


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    tokens = draw(st.lists(TOKENS, max_size=4))
    numbers = st.lists(NUMBERS, min_size=len(tokens), max_size=len(tokens))
    record = {"tokens": tokens, "activations": draw(numbers), "dataclass_name": "ActivationRecord"}
    names = draw(st.permutations(list(record)))
    return {name: record[name] for name in names}


@st.composite
def record_files(draw: st.DrawFn) -> bytes:
    lists = st.lists(records(), max_size=3)
    content = {
        "neuron_id": {"layer_index": 5, "neuron_index": 131},
        "random_sample": draw(lists),
        "random_sample_by_quantile": draw(st.one_of(st.none(), st.lists(lists, max_size=2))),
        "most_positive_activation_records": draw(lists),
        "mean": draw(st.sampled_from([None, 0.5, float("nan")])),
        "unknown": draw(st.one_of(st.none(), records())),
    }
    return json.dumps(content, **draw(st.sampled_from(STYLES))).encode()


@st.composite
def results_files(draw: st.DrawFn) -> bytes:
    sequences = []
    for record in draw(st.lists(records(), max_size=3)):
        simulation = {"tokens": record["tokens"], "expected_activations": record["activations"]}
        scored = {"simulation": simulation, "true_activations": record["activations"], "ev_correlation_score": None}
        sequences.append({name: scored[name] for name in draw(st.permutations(list(scored)))})
    simulation = {"scored_sequence_simulations": sequences, "ev_correlation_score": draw(SCORES)}
    content = {
        "neuron_id": {"layer_index": 5, "neuron_index": 131},
        "scored_explanations": [{"explanation": draw(TOKENS), "scored_simulation": simulation}],
    }
    return json.dumps(content, **draw(st.sampled_from(STYLES))).encode()


@st.composite
def broken(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    """Draw a file with some bytes left out, and others in their place."""
    data = draw(files)
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 12)))
    pieces = [b"", b"]", b"[", b'"', b",", b"0", b"{}", b'"tokens":[', b'],"activations":[', b"null", b"\xff", b"\\"]
    return data[:start] + draw(st.sampled_from(pieces)) + data[end:]


def plain(columns: Any) -> Any:
    if isinstance(columns, np.ndarray):
        return columns.tolist()
    if isinstance(columns, RecordColumns | ExplanationColumns | dataset.SimulationColumns):
        return [plain(getattr(columns, name)) for name in columns.__dataclass_fields__]
    return [plain(item) for item in columns] if isinstance(columns, list) else columns


def outcome(read: Any, data: bytes) -> Any:
    """Return what is read, or why not."""
    try:
        return plain(read(data, ID, Excerpts()))
    except BrokenFileError as error:
        return str(error)


def outcome_of_the_whole(read: Any, file: CutFile[Any], data: bytes) -> Any:
    """Return the same of a file that is decoded as a whole first."""
    try:
        return outcome(read, msgspec.json.encode(decode(file._whole, data)))
    except BrokenFileError as error:
        return str(error)


@settings(max_examples=300)
@given(data=st.one_of(record_files(), broken(record_files())))
def test_records_are_read_as_the_whole_is(data: bytes) -> None:
    assert outcome(dataset.decode_record, data) == outcome_of_the_whole(dataset.decode_record, RECORD_FILE, data)


@settings(max_examples=300)
@given(data=st.one_of(results_files(), broken(results_files())))
def test_explanations_are_read_as_the_whole_is(data: bytes) -> None:
    read = dataset.decode_explanations
    assert outcome(read, data) == outcome_of_the_whole(read, RESULTS_FILE, data)


@pytest.mark.parametrize("style", STYLES[:2])
def test_the_usual_styles_are_cut(style: dict[str, Any]) -> None:
    content = {"a": [{"tokens": ["x", "],"], "activations": [1, 2.5], "b": 7}], "others": [3], "c": "d"}
    skeleton, arrays = CUTTER.cut(json.dumps(content, **style).encode())
    assert json.loads(skeleton) == {"a": [{"tokens": 0, "activations": 0, "b": 7}], "others": 0, "c": "d"}
    assert [json.loads(b"[%b]" % text) for text in arrays.take_tokens([0])] == [["x", "],"]]
    beside, lengths = arrays.take_beside([0])
    assert (beside.tolist(), lengths) == ([1.0, 2.5], [2])
    assert arrays.take_alone([0])[0].tolist() == [3.0]
    arrays.check_taken()


@pytest.mark.parametrize("numbers", ["null", '"1"', "true", "{}", "1,,2", "1e999", "NaN", "1" * 30, "1 2", "01"])
def test_what_is_no_number_is_refused(numbers: str) -> None:
    _, arrays = CUTTER.cut(b'{"others":[%b]}' % numbers.encode())
    with pytest.raises(CutError, match="numbers cannot be read"):
        arrays.take_alone([0])


def test_a_place_that_is_a_number_of_the_file_is_refused() -> None:
    data = b'{"a":{"tokens":0,"activations":0},"b":{"tokens":["x"],"activations":[1]}}'
    skeleton, arrays = CUTTER.cut(data)
    assert json.loads(skeleton) == {"a": {"tokens": 0, "activations": 0}, "b": {"tokens": 0, "activations": 0}}
    arrays.take_tokens([0])
    arrays.take_beside([0])
    arrays.take_tokens([0])
    with pytest.raises(CutError, match="more than one"):
        arrays.check_taken()
    with pytest.raises(CutError, match="has no array"):
        arrays.take_tokens([1])


def test_numbers_alone_that_recur_are_read_once() -> None:
    content = [{"others": [1, 2]}, {"others": [3]}, {"others": [1, 2]}, {"others": [1, 2]}]
    _, arrays = CUTTER.cut(json.dumps(content).encode())
    read = [arrays.take_alone([place]) for place in range(4)]
    assert [(numbers.tolist(), lengths) for numbers, lengths in read] == [
        *(([1.0, 2.0], [2]), ([3.0], [1]), ([1.0, 2.0], [2]), ([1.0, 2.0], [2])),
    ]
    assert read[3][0] is read[2][0]
    arrays.check_taken()
