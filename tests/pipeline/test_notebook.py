"""What docs/pipeline.md promises to a notebook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import explanations.pipeline as pipeline
from explanations.pipeline.dataset_encoding import encode_record
from explanations.pipeline.json_reading import BrokenFileError
from tests.pipeline.fake_model import FakeModel, by_token
from tests.pipeline.test_run_plans import RECORD

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pipeline.md"


def write_neuron(folder: Path) -> Path:
    path = folder / "collated-activations" / "3" / "7.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode_record(RECORD))
    return path


def test_the_ten_lines_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = FakeModel(["cats", "dogs", "pets", "cats"], expect=by_token({" cat": {"9": 1.0}}))
    monkeypatch.setattr(pipeline, "load_local", lambda _path: model)
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    code = code.replace("data/collated-activations/12/345.json", str(write_neuron(tmp_path)))
    # The likelihood ratio needs a model that tells each token's own probability; this one tells levels.
    exec(compile(code.replace("likelihood ratio", "all at once"), str(PAGE), "exec"), {})
    written = capsys.readouterr().out
    assert written.startswith("cats 0.978")
    assert "10 of 10 excerpts" in written
    assert len([line for line in code.splitlines() if line.strip()]) <= 11


def test_a_neuron_is_read_from_a_file_of_the_public_dataset(tmp_path: Path) -> None:
    found = pipeline.read_neuron(write_neuron(tmp_path))
    assert found.neuron_id == RECORD.neuron_id
    assert [r.tokens for r in found.top] == [r.tokens for r in RECORD.top]
    assert found.random[0].activations.tolist() == RECORD.random[0].activations.tolist()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("3/seven.json", "{}", "a neuron's file is named layer/neuron.json"),
        ("3/7.json", "not JSON", "3/7.json: "),
        ("4/7.json", None, "it is of neuron 3:7, not of 4:7"),
    ],
)
def test_a_file_that_holds_no_neuron_is_named(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    path.write_bytes(encode_record(RECORD) if text is None else text.encode())
    with pytest.raises(BrokenFileError, match=reason):
        pipeline.read_neuron(path)
