"""The bundled sample: whole, true to its source, and loaded as it would be imported."""

from __future__ import annotations

import json
import math
import tarfile
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from msgspec.structs import replace

from explanations.management.commands.load_sample import read_ahead
from explanations.models import Explanation, Neuron, Simulation, SubjectModel
from explanations.pipeline import dataset, packing
from explanations.pipeline.card import Card, decode_card
from explanations.pipeline.excerpts import Excerpts
from explanations.pipeline.ingest import PackedNeuron
from explanations.pipeline.records import Kind, NeuronId
from explanations.pipeline.sample_file import read_sample, write_sample
from explanations.pipeline.scorer import correlation, scores
from explanations.pipeline.simulator.embedding import EMBEDDING, EMBEDDING_SIMULATOR
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.public_files import NEURONS, write_dataset
from tests.web.test_import_dataset import CARD, HOSTILE_TOKENS, dump, summary

FIXTURES = settings.BASE_DIR / "fixtures"
SAMPLE = FIXTURES / "smollm2-135m.parquet"
PUBLIC_FILES = settings.BASE_DIR.parent / "shared" / "sample" / "smollm2-135m.tar.xz"
"""The public files that the sample was built from, where they lie beside the repository."""

ERROR = 2.0**-11
"""How far, relatively, a kept value may lie from the one given."""


@pytest.fixture(scope="module")
def all_neurons() -> list[PackedNeuron]:
    _, batches = read_sample(SAMPLE, 500)
    return [neuron for batch in batches for neuron in batch]


@pytest.fixture(scope="module")
def neurons(all_neurons: list[PackedNeuron]) -> list[PackedNeuron]:
    """Those with excerpts, related tokens and neurons, and a sentence."""
    return [neuron for neuron in all_neurons if neuron.related is not None]


@pytest.fixture(scope="module")
def card() -> Card:
    return decode_card((FIXTURES / "smollm2-135m.card.json").read_bytes())


# What it holds


def test_every_neuron_of_the_model_has_its_statistics_and_a_scored_explanation(
    all_neurons: list[PackedNeuron],
) -> None:
    assert [n.neuron_id for n in all_neurons] == [NeuronId(layer, i) for layer in range(30) for i in range(1536)]
    for neuron in all_neurons:
        assert neuron.activations is not None
        assert None not in (*neuron.activations.moments, neuron.activations.max_activation)
        assert neuron.activations.peak
        *_, baseline = neuron.explanations or ()
        assert baseline is not None
        assert baseline.simulation is not None
        assert baseline.simulation.excerpts == 10


def test_part_of_it_is_whole(neurons: list[PackedNeuron]) -> None:
    layers = [neuron.neuron_id.layer for neuron in neurons]
    assert len(neurons) == 2410
    assert layers.count(12) == 1536
    assert set(layers) == set(range(30))
    assert sum(len(neuron.explanations or ()) for neuron in neurons) == 4820
    assert all(e.simulation is not None for neuron in neurons for e in neuron.explanations or ())
    assert len({key for neuron in neurons for key in neuron.excerpts}) == 8028


def test_every_neuron_has_all_its_parts(neurons: list[PackedNeuron]) -> None:
    known: set[int] = set()
    for neuron in neurons:
        known |= neuron.excerpts.keys()
        assert neuron.activations is not None
        assert neuron.related is not None
        records, boundaries = packing.unpack_records(neuron.activations.data)
        kinds = [record.kind for record in records]
        assert [kinds.count(kind) for kind in (Kind.TOP, Kind.RANDOM, Kind.BOTTOM)] == [20, 20, 20]
        assert all(3 <= kinds.count(Kind.QUANTILE + quantile) <= 5 for quantile in range(4))
        assert boundaries is not None
        assert {record.key for record in records} <= known


def test_the_card_names_neurons_that_are_there(card: Card, neurons: list[PackedNeuron]) -> None:
    present = {neuron.neuron_id for neuron in neurons}
    assert 12 <= len(card.highlights) <= 20
    assert {NeuronId(h.layer, h.neuron) for h in card.highlights} <= present
    assert len({h.layer for h in card.highlights}) >= 8


def test_the_card_calls_the_baseline_as_the_pipeline_does(card: Card) -> None:
    assert card.explanations is not None
    sentence, baseline = card.explanations
    assert (sentence.source, baseline.source) == ("model", "baseline")
    assert (baseline.explainer, baseline.simulator) == (TOKEN_LOOKUP, TOKEN_LOOKUP)
    assert (sentence.simulator, sentence.method) == (EMBEDDING_SIMULATOR, EMBEDDING)


def test_its_sentences_are_those_that_lie_beside_it(neurons: list[PackedNeuron]) -> None:
    lines = (FIXTURES / "smollm2-135m.explanations.jsonl").read_text(encoding="utf-8").splitlines()
    written = {NeuronId(row["layer"], row["neuron"]): row["text"] for row in map(json.loads, lines)}
    assert {n.neuron_id: n.explanations[0].text for n in neurons if n.explanations and n.explanations[0]} == written


def test_what_lies_in_the_repository_is_known_and_small_enough() -> None:
    assert sorted(path.name for path in FIXTURES.iterdir()) == [
        "README.md",
        "smollm2-135m.card.json",
        "smollm2-135m.corpus.parquet",
        "smollm2-135m.explanations.jsonl",
        "smollm2-135m.parquet",
    ]
    assert sum(path.stat().st_size for path in FIXTURES.glob("*.parquet")) <= 40_000_000


# Its scores


def spread(values: np.ndarray) -> float:
    """Return how much larger values are than their deviations from the mean: what magnifies a relative error."""
    return float(np.linalg.norm(values) / np.linalg.norm(values - values.mean()))


def test_its_scores_are_those_of_our_scorer_within_what_halves_allow(neurons: list[PackedNeuron]) -> None:
    """Compare each stored score, computed from the values given, with our scorer's on the values kept.

    Pearson's r is the cosine of the angle between the two sides' deviations from their means. A side s whose values err
    by at most 2^-11 of themselves moves by at most 2^-11 |s|, which turns its deviations by at most
    asin(2^-11 |s| / |s - mean|). So r errs by at most the sum of both angles: 0.0014 in this sample, where 0.0001 was
    the most that was found.
    """
    worst = 0.0
    for neuron in neurons[::8]:
        assert neuron.activations is not None
        real = {r.key: r.activations for r in packing.unpack_records(neuron.activations.data)[0]}
        for explanation in neuron.explanations or ():
            assert explanation.simulation is not None
            sequences = packing.unpack_sequences(explanation.simulation.data)
            a = np.concatenate([real[s.key] if s.real is None else s.real for s in sequences])
            s = np.concatenate([s.simulated for s in sequences])
            ours, stored = correlation(a, s), explanation.simulation.scores.ev_correlation
            assert (ours is None) == (stored is None)
            if ours is not None and stored is not None:
                bound = math.asin(ERROR * spread(a)) + math.asin(ERROR * spread(s))
                assert bound < 0.002
                assert abs(ours - stored) <= bound
                worst = max(worst, abs(ours - stored))
    assert worst < 2e-4


def public_explanations(count: int) -> Iterator[tuple[NeuronId, bytes]]:
    """Yield the first explanation files of the archive that the sample was built from."""
    with tarfile.open(PUBLIC_FILES, "r|xz") as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and "explanations" in parts:
                file = archive.extractfile(member)
                assert file is not None
                yield NeuronId(int(parts[-2]), int(Path(parts[-1]).stem)), file.read()
                count -= 1
                if not count:
                    return


@pytest.mark.slow
@pytest.mark.skipif(not PUBLIC_FILES.exists(), reason="the public files of the sample do not lie beside the repository")
def test_published_scores_are_those_of_our_scorer_from_the_values_given() -> None:
    excerpts = Excerpts()
    for neuron_id, data in public_explanations(60):
        for explanation in dataset.decode_explanations(data, neuron_id, excerpts):
            assert explanation.simulation is not None
            given = explanation.simulation
            ours = scores(given.real, given.simulated)
            assert ours.ev_correlation == pytest.approx(given.scores.ev_correlation, abs=1e-12)
            assert ours.rsquared == pytest.approx(given.scores.rsquared, rel=1e-12)
            assert ours.absolute_dev_explained == pytest.approx(given.scores.absolute_dev_explained, rel=1e-12)


# Building and loading


@pytest.fixture
def card_file(tmp_path: Path) -> Path:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(CARD))
    return path


def build(folder: Path, card: Path, out: Path, **options: Any) -> str:
    said = StringIO()
    call_command("build_sample", str(folder), card=card, out=out, **options, stdout=said)
    return said.getvalue()


def load(**options: Any) -> str:
    said = StringIO()
    call_command("load_sample", **options, stdout=said)
    return said.getvalue()


def without_times(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    times = {"created_at", "statistics_at"}
    return {name: [{k: v for k, v in row.items() if k not in times} for row in rows] for name, rows in tables.items()}


def without_keys(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    keys = ("id", "_id")
    return {
        name: [{k: v for k, v in row.items() if not k.endswith(keys)} for row in rows] for name, rows in tables.items()
    }


@pytest.mark.django_db
@pytest.mark.parametrize("vocabulary", [None, HOSTILE_TOKENS], ids=["plain tokens", "hostile tokens"])
def test_what_is_loaded_equals_what_is_imported(tmp_path: Path, card_file: Path, vocabulary: list[str] | None) -> None:
    folder = write_dataset(tmp_path / "d", vocabulary) if vocabulary else write_dataset(tmp_path / "d")
    build(folder, card_file, tmp_path / "sample.parquet")
    call_command("import_dataset", str(folder), model="tiny", card=card_file, stdout=StringIO())
    imported = without_keys(without_times(dump()))
    assert imported["Simulation"]
    SubjectModel.objects.all().delete()
    load(model="tiny", file=tmp_path / "sample.parquet", card=card_file)
    assert without_keys(without_times(dump())) == imported


@pytest.mark.django_db
def test_loading_what_was_imported_changes_nothing(tmp_path: Path, card_file: Path) -> None:
    folder = write_dataset(tmp_path / "d")
    build(folder, card_file, tmp_path / "sample.parquet")
    call_command("import_dataset", str(folder), model="tiny", card=card_file, stdout=StringIO())
    before = dump()
    said = load(model="tiny", file=tmp_path / "sample.parquet", card=card_file)
    assert dump() == before
    assert summary(said, "neurons") == [0, 0, 3]


def test_a_sample_is_built_the_same_each_time(tmp_path: Path, card_file: Path) -> None:
    folder = write_dataset(tmp_path / "d")
    said = build(folder, card_file, tmp_path / "a")
    build(folder, card_file, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "3 neurons" in said


def test_a_sample_file_keeps_neurons_with_gaps(tmp_path: Path, neurons: list[PackedNeuron]) -> None:
    given = [PackedNeuron(NeuronId(0, 1)), PackedNeuron(NeuronId(0, 2), explanations=()), *neurons[:3]]
    write_sample(tmp_path / "file", given)
    count, batches = read_sample(tmp_path / "file", 2)
    assert count == 5
    assert [neuron for batch in batches for neuron in batch] == given


def without_values(neuron: PackedNeuron) -> PackedNeuron:
    """Return what a small sample keeps of a neuron: its statistics, and its second explanation with its score."""
    assert neuron.activations
    assert neuron.explanations
    explanation = neuron.explanations[1]
    assert explanation
    assert explanation.simulation
    simulation = replace(explanation.simulation, data=packing.pack_sequences([]))
    return PackedNeuron(
        neuron.neuron_id,
        activations=replace(neuron.activations, data=None),
        explanations=(None, replace(explanation, simulation=simulation)),
    )


@pytest.mark.django_db
def test_neurons_without_records_keep_their_statistics_explanation_and_score(
    tmp_path: Path, neurons: list[PackedNeuron], card: Card
) -> None:
    given = [without_values(neuron) for neuron in neurons[:3]]
    write_sample(tmp_path / "small", given)
    assert [n for batch in read_sample(tmp_path / "small", 10)[1] for n in batch] == given
    assert summary(load(file=tmp_path / "small"), "explanations") == [3, 0, 0]
    row = Neuron.objects.get(layer=given[0].neuron_id.layer, index=given[0].neuron_id.index)
    explanation = row.explanations.get()
    assert (explanation.dataset_position, explanation.source, explanation.explainer) == (1, "baseline", TOKEN_LOOKUP)
    assert not hasattr(row, "activation_set")
    activations, kept = given[0].activations, given[0].explanations
    assert activations
    assert kept
    assert kept[1]
    assert kept[1].simulation
    assert (row.mean, row.max_activation) == (activations.moments[0], activations.max_activation)
    assert explanation.score == row.headline_score == kept[1].simulation.scores.ev_correlation
    assert explanation.simulations.get().excerpt_count == 10
    assert summary(load(file=tmp_path / "small"), "explanations") == [0, 0, 3]


@pytest.mark.django_db
def test_a_sample_without_records_leaves_those_that_are_stored(tmp_path: Path, neurons: list[PackedNeuron]) -> None:
    write_sample(tmp_path / "whole", neurons[:1])
    load(file=tmp_path / "whole")
    before = bytes(Neuron.objects.get().activation_set.data)
    write_sample(tmp_path / "small", [without_values(neurons[0])])
    assert summary(load(file=tmp_path / "small"), "neurons") == [0, 0, 1, 0]  # Its first explanation is retired.
    assert bytes(Neuron.objects.get().activation_set.data) == before


@pytest.mark.django_db
def test_a_slice_of_the_bundled_sample_loads_and_loads_again(
    tmp_path: Path, neurons: list[PackedNeuron], card: Card
) -> None:
    write_sample(tmp_path / "slice", neurons[:40])
    said = load(file=tmp_path / "slice")
    assert summary(said, "neurons") == [40, 0, 0]
    assert summary(said, "explanations") == [80, 0, 0]
    model = SubjectModel.objects.get()
    assert (model.slug, model.name, model.layers, model.neurons_per_layer) == (
        "smollm2-135m",
        "SmolLM2-135M-Instruct",
        30,
        1536,
    )
    assert not Explanation.objects.exclude(source__in=["model", "baseline"]).exists()
    assert set(Simulation.objects.values_list("simulator", flat=True)) == {
        EMBEDDING_SIMULATOR,
        "token lookup",
    }
    assert Neuron.objects.filter(headline__source="model").count() == 40
    before = dump()
    load(file=tmp_path / "slice")
    assert dump() == before


@pytest.mark.django_db
def test_bad_files_are_refused_in_words(tmp_path: Path, card_file: Path) -> None:
    (tmp_path / "nonsense").write_bytes(b"nonsense")
    folder = write_dataset(tmp_path / "d")
    with pytest.raises(CommandError, match="absent cannot be read"):
        load(file=tmp_path / "absent")
    with pytest.raises(CommandError, match="nonsense cannot be read"):
        load(file=tmp_path / "nonsense")
    with pytest.raises(CommandError, match=r"card .*absent: cannot be read"):
        load(card=tmp_path / "absent")
    with pytest.raises(CommandError, match="cannot be written"):
        build(folder, card_file, tmp_path / "no" / "folder")
    with pytest.raises(CommandError, match="nothing to pack"):
        build(folder, card_file, tmp_path / "out", layers="9")
    (folder / "explanations" / "0" / "1.jsonl").write_bytes(b"{")
    with pytest.raises(CommandError, match=r"explanations/0/1\.jsonl: truncated"):
        build(folder, card_file, tmp_path / "out")
    assert not SubjectModel.objects.exists()
    assert len(NEURONS) == 3


def test_the_next_batch_is_read_while_one_is_stored() -> None:
    is_read = threading.Event()

    def batches() -> Iterator[list[PackedNeuron]]:
        yield []
        is_read.set()
        yield []

    found = read_ahead(batches())
    assert next(found) == []
    assert is_read.wait(timeout=30)
    assert list(found) == [[]]
