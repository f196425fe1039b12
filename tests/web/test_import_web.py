"""`manage.py import_dataset` from a web address: the same rows as from a folder, and nothing asked for twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import CommandParser

from explanations.importing.gaps import Gaps
from explanations.management import downloads
from explanations.management.commands.import_dataset import Command
from explanations.models import ActivationSet, Explanation, LayerGaps, Neuron, SubjectModel
from explanations.pipeline.layout import DataKind
from explanations.pipeline.number_ranges import gather, spread
from explanations.pipeline.records import NeuronId
from tests import dataset_server
from tests.dataset_server import DatasetServer, serve
from tests.public_files import NEURONS, edit_json, write_dataset
from tests.web.test_import_dataset import dump, summary

pytestmark = pytest.mark.django_db

A0, E0 = (kind.path(NeuronId(0, 0)) for kind in (DataKind.ACTIVATIONS, DataKind.EXPLANATIONS))
SHAPE = {"layers": "0-1", "neurons": "0-1"}


@pytest.fixture(autouse=True)
def _own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DatasetServer]:
    with serve(write_dataset(tmp_path / "dataset")) as running:
        yield running


def run(server: DatasetServer, **options: Any) -> str:
    """Import into model “tiny” and return what was said."""
    out = StringIO()
    call_command("import_dataset", server.url, **{"model": "tiny", **SHAPE, **options}, stdout=out)
    return out.getvalue()


def rows() -> dict[str, list[dict[str, Any]]]:
    """Return the app's rows without what tells one source from another, and without keys and times."""
    tables = dump()
    del tables["LayerGaps"]
    varying = {"created_at", "statistics_at", "data_address"}
    return {
        name: [{k: v for k, v in row.items() if k not in varying} for row in table] for name, table in tables.items()
    }


def test_the_rows_are_those_of_the_folder(server: DatasetServer) -> None:
    run(server)
    from_web = rows()
    SubjectModel.objects.all().delete()
    call_command("import_dataset", str(server.root), model="tiny", stdout=StringIO())
    from_folder = rows()
    for name, table in from_folder.items():
        assert len(table) == len(from_web[name])
    texts = [row["text"] for row in from_web["Explanation"]]
    assert texts == [row["text"] for row in from_folder["Explanation"]]
    kept = [row["data"] for row in from_web["ActivationSet"]]
    assert kept == [row["data"] for row in from_folder["ActivationSet"]]


def test_nothing_is_left_of_what_was_fetched(server: DatasetServer, settings: Any) -> None:
    run(server)
    assert list((settings.DATA_DIR / "downloads").iterdir()) == []


def test_what_a_killed_run_left_is_removed(settings: Any) -> None:
    left = settings.DATA_DIR / "downloads" / "left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    with downloads.downloads_folder() as mine, downloads.downloads_folder() as other:
        assert not left.exists()
        assert mine.exists()
        assert other.exists()


def test_what_is_stored_is_not_asked_for_again(server: DatasetServer) -> None:
    run(server)
    before = dump()
    server.asked.clear()
    said = run(server)
    assert "0 files of 0 neurons to fetch; 15 stored already, 5 known to be missing" in said
    # One file of each kind shows that the dataset is there.
    assert sum(count for path, count in server.asked.items() if "data/" not in path) == 5
    assert dump() == before


def test_only_the_kinds_that_lack_are_fetched(server: DatasetServer) -> None:
    run(server, kinds="explanations,related-tokens-by-weight")
    said = run(server)
    assert "12 files of 4 neurons to fetch; 6 stored already, 2 known to be missing" in said
    assert ActivationSet.objects.count() == 3
    assert Explanation.objects.count() == 6
    assert Neuron.objects.get(layer=0, index=0).headline_score == 0.7


def test_missing_files_are_recorded_and_asked_for_only_when_told(server: DatasetServer) -> None:
    (server.root / E0).rename(server.root / "aside")
    said = run(server)
    assert "missing files (gaps): 6" in said
    gaps = {(g.layer, g.kind): g.ranges for g in LayerGaps.objects.filter(source=server.url)}
    assert gaps[0, "explanations"] == [[0, 0]]
    assert gaps[1, "explanations"] == [[1, 1]]
    assert len(gaps) == 6
    (server.root / "aside").rename(server.root / E0)
    server.asked.clear()
    assert "6 known to be missing there (--retry-gaps asks again)" in run(server)
    assert server.asked[DataKind.EXPLANATIONS.path(NeuronId(1, 1))] == 0
    said = run(server, retry_gaps=True)
    assert "6 files of 2 neurons to fetch" in said
    assert summary(said, "explanations") == [2, 0, 0]
    assert not LayerGaps.objects.filter(layer=0, kind="explanations").exists()
    assert LayerGaps.objects.count() == 5


def test_another_source_is_asked_for_what_the_first_lacks(server: DatasetServer, tmp_path: Path) -> None:
    (server.root / E0).unlink()
    run(server)
    with serve(write_dataset(tmp_path / "other")) as other:
        assert summary(run(other), "explanations") == [2, 0, 0]


def test_refetching_brings_what_changed(server: DatasetServer) -> None:
    run(server)
    edit_json(server.root / E0, lambda o: o["scored_explanations"][0].update(explanation="weekdays"))
    run(server)
    assert not Explanation.objects.filter(text="weekdays").exists()
    assert summary(run(server, refetch=True), "explanations") == [0, 1, 5]
    assert Explanation.objects.filter(text="weekdays").exists()


def test_faults_that_pass_leave_no_trace(server: DatasetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.wait.wait_random_exponential.__call__", lambda *_: 0.0)
    run(server)
    expected = rows()
    SubjectModel.objects.all().delete()
    faults = [
        dataset_server.status(500),
        dataset_server.status(429, {"Retry-After": "0"}),
        dataset_server.break_off,
        dataset_server.truncate,
        dataset_server.hang_up,
    ]
    for neuron_id in NEURONS:
        for kind, fault in zip(DataKind, faults, strict=True):
            server.actions[kind.path(neuron_id)].append(fault)
    said = run(server)
    assert "skipped files: 0" in said
    assert [row["data"] for row in rows()["ActivationSet"]] == [row["data"] for row in expected["ActivationSet"]]


def test_a_file_that_stays_broken_is_named_and_asked_for_again(
    server: DatasetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.wait.wait_random_exponential.__call__", lambda *_: 0.0)
    server.actions[E0] += [dataset_server.truncate] * 20
    out = StringIO()
    with pytest.raises(CommandError, match="1 files were skipped"):
        call_command("import_dataset", server.url, model="tiny", **SHAPE, kinds="explanations", stdout=out)
    assert f"{E0}: sent a file that breaks off" in out.getvalue()
    assert not LayerGaps.objects.filter(layer=0).exists()
    server.actions.clear()
    server.asked.clear()
    assert summary(run(server, kinds="explanations"), "explanations") == [2, 0, 0]


def test_a_source_that_dies_leaves_what_came(server: DatasetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.wait.wait_random_exponential.__call__", lambda *_: 0.0)
    monkeypatch.setattr("explanations.management.remote_import.BATCH", 1)
    for kind in DataKind:
        for index in (0, 1):
            server.actions[kind.path(NeuronId(1, index))] += [dataset_server.status(503)] * 99
    message = (
        r"answered 503 .*files in a row did not come\. What was imported stays; the same command goes on from there"
    )
    with pytest.raises(CommandError, match=message):
        run(server, connections=1)
    assert set(Neuron.objects.values_list("layer", flat=True)) == {0}
    server.actions.clear()
    assert "10 files of 2 neurons to fetch; 10 stored already" in run(server)
    assert Neuron.objects.count() == 3


def test_two_processes_decode_what_comes(server: DatasetServer) -> None:
    assert summary(run(server, jobs=2), "neurons") == [3, 0, 0]
    assert LayerGaps.objects.count() == 5


def test_a_known_model_is_imported_by_name(server: DatasetServer, settings: Any) -> None:
    for kind in DataKind:
        (server.root / "data" / kind.folder / "21").mkdir(parents=True)
        for path in (server.root / kind.folder / "0").iterdir():
            content = json.loads(path.read_text())
            if "neuron_id" in content:
                content["neuron_id"]["layer_index"] = 21
            (server.root / "data" / kind.folder / "21" / path.name).write_text(json.dumps(content))
        shutil.rmtree(server.root / kind.folder)
    settings.PUBLIC_DATA_URL = server.url
    out = StringIO()
    call_command("import_dataset", "public", model="gpt2-xl", layers="21", neurons="0-1", stdout=out)
    assert "New model gpt2-xl (GPT-2 XL): 48 layers of 6,400 neurons" in out.getvalue()
    model = SubjectModel.objects.get(slug="gpt2-xl")
    assert (model.name, model.layers, model.neurons_per_layer) == ("GPT-2 XL", 48, 6400)
    assert len(model.highlights) == 36
    assert model.data_address == f"{server.url}data/"
    first = Explanation.objects.get(neuron__index=0, dataset_position=0)
    assert (first.source, first.explainer, first.simulator) == ("published", "GPT-4", "GPT-4")


def test_what_people_wrote_about_a_known_model_stays(server: DatasetServer) -> None:
    run(server, model="gpt2-xl")
    SubjectModel.objects.update(description="ours", highlights=[], is_synthetic=True)
    Explanation.objects.update(explainer="made up")
    run(server, model="gpt2-xl", refetch=True)
    model = SubjectModel.objects.get()
    assert (model.description, model.highlights, model.is_synthetic) == ("ours", [], True)
    assert set(Explanation.objects.values_list("explainer", flat=True)) == {"made up"}


# What is refused


def test_an_address_that_cannot_be_reached_makes_no_model() -> None:
    with pytest.raises(
        CommandError, match=r"http://127\.0\.0\.1:9/.* cannot be reached \(.*refused\) \(tried 3 times\)"
    ):
        call_command("import_dataset", "http://127.0.0.1:9/", model="tiny", **SHAPE)
    assert not SubjectModel.objects.exists()


def test_a_wrong_address_makes_no_model(server: DatasetServer) -> None:
    with pytest.raises(CommandError, match=r"none of the files that were looked for \(404\)"):
        call_command("import_dataset", f"{server.url}elsewhere/", model="tiny", **SHAPE)
    assert not SubjectModel.objects.exists()


def test_a_shape_that_nobody_tells_is_asked_for(server: DatasetServer) -> None:
    with pytest.raises(CommandError, match=r"the web lists no files.* --layers 0-47 --neurons 0-6399.*gpt2-xl"):
        call_command("import_dataset", server.url, model="tiny", layers="0")


def test_neurons_beyond_the_shape_are_refused(server: DatasetServer, settings: Any) -> None:
    settings.PUBLIC_DATA_URL = server.url
    with pytest.raises(CommandError, match="nothing to import: gpt2-small has layers 0 to 11 with neurons 0 to 3,071"):
        call_command("import_dataset", "public", model="gpt2-small", layers="12")


def test_chosen_neurons_beyond_the_shape_are_named_and_left_out(server: DatasetServer) -> None:
    assert "left out" not in run(server)
    said = run(server, layers="1-3", neurons="1,7")
    assert "not in tiny, and left out: layers from 2 to 3 and neurons from 2 to 7\n" in said
    assert SubjectModel.objects.get().layers == 2


def test_kinds_that_were_not_published_are_not_asked_for(server: DatasetServer, settings: Any) -> None:
    settings.PUBLIC_DATA_URL = server.url
    with pytest.raises(CommandError, match="--kinds: of gpt2-small, only activations, explanations were published"):
        call_command("import_dataset", "public", model="gpt2-small", layers="0", kinds="related-neurons")
    assert not server.asked
    out = StringIO()
    call_command("import_dataset", "public", model="gpt2-small", layers="0", neurons="0-1", stdout=out)
    assert (
        "not in this source: related-neurons, related-tokens-by-activation, related-tokens-by-weight" in out.getvalue()
    )
    assert not any("related" in path for path in server.asked)


def test_public_needs_a_model_that_is_known() -> None:
    with pytest.raises(CommandError, match=r"no public data is known of “tiny”\. Known are gpt2-xl \(48 layers"):
        call_command("import_dataset", "public", model="tiny")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connections": 0}, "--connections: 0 is not between 1 and 256"),
        ({"timeout": 0.0}, "--timeout: 0 is not between"),
        ({"max_bandwidth": "fast"}, "--max-bandwidth: “fast” is not a number of bytes a second"),
    ],
)
def test_a_malformed_option_is_named(server: DatasetServer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(server, **options)


@pytest.mark.parametrize("address", ["http://example.org/", "https://example.org/?key=1", "ftp://example.org/"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(CommandError, match=r"not encrypted|holds no|not an address"):
        call_command("import_dataset", address, model="tiny", **SHAPE)


def test_help_names_the_known_models() -> None:
    parser = CommandParser()
    Command().add_arguments(parser)
    said = " ".join(parser.format_help().split())
    assert "gpt2-xl (48 layers of 6,400 neurons), gpt2-small (12 layers of 3,072 neurons)" in said


# Gaps


def test_gaps_are_ranges() -> None:
    assert gather({5, 3, 4, 9}) == [[3, 5], [9, 9]]
    assert list(spread([[3, 5], [9, 9]])) == [3, 4, 5, 9]


def test_recording_the_same_gaps_again_writes_nothing(django_assert_num_queries: Any) -> None:
    model = SubjectModel.objects.create(slug="tiny", name="Tiny", layers=2, neurons_per_layer=4)
    gaps = Gaps(model, "https://example.org/")
    gaps.record(missing=[(NeuronId(0, 1), DataKind.ACTIVATIONS)], found=[])
    with django_assert_num_queries(0):
        gaps.record(missing=[(NeuronId(0, 1), DataKind.ACTIVATIONS)], found=[(NeuronId(0, 2), DataKind.ACTIVATIONS)])
    assert Gaps(model, "https://example.org/").of(0, DataKind.ACTIVATIONS) == {1}
    assert Gaps(model, "").of(0, DataKind.ACTIVATIONS) == set()


def test_a_gap_that_is_filled_is_forgotten_and_without_gaps_nothing_is_looked_through() -> None:
    model = SubjectModel.objects.create(slug="tiny", name="Tiny", layers=2, neurons_per_layer=4)
    gaps, file = Gaps(model, ""), (NeuronId(0, 1), DataKind.ACTIVATIONS)
    found = iter([file])
    gaps.record(missing=[], found=found)
    assert list(found) == [file]
    gaps.record(missing=[file], found=[])
    gaps.record(missing=[], found=[file])
    assert Gaps(model, "").of(0, DataKind.ACTIVATIONS) == set()
