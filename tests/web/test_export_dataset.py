"""`manage.py export_dataset`: what it writes is what was imported."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from explanations import store
from explanations.importing.stored import StoredNeuron, read_stored
from explanations.models import Explanation, Neuron, Source, SubjectModel
from explanations.pipeline import packing
from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import NeuronId, ScoredExplanation
from tests.public_files import NEURONS, edit_json, write_dataset
from tests.web.test_import_dataset import HOSTILE_TOKENS, dump
from tests.world import World, make_simulation

pytestmark = pytest.mark.django_db


def export(folder: Path, model: str = "tiny", **options: Any) -> str:
    out = StringIO()
    call_command("export_dataset", str(folder), **{"model": model, **options}, stdout=out)
    return out.getvalue()


def import_(folder: Path, model: str = "tiny") -> None:
    call_command("import_dataset", str(folder), model=model, stdout=StringIO())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(model: str) -> dict[NeuronId, StoredNeuron]:
    return read_stored(SubjectModel.objects.get(slug=model).pk, NEURONS)


@pytest.fixture(params=[False, True], ids=["plain tokens", "hostile tokens"])
def imported(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = (
        write_dataset(tmp_path / "dataset", HOSTILE_TOKENS) if request.param else write_dataset(tmp_path / "dataset")
    )
    import_(folder)
    return folder


def test_an_export_imported_again_is_what_was_exported(imported: Path, tmp_path: Path) -> None:
    export(tmp_path / "out")
    import_(tmp_path / "out", "again")
    before, after = stored("tiny"), stored("again")
    assert before.keys() == after.keys() == set(NEURONS)
    for neuron_id, old in before.items():
        new = after[neuron_id]
        assert (new.values, new.activations, new.related) == (old.values, old.activations, old.related)
        for position, explanation in old.explanations.items():
            same = new.explanations[position]
            assert (same.values, same.score, same.state) == (explanation.values, explanation.score, explanation.state)
            (_, ours), (_, theirs) = explanation.simulations[0], same.simulations[0]
            # The last two, over top and random excerpts alone, are computed from the values: halves, here.
            assert theirs[:-2] == ours[:-2]
            assert theirs[-2:] == pytest.approx(ours[-2:], abs=2.0**-10)


def test_a_second_export_equals_the_first(imported: Path, tmp_path: Path) -> None:
    export(tmp_path / "out")
    import_(tmp_path / "out", "again")
    export(tmp_path / "out2", "again")
    assert files(tmp_path / "out2") == files(tmp_path / "out")


def test_what_halves_hold_exactly_is_exported_exactly(imported: Path, tmp_path: Path) -> None:
    export(tmp_path / "out")
    given, written = files(imported), files(tmp_path / "out")
    assert given.keys() == written.keys()
    for path, data in given.items():
        assert json.loads(written[path]) == json.loads(data), path


def test_importing_an_export_into_the_same_model_changes_nothing(tmp_path: Path) -> None:
    import_(write_dataset(tmp_path / "dataset"))
    export(tmp_path / "out")
    before = dump()
    import_(tmp_path / "out")
    assert dump() == before


def test_explanations_made_here_are_exported_only_when_asked_for(world: World, tmp_path: Path) -> None:
    assert "16 files" not in export(tmp_path / "out", kinds="activations,explanations")
    assert not (tmp_path / "out" / "explanations").exists()
    export(tmp_path / "all", all=True)
    content = json.loads((tmp_path / "all" / DataKind.EXPLANATIONS.path(NeuronId(0, 0))).read_text())
    assert [e["explanation"] for e in content["scored_explanations"]] == [world.explanation.text, world.baseline.text]
    import_(tmp_path / "all", "again")
    unsimulated = Explanation.objects.get(neuron__model__slug="again", neuron__layer=0, neuron__index=1)
    assert (unsimulated.text, unsimulated.score) == ("French cities", None)
    # A retired one that was made here stays here.
    assert not Neuron.objects.get(model__slug="again", layer=0, index=3).explanations.exists()


def test_imported_explanations_come_first_and_retired_ones_keep_their_place(tmp_path: Path) -> None:
    import_(write_dataset(tmp_path / "dataset"))
    neuron = Neuron.objects.get(layer=0, index=0)
    neuron.explanations.filter(dataset_position=0).update(state=Explanation.State.RETIRED)
    record = store.read_neuron_record(neuron)
    assert record is not None
    scored = ScoredExplanation("made here", make_simulation(record, 0.9, "toy"))
    store.save_explanation(neuron=neuron, scored=scored, source=Source.MODEL)
    export(tmp_path / "out", all=True)
    content = json.loads((tmp_path / "out" / DataKind.EXPLANATIONS.path(NeuronId(0, 0))).read_text())
    assert [e["explanation"] for e in content["scored_explanations"]] == [
        "days of the week 0:0",
        "tokens such as ' Tuesday'",
        "made here",
    ]


def test_real_values_of_their_own_are_exported(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "dataset")

    def change(content: dict[str, Any]) -> None:
        scored = content["scored_explanations"][0]["scored_simulation"]["scored_sequence_simulations"][0]
        scored["true_activations"] = [value + 1 for value in scored["true_activations"]]

    path = DataKind.EXPLANATIONS.path(NeuronId(0, 0))
    edit_json(folder / path, change)
    import_(folder)
    export(tmp_path / "out")
    given, written = (json.loads((root / path).read_text()) for root in (folder, tmp_path / "out"))

    def values(content: dict[str, Any]) -> Any:
        scored = content["scored_explanations"][0]["scored_simulation"]["scored_sequence_simulations"]
        return np.concatenate([s["true_activations"] for s in scored])

    assert values(written) == pytest.approx(values(given), rel=2.0**-11, abs=0)


def test_layers_neurons_and_kinds_choose(world: World, tmp_path: Path) -> None:
    export(tmp_path / "out", layers="0", neurons="1-2", kinds="activations")
    assert sorted(files(tmp_path / "out")) == ["collated-activations/0/1.json", "collated-activations/0/2.json"]


def test_a_neuron_without_data_has_no_files(world: World, tmp_path: Path) -> None:
    Neuron.objects.create(model=world.model, layer=1, index=3)
    assert "0 files of 1 neurons" in export(tmp_path / "out", layers="1", neurons="3")


def test_a_folder_that_holds_something_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(CommandError, match="is not empty; choose another, or write into it with --force"):
        export(tmp_path)
    export(tmp_path, force=True)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert (tmp_path / "collated-activations" / "0" / "0.json").exists()


def test_bad_options_are_refused_in_words(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, options, reason in [
        ("out", {"model": "none"}, "there is no model “none”"),
        ("out", {"layers": "9"}, "nothing to export"),
        ("out", {"layers": "3-1"}, "goes backwards"),
        ("out", {"kinds": "x"}, "there is no kind “x”"),
        ("file", {}, "is not a folder"),
        ("file/out", {}, "cannot be written: Not a directory"),
    ]:
        with pytest.raises(CommandError, match=reason):
            export(tmp_path / folder, **options)


def test_a_batch_costs_a_bounded_number_of_queries(
    world: World, tmp_path: Path, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(18):
        export(tmp_path / "out", all=True)


def test_the_sequences_of_an_export_hold_their_excerpts(imported: Path, tmp_path: Path) -> None:
    row = Explanation.objects.filter(neuron__layer=1).earliest("dataset_position").simulations.get()
    keys = [s.key for s in packing.unpack_sequences(row.data)]
    export(tmp_path / "out")
    content = json.loads((tmp_path / "out" / DataKind.EXPLANATIONS.path(NeuronId(1, 0))).read_text())
    scored = content["scored_explanations"][0]["scored_simulation"]["scored_sequence_simulations"]
    written = [packing.excerpt_key(packing.pack_tokens(s["simulation"]["tokens"])) for s in scored]
    assert written == keys
