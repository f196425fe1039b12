"""`manage.py import_dataset`: what it stores, that it can be repeated and taken up again, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from explanations import store
from explanations.importing.importer import Importer
from explanations.importing.stored import read_stored
from explanations.management.commands.import_dataset import in_batches
from explanations.models import (
    ActivationSet,
    Excerpt,
    Explanation,
    Flag,
    Neuron,
    RelatedSet,
    Simulation,
    Source,
    SubjectModel,
)
from explanations.pipeline import dataset_encoding, packing
from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import Kind, NeuronId, ScoredExplanation, Split, split_records
from explanations.pipeline.scorer import correlation
from explanations.statistics import read_statistics
from tests.public_files import NEURONS, STRENGTHS, edit_json, make_files, write_dataset
from tests.world import HOSTILE, make_record, make_simulation, person

pytestmark = pytest.mark.django_db

HOSTILE_TOKENS = [HOSTILE, "\0", "\ud800", "", "\r\n", "</span>", "\u202e", " ok"]
A0 = DataKind.ACTIVATIONS.path(NeuronId(0, 0))
E0 = DataKind.EXPLANATIONS.path(NeuronId(0, 0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "dataset")


def run(folder: Path, **options: Any) -> str:
    """Import into model “tiny” and return what was said."""
    out = StringIO()
    call_command("import_dataset", str(folder), **{"model": "tiny", **options}, stdout=out)
    return out.getvalue()


def summary(said: str, what: str) -> list[int]:
    """Return a line of the summary: how many are new, updated and unchanged."""
    line = next(line for line in said.splitlines() if line.startswith(f"{what} "))
    return [int(number.replace(",", "")) for number in line.split()[1:]]


def dump() -> dict[str, list[dict[str, Any]]]:
    """Return every row of the app, with keys and times."""
    tables = {}
    for model in apps.get_app_config("explanations").get_models():
        rows = list(model._default_manager.order_by("pk").values())
        tables[model.__name__] = [
            {k: bytes(v) if isinstance(v, memoryview) else v for k, v in row.items()} for row in rows
        ]
    return tables


def neuron(layer: int, index: int) -> Neuron:
    return Neuron.objects.select_related("model").get(model__slug="tiny", layer=layer, index=index)


def simulation_of(explanation: Explanation) -> Any:
    row = explanation.simulations.get()
    sequences = packing.unpack_sequences(row.data)
    packed, _ = store.read_packed_records(explanation.neuron)
    tokens = store.read_tokens(explanation.neuron.model_id, [s.key for s in sequences])
    return store.join_simulation(row, sequences, packed, tokens)


# What is stored


def test_explanations_hold_the_place_of_their_neurons(folder: Path) -> None:
    run(folder)
    Explanation.objects.filter(neuron__layer=1).delete()
    run(folder)
    rows = list(Explanation.objects.select_related("neuron"))
    assert {row.layer for row in rows} == {0, 1}
    assert all((row.model_id, row.layer) == (row.neuron.model_id, row.neuron.layer) for row in rows)


def test_records_are_stored_as_the_files_say(folder: Path) -> None:
    run(folder)
    for neuron_id in NEURONS:
        expected = make_record(neuron_id)
        row = neuron(neuron_id.layer, neuron_id.index)
        stored = store.read_neuron_record(row)
        assert stored is not None
        for (kind, given), (stored_kind, kept) in zip(expected.labelled(), stored.labelled(), strict=True):
            assert (stored_kind, kept.tokens) == (kind, given.tokens)
            assert np.array_equal(kept.activations, given.activations)
        assert stored.quantile_boundaries == expected.quantile_boundaries
        moments = ("mean", "variance", "skewness", "kurtosis", "max_activation")
        assert [getattr(row, m) for m in moments] == [getattr(expected, m) for m in moments]
        assert bytes(row.peak) == store.pack_peak(expected.top[0])


def test_explanations_are_stored_with_their_simulations(folder: Path) -> None:
    run(folder)
    first, second = neuron(0, 0).explanations.order_by("dataset_position")
    given = make_simulation(make_record(NeuronId(0, 0)), 0.4, "")
    assert (first.text, first.source, first.score, first.explainer) == ("days of the week 0:0", "published", 0.4, "")
    assert (second.dataset_position, second.score) == (1, 0.7)
    stored = simulation_of(first)
    assert stored.scores == given.scores
    for kept, sequence in zip(stored.sequences, given.sequences, strict=True):
        assert (kept.tokens, kept.kind, kept.scores) == (sequence.tokens, sequence.kind, sequence.scores)
        assert np.array_equal(kept.real, sequence.real)
        assert kept.simulated == pytest.approx(sequence.simulated, rel=2.0**-11, abs=0)


def test_top_only_and_random_only_scores_are_those_of_the_values_given(folder: Path) -> None:
    run(folder)
    row = neuron(0, 0).explanations.get(dataset_position=0).simulations.get()
    sequences = make_simulation(make_record(NeuronId(0, 0)), 0.4, "").sequences
    for kind, stored in ((Kind.TOP, row.top_only), (Kind.RANDOM, row.random_only)):
        chosen = [s for s in sequences if s.kind == kind]
        real, simulated = (np.concatenate([getattr(s, side) for s in chosen]) for side in ("real", "simulated"))
        # Many simulations' sums are taken at once, in another order.
        assert stored == pytest.approx(correlation(real, simulated), rel=1e-12)


def test_the_neuron_carries_its_headline_and_counts(folder: Path) -> None:
    run(folder)
    row = neuron(0, 0)
    best = row.explanations.get(dataset_position=1)
    assert (row.headline, row.headline_text, row.headline_score) == (best, best.text, 0.7)
    assert (row.explanation_count, row.open_flag_count, row.headline_simulator) == (2, 0, "")


def test_related_tokens_and_neurons_are_stored(folder: Path) -> None:
    run(folder)
    related = packing.unpack_related(neuron(0, 0).related_set.data)
    assert related.tokens_by_activation == STRENGTHS
    assert related.tokens_by_weight is not None
    assert related.tokens_by_weight.output_negative == STRENGTHS
    assert related.neurons is not None
    assert related.neurons.upstream_positive is not None
    assert related.neurons.upstream_positive.neurons == (NeuronId(0, 1), NeuronId(0, 3))
    assert related.neurons.downstream_positive is None


def test_an_excerpt_is_stored_once_a_model(folder: Path) -> None:
    said = run(folder)
    records = [make_record(n) for n in NEURONS]
    different = {r.tokens for record in records for _, r in record.labelled()}
    assert Excerpt.objects.count() == len(different) < sum(len(r.labelled()) for r in records)
    assert summary(said, "excerpts") == [len(different), 0, 0]


def test_simulations_do_not_keep_real_values_twice(folder: Path) -> None:
    run(folder)
    for row in Simulation.objects.all():
        assert all(s.real is None for s in packing.unpack_sequences(row.data))


def test_hostile_tokens_and_texts_are_stored(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "dataset", HOSTILE_TOKENS)
    scored = ScoredExplanation(
        "a\0b \ud800 " + HOSTILE, make_simulation(make_record(NEURONS[0], HOSTILE_TOKENS), 1, "")
    )
    (folder / E0).write_bytes(dataset_encoding.encode_explanations(NEURONS[0], [scored]))
    run(folder)
    stored = store.read_neuron_record(neuron(0, 0))
    assert stored is not None
    assert [r.tokens for r in stored.top] == [r.tokens for r in make_record(NEURONS[0], HOSTILE_TOKENS).top]
    assert neuron(0, 0).headline_text == "a\u2400b ? " + HOSTILE
    before = dump()
    run(folder)
    assert dump() == before


def test_scores_that_are_undefined_are_null(folder: Path) -> None:
    simulation = make_simulation(make_record(NEURONS[0]), None, "")
    data = dataset_encoding.encode_explanations(NEURONS[0], [ScoredExplanation("a", simulation)])
    (folder / E0).write_bytes(data.replace(b'"ev_correlation_score":null', b'"ev_correlation_score": NaN'))
    run(folder)
    explanation = neuron(0, 0).explanations.get()
    assert explanation.score is None
    assert explanation.simulations.get().ev_correlation is None
    assert simulation_of(explanation).sequences[0].scores.ev_correlation is None


# Which excerpts are top ones


def sequence_kinds(row: Neuron) -> list[int]:
    return [s.kind for s in packing.unpack_sequences(row.explanations.get(dataset_position=0).simulations.get().data)]


def reverse_sequences(content: dict[str, Any]) -> None:
    content["scored_explanations"][0]["scored_simulation"]["scored_sequence_simulations"].reverse()


def test_the_neurons_own_records_tell_which_sequences_are_top(folder: Path) -> None:
    edit_json(folder / E0, reverse_sequences)
    run(folder)
    assert sequence_kinds(neuron(0, 0)) == [Kind.RANDOM] * 5 + [Kind.TOP] * 5


def test_stored_records_tell_it_where_activations_are_not_imported(folder: Path) -> None:
    run(folder, kinds="activations")
    edit_json(folder / E0, reverse_sequences)
    run(folder, kinds="explanations")
    assert sequence_kinds(neuron(0, 0)) == [Kind.RANDOM] * 5 + [Kind.TOP] * 5


def test_without_records_the_first_five_sequences_are_top(folder: Path) -> None:
    edit_json(folder / E0, reverse_sequences)
    run(folder, kinds="explanations")
    assert sequence_kinds(neuron(0, 0)) == [Kind.TOP] * 5 + [Kind.RANDOM] * 5
    assert neuron(0, 0).max_activation is None
    assert simulation_of(neuron(0, 0).explanations.get(dataset_position=0)).sequences[0].real.any()


# Again, and after a stop


def test_running_it_twice_changes_nothing(folder: Path) -> None:
    run(folder)
    before = dump()
    said = run(folder)
    assert dump() == before
    assert summary(said, "neurons") == [0, 0, 3]
    assert summary(said, "explanations") == [0, 0, 6]


@pytest.mark.parametrize("kinds", ["activations,explanations", "explanations", "related-neurons", "activations"])
def test_importing_a_part_of_the_kinds_again_changes_nothing(folder: Path, kinds: str) -> None:
    run(folder)
    before = dump()
    run(folder, kinds=kinds)
    assert dump() == before


def test_kinds_that_come_one_by_one_end_as_those_that_come_together(folder: Path) -> None:
    def values() -> list[Any]:
        rows = read_stored(SubjectModel.objects.get(slug="tiny").pk, NEURONS)
        return [
            (
                n.values,
                n.activations,
                n.related,
                [(e.values, [v for _, v in e.simulations]) for e in n.explanations.values()],
            )
            for n in rows.values()
        ]

    run(folder)
    together = values()
    SubjectModel.objects.all().delete()
    for kind in DataKind:
        run(folder, kinds=str(kind))
    assert values() == together
    assert neuron(0, 0).headline_score == 0.7


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (60, [50, 10]), (2_000, [*[400] * 4, 200, 100, 50, 50]), (401, [200, 100, 50, 50, 1])],
)
def test_batches_become_smaller_towards_the_end(count: int, sizes: list[int]) -> None:
    neurons = [NeuronId(0, index) for index in range(count)]
    batches = list(in_batches(neurons))
    assert [neuron_id for batch in batches for neuron_id in batch] == neurons
    assert [len(batch) for batch in batches] == sizes


def test_an_import_that_failed_between_batches_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explanations.management.commands.import_dataset.BATCH", 1)
    whole = Importer.store
    calls = []

    def fail_the_second_time(self: Importer, neurons: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise DatabaseError("the disk is full")
        whole(self, neurons)

    monkeypatch.setattr(Importer, "store", fail_the_second_time)
    with pytest.raises(CommandError, match=r"the database says: the disk is full\. What was imported before stays\."):
        run(folder)
    assert Neuron.objects.count() == 1
    said = run(folder)
    assert summary(said, "neurons") == [2, 0, 1]
    model = SubjectModel.objects.get()
    assert read_statistics(model).neurons == 3
    before = dump()
    run(folder)
    assert dump() == before


def test_a_batch_is_stored_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, counts: Any) -> None:
        raise DatabaseError("no more")

    monkeypatch.setattr("explanations.importing.rows.NewExplanations.write", fail)
    with pytest.raises(CommandError, match="no more"):
        run(folder)
    for model in (Neuron, ActivationSet, RelatedSet, Excerpt, Explanation, Simulation):
        assert not model._default_manager.exists()


def test_ctrl_c_keeps_what_was_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explanations.management.commands.import_dataset.BATCH", 1)
    whole = Importer.store

    def store_one(self: Importer, neurons: Any) -> None:
        if Neuron.objects.exists():
            raise KeyboardInterrupt
        whole(self, neurons)

    monkeypatch.setattr(Importer, "store", store_one)
    with pytest.raises(CommandError, match="stopped; what was imported so far stays") as stop:
        run(folder)
    assert stop.value.returncode == 130
    assert Neuron.objects.count() == 1
    assert read_statistics(SubjectModel.objects.get()).neurons == 1


def test_a_killed_import_goes_on(tmp_path: Path) -> None:
    """A process of its own, on its own SQLite database, killed as soon as it has stored something."""
    folder = tmp_path / "dataset"
    for index in range(900):
        for path, data in make_files(NeuronId(0, index)).items():
            if path.startswith("collated"):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
    environment = os.environ | {"NEURONVIEWER_DATA": str(tmp_path / "data"), "DATABASE_URL": ""}

    def manage(*arguments: str) -> list[str]:
        return [sys.executable, "manage.py", *arguments]

    def finish(*arguments: str) -> str:
        process = subprocess.run(
            manage(*arguments), cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    finish("migrate", "-v0")
    command = manage("import_dataset", str(folder), "--model", "tiny")
    with (
        closing(sqlite3.connect(tmp_path / "data" / "neuronviewer.sqlite3", timeout=60)) as database,
        subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL) as killed,
    ):
        deadline = time.monotonic() + 60
        while killed.poll() is None and time.monotonic() < deadline:
            if database.execute("SELECT 1 FROM explanations_neuron LIMIT 1").fetchone():
                break
        killed.send_signal(signal.SIGKILL)
    new, updated, unchanged = summary(finish("import_dataset", str(folder), "--model", "tiny"), "neurons")
    assert (new + unchanged, updated) == (900, 0)
    assert unchanged > 0
    assert "900 neurons" in finish("refresh_statistics")


# Changed sources


def test_changed_files_update_their_rows_in_place(folder: Path) -> None:
    run(folder)
    keys = {
        model: set(model._default_manager.values_list("pk", flat=True)) for model in (Neuron, Explanation, Simulation)
    }

    def change(content: dict[str, Any]) -> None:
        content["scored_explanations"][1]["explanation"] = "something else"
        content["scored_explanations"][1]["scored_simulation"]["ev_correlation_score"] = 0.1

    edit_json(folder / E0, change)
    edit_json(folder / A0, lambda content: content.update(kurtosis=77.0))
    said = run(folder)
    assert summary(said, "neurons") == [0, 1, 2]
    assert summary(said, "explanations") == [0, 1, 5]
    row = neuron(0, 0)
    assert row.kurtosis == 77.0
    assert row.explanations.get(dataset_position=1).text == "something else"
    assert (row.headline_text, row.headline_score) == ("days of the week 0:0", 0.4)
    for model, before in keys.items():
        assert set(model._default_manager.values_list("pk", flat=True)) == before
    assert read_statistics(row.model).scores[""].best == 0.7


def test_an_explanation_that_left_the_file_is_retired(folder: Path) -> None:
    run(folder)
    edit_json(folder / E0, lambda content: content["scored_explanations"].pop())
    assert "retired" in run(folder)
    assert [e.state for e in neuron(0, 0).explanations.order_by("pk")] == ["current", "retired"]
    assert neuron(0, 0).explanation_count == 1
    before = dump()
    run(folder)
    assert dump() == before


def test_a_new_explanation_joins_those_that_are_there(folder: Path) -> None:
    run(folder)
    edit_json(
        folder / E0, lambda c: c["scored_explanations"].append({"explanation": "third", "scored_simulation": None})
    )
    run(folder)
    third = neuron(0, 0).explanations.get(dataset_position=2)
    assert (third.text, third.score, third.simulations.count()) == ("third", None, 0)
    assert neuron(0, 0).explanation_count == 3


def test_a_file_that_vanished_changes_nothing(folder: Path) -> None:
    run(folder)
    before = dump()
    (folder / E0).unlink()
    run(folder)
    after = dump()
    gap = after.pop("LayerGaps")
    assert {**after, "LayerGaps": []} == before
    assert [(g["source"], g["layer"], g["kind"], g["ranges"]) for g in gap] == [("", 0, "explanations", [[0, 0]])]
    (folder / E0).write_bytes(make_files(NEURONS[0])[E0])
    run(folder)
    assert dump() == before


def test_what_was_made_on_this_site_survives(folder: Path) -> None:
    run(folder)
    row = neuron(0, 0)
    record = store.read_neuron_record(row)
    assert record is not None
    own = store.save_explanation(
        neuron=row,
        scored=ScoredExplanation("made here", make_simulation(record, 0.9, row.headline_simulator)),
        source=Source.MODEL,
    )
    imported = row.explanations.get(dataset_position=0)
    Flag.objects.create(explanation=imported, reporter=person("reader"), reason=Flag.Reason.VAGUE)
    Explanation.objects.filter(pk=imported.pk).update(state=Explanation.State.RETIRED)
    store.refresh_headlines([row.pk])
    before = dump()
    run(folder)
    assert dump() == before
    edit_json(folder / E0, lambda c: c["scored_explanations"][0].update(explanation="reworded"))
    run(folder)
    imported.refresh_from_db()
    row.refresh_from_db()
    assert (imported.text, imported.state, imported.flags.count()) == ("reworded", "retired", 1)
    assert (row.headline, row.open_flag_count, row.explanation_count) == (own, 1, 2)


def test_simulations_keep_the_values_they_were_scored_against(folder: Path) -> None:
    run(folder)
    row = neuron(0, 0)
    record = store.read_neuron_record(row)
    assert record is not None
    own = store.save_explanation(
        neuron=row, scored=ScoredExplanation("here", make_simulation(record, 0.9, "toy")), source=Source.MODEL
    )
    before = [s.real.tolist() for s in simulation_of(own).sequences]

    def double(content: dict[str, Any]) -> None:
        for excerpt in content["most_positive_activation_records"]:
            excerpt["activations"] = [2 * value for value in excerpt["activations"]]
        content["random_sample"].pop(1)

    edit_json(folder / A0, double)
    run(folder, kinds="activations")
    assert [s.real.tolist() for s in simulation_of(own).sequences] == before
    assert [s.real.tolist() for s in simulation_of(row.explanations.get(dataset_position=0)).sequences] == before
    run(folder)
    assert [s.real.tolist() for s in simulation_of(row.explanations.get(dataset_position=0)).sequences] == before


# Gaps and broken files


def test_a_missing_file_is_a_gap(folder: Path) -> None:
    (folder / E0).unlink()
    (folder / DataKind.RELATED_NEURONS.path(NeuronId(0, 1))).unlink()
    said = run(folder)
    assert "missing files (gaps): 2 (explanations 1, related-neurons 1)" in said
    assert neuron(0, 0).explanation_count == 0
    assert neuron(0, 0).headline is None


def test_a_kind_that_the_source_lacks_is_no_gap(folder: Path) -> None:
    for neuron_id in NEURONS:
        (folder / DataKind.TOKENS_BY_WEIGHT.path(neuron_id)).unlink()
    said = run(folder)
    assert "not in this source: related-tokens-by-weight" in said
    assert "missing files (gaps): 0" in said


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "bad JSON": lambda _: b"nonsense",
    "truncated": lambda data: data[: len(data) // 2],
    "it is of neuron 0:1, not of 0:0": lambda data: data.replace(b'"neuron_index":0', b'"neuron_index":1'),
    "NaN or Infinity where a number must be": lambda data: data.replace(b'activations":[', b'activations":[NaN,'),
    "wrong lengths": lambda data: data.replace(b'activations":[', b'activations":[1,'),
}


@pytest.mark.parametrize("path", [A0, E0])
@pytest.mark.parametrize(("reason", "break_file"), BROKEN.items(), ids=BROKEN.keys())
def test_a_broken_file_is_named_and_skipped_whole(
    folder: Path, path: str, reason: str, break_file: Callable[[bytes], bytes]
) -> None:
    (folder / path).write_bytes(break_file((folder / path).read_bytes()))
    out = StringIO()
    with pytest.raises(CommandError, match="1 files were skipped; --allow-errors accepts that") as error:
        call_command("import_dataset", str(folder), model="tiny", stdout=out)
    assert error.value.returncode == 1
    assert "skipped files: 1" in out.getvalue()
    assert f"  {path}: {reason}" in out.getvalue()
    row = neuron(0, 0)
    assert hasattr(row, "activation_set") == (path != A0)
    assert row.explanations.count() == (0 if path == E0 else 2)
    assert hasattr(row, "related_set")
    assert neuron(0, 1).explanations.count() == 2


def test_a_broken_file_leaves_no_excerpts_behind(folder: Path) -> None:
    foreign = {"tokens": ["never", "stored"], "activations": [1.0, 2.0]}
    edit_json(folder / A0, lambda c: c["random_sample"].extend([foreign, foreign | {"activations": [1.0]}]))
    run(folder, allow_errors=True)
    assert not Excerpt.objects.filter(tokens=packing.pack_tokens(["never", "stored"])).exists()


def test_a_broken_file_leaves_what_was_stored_before(folder: Path) -> None:
    run(folder)
    before = dump()
    (folder / A0).write_bytes(b"")
    (folder / E0).write_bytes(b"{")
    run(folder, allow_errors=True)
    assert dump() == before


def test_a_neuron_whose_files_are_all_broken_is_not_stored(folder: Path) -> None:
    for kind in DataKind:
        (folder / kind.path(NeuronId(0, 0))).write_bytes(b"{")
    assert "skipped files: 5" in run(folder, allow_errors=True)
    assert not Neuron.objects.filter(layer=0, index=0).exists()


def test_a_file_that_cannot_be_read_is_skipped(folder: Path) -> None:
    (folder / A0).unlink()
    (folder / A0).mkdir()
    assert f"  {A0}: cannot be read: Is a directory" in run(folder, allow_errors=True)


def test_only_the_first_twenty_broken_files_are_named(tmp_path: Path) -> None:
    for index in range(25):
        path = tmp_path / DataKind.ACTIVATIONS.path(NeuronId(0, index))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{")
    said = run(tmp_path, allow_errors=True)
    assert "skipped files: 25" in said
    assert said.count("truncated") == 20
    assert "... and 5 more" in said


# Options


def test_layers_and_neurons_choose(folder: Path) -> None:
    run(folder, layers="0", neurons="1-5,9")
    assert list(Neuron.objects.values_list("layer", "index")) == [(0, 1)]
    assert SubjectModel.objects.get().layers == 2


def test_kinds_choose(folder: Path) -> None:
    run(folder, kinds="explanations,related-tokens-by-weight")
    assert not ActivationSet.objects.exists()
    related = packing.unpack_related(neuron(0, 0).related_set.data)
    assert related.tokens_by_weight is not None
    assert related.tokens_by_activation is None
    assert Explanation.objects.count() == 6


@pytest.mark.parametrize("prefix", ["data", "gpt2_small_data"])
def test_other_layouts_are_read(tmp_path: Path, prefix: str) -> None:
    write_dataset(tmp_path / prefix)
    run(tmp_path)
    assert Neuron.objects.count() == 3


def test_several_processes_store_the_same(folder: Path) -> None:
    run(folder)
    before = dump()
    said = run(folder, jobs=2)
    assert dump() == before
    assert summary(said, "neurons") == [0, 0, 3]
    SubjectModel.objects.all().delete()
    run(folder, jobs=2)
    assert Explanation.objects.count() == 6


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"layers": "7-3"}, "--layers: “7-3” goes backwards"),
        ({"layers": "a"}, "--layers: “a” is neither a number nor a range"),
        ({"layers": ""}, "--layers: “” is neither"),
        ({"neurons": "0-"}, "--neurons: “0-” is neither"),
        ({"neurons": "-1"}, "--neurons: “-1” is neither"),
        ({"neurons": "1,,2"}, "--neurons: “” is neither"),
        ({"neurons": "٣"}, "--neurons: “٣” is neither"),
        ({"kinds": "activations,nonsense"}, "--kinds: there is no kind “nonsense”; there are activations,"),
        ({"layers": "5"}, "nothing to import"),
        ({"jobs": 0}, "--jobs: 0 is not a number of processes"),
        ({"neurons_per_layer": 0}, "--neurons-per-layer: 0 is below 1"),
        ({"neurons_per_layer": 1}, "the source has files for 2 neurons a layer, more than the 1 that are given"),
        ({"model": "No Such Word"}, "model “No Such Word”: the model cannot be called so. slug: Use a-z"),
        ({"model": "admin"}, "is an address of this site"),
        ({"model": "x" * 61}, "at most 60 characters"),
        ({"card": "/nowhere/card.json"}, "card /nowhere/card.json: cannot be read: No such file or directory"),
    ],
)
def test_bad_options_are_refused_in_words(folder: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(CommandError) as error:
        run(folder, **options)
    assert reason in str(error.value)
    assert not SubjectModel.objects.exists()


def test_a_source_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="holds no dataset"):
        run(tmp_path)
    with pytest.raises(CommandError, match="is not a folder"):
        run(tmp_path / "file")
    with pytest.raises(CommandError, match="is not there"):
        run(tmp_path / "absent")


def test_a_source_named_for_too_many_neurons_is_refused(tmp_path: Path) -> None:
    (tmp_path / "explanations" / "40000").mkdir(parents=True)
    (tmp_path / "explanations" / "40000" / "1.jsonl").touch()
    with pytest.raises(CommandError, match="named for 40,001 layers; a model has at most 32,767"):
        run(tmp_path)


# The model and its card


def write_card(tmp_path: Path, **content: Any) -> Path:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(content))
    return path


CARD = {
    "name": "Tiny One",
    "layers": 3,
    "neurons_per_layer": 10,
    "tokenizer": "words",
    "description": "Made for tests.",
    "source": "tests",
    "license": "none",
    "is_synthetic": True,
    "highlights": [{"layer": 1, "neuron": 0, "label": "hostile <b>"}],
    "explanations": [
        {"source": "model", "explainer": "an explainer", "simulator": "a simulator", "method": "guess"},
        {"source": "baseline", "explainer": "token lookup", "simulator": "token lookup"},
    ],
}


def test_a_card_tells_what_the_files_cannot(folder: Path, tmp_path: Path) -> None:
    run(folder, card=write_card(tmp_path, **CARD))
    model = SubjectModel.objects.get()
    assert (model.name, model.layers, model.neurons_per_layer, model.is_synthetic) == ("Tiny One", 3, 10, True)
    assert (model.tokenizer, model.description, model.source, model.license) == (
        "words",
        "Made for tests.",
        "tests",
        "none",
    )
    assert model.highlights == CARD["highlights"]
    first, second = neuron(0, 0).explanations.order_by("dataset_position")
    assert (first.source, first.explainer, first.simulator) == ("model", "an explainer", "a simulator")
    assert (first.simulations.get().simulator, first.simulations.get().method) == ("a simulator", "guess")
    assert (second.source, second.explainer) == ("baseline", "token lookup")
    assert neuron(0, 0).headline == first
    assert neuron(0, 0).headline_simulator == "a simulator"


def test_an_import_without_the_card_keeps_what_the_card_said(folder: Path, tmp_path: Path) -> None:
    run(folder, card=write_card(tmp_path, **CARD))
    before = dump()
    run(folder)
    assert dump() == before


def test_a_later_card_updates_what_is_stored(folder: Path, tmp_path: Path) -> None:
    run(folder)
    assert SubjectModel.objects.get().name == "tiny"
    run(folder, card=write_card(tmp_path, **CARD))
    assert SubjectModel.objects.get().name == "Tiny One"
    assert neuron(0, 0).headline is not None
    assert neuron(0, 0).headline_simulator == "a simulator"
    before = dump()
    run(folder, card=write_card(tmp_path, **CARD))
    assert dump() == before


def test_a_name_given_beats_the_cards(folder: Path, tmp_path: Path) -> None:
    run(folder, card=write_card(tmp_path, name="From the card"), name="Given")
    assert SubjectModel.objects.get().name == "Given"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"nmae": "x"}, "unknown field `nmae`"),
        ({"layers": "3"}, "Expected `int | null`, got `str` - at `$.layers`"),
        ({"layers": 0}, ">= 1"),
        ({"highlights": [{"layer": 0, "neuron": 0}]}, "missing required field `label`"),
        ({"highlights": [{"layer": 0, "neuron": 9, "label": "x"}], "neurons_per_layer": 9}, "neuron 0:9, which the"),
        ({"highlights": [{"layer": 7, "neuron": 0, "label": "x"}]}, "neuron 7:0, which the model does not have"),
        ({"explanations": [{"source": "rumour"}]}, "Invalid enum value 'rumour'"),
        ({"explanations": [{"explainer": "x" * 121}]}, "length <= 120"),
        ({"name": "x" * 201}, "length <= 200"),
        ({"description": "a\0b"}, "NUL"),
        ({"layers": 1}, "the source has files for 2 layers, more than the 1 that are given"),
    ],
)
def test_a_bad_card_is_refused_in_words(folder: Path, tmp_path: Path, content: dict[str, Any], reason: str) -> None:
    with pytest.raises(CommandError) as error:
        run(folder, card=write_card(tmp_path, **content))
    assert reason in str(error.value)
    assert not SubjectModel.objects.exists()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_card_that_is_no_json_object_is_refused(folder: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "card.json").write_bytes(data)
    with pytest.raises(CommandError, match="card "):
        run(folder, card=tmp_path / "card.json")


def test_a_shape_that_the_model_has_outgrown_is_refused(folder: Path, tmp_path: Path) -> None:
    run(folder, neurons_per_layer=100)
    with pytest.raises(CommandError, match="has 100 neurons a layer already, more than the 50 that are given"):
        run(folder, neurons_per_layer=50)
    with pytest.raises(CommandError, match="--neurons-per-layer says 50 neurons a layer, the card 60"):
        run(folder, neurons_per_layer=50, card=write_card(tmp_path, neurons_per_layer=60))
    run(folder)
    assert SubjectModel.objects.get().neurons_per_layer == 100


def test_a_model_grows_with_its_source(folder: Path) -> None:
    run(folder)
    for path, data in make_files(NeuronId(4, 7)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    run(folder)
    model = SubjectModel.objects.get()
    assert (model.layers, model.neurons_per_layer) == (5, 8)


# Cost


def test_a_batch_of_new_neurons_costs_as_many_queries_as_one(
    folder: Path, tmp_path: Path, django_assert_max_num_queries: Any
) -> None:
    for layer in range(3):
        for index in range(8):
            for path, data in make_files(NeuronId(layer, index)).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
    with django_assert_max_num_queries(45):
        run(folder)
    with django_assert_max_num_queries(25):
        run(folder)


def test_activations_take_at_most_15_percent_of_their_json(tmp_path: Path) -> None:
    """At small scale by the bytes of the values; the tables with their indexes are measured in docs/importing.md."""
    record = make_record(NeuronId(0, 0))
    data = dataset_encoding.encode_record(record)
    path = tmp_path / A0
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    run(tmp_path)
    assert len(neuron(0, 0).activation_set.data) <= 0.15 * len(data)


def test_the_sequences_scored_are_those_of_the_valid_split() -> None:
    """What the tests above rest on: make_simulation simulates *valid*, five top excerpts and five random ones."""
    kinds = [kind for kind, _ in split_records(make_record(NeuronId(0, 0)), Split.VALID)]
    assert kinds == [Kind.TOP] * 5 + [Kind.RANDOM] * 5


def test_two_imports_of_a_model_wait_for_each_other(folder: Path) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets only one transaction write")
    with CaptureQueriesContext(connection) as queries:
        run(folder)
    locks = [q["sql"] for q in queries if "FOR NO KEY UPDATE" in q["sql"]]
    assert any("explanations_subjectmodel" in sql for sql in locks)
