"""Right explanations against wrong ones, and the neurons that they are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from explanations.pipeline.evaluation import (
    ExplainedNeuron,
    Judging,
    Outcome,
    Simulating,
    Trial,
    Trials,
    TrialsFileError,
    choose_neurons,
    explained_in_folder,
    explained_in_sample,
    lookup_score,
    mean_interval,
    summarise,
    try_explanations,
    wrong_explanations,
)
from explanations.pipeline.evaluation import right_and_wrong as module
from explanations.pipeline.ingest import Ingester
from explanations.pipeline.json_reading import BrokenFileError
from explanations.pipeline.layout import ALL_KINDS, DataKind, FolderSource, NoDatasetError
from explanations.pipeline.records import NORMALISED_SCALE, ActivationRecord, NeuronId, NeuronRecord
from explanations.pipeline.run import PipelineError
from explanations.pipeline.sample_file import SampleFileError, write_sample
from explanations.pipeline.simulator import Simulate, Simulated, SimulationError
from tests.pipeline.fake_model import FakeModel
from tests.pipeline.real_baseline import PUBLISHED, Published
from tests.public_files import NEURONS, write_dataset


@dataclass(frozen=True)
class NamedWord:
    """Fires at the tokens that the explanation is; refuses to read "?"."""

    name: str = "named word"
    description: str = "."
    cost: str = "no cost"
    method: str = "toy"
    scale: str = NORMALISED_SCALE

    def fit(self, train: Sequence[ActivationRecord]) -> Simulate:
        def simulate(explanation: str, tokens: Sequence[str]) -> Simulated:
            if explanation == "?":
                raise SimulationError("cannot be read")
            return Simulated(np.array([10.0 * (token == explanation) for token in tokens]))

        return simulate


TOY = Simulating(NamedWord())


def firing_at(word: str, text: str) -> ExplainedNeuron:
    """Return a neuron that fires at a word in every second excerpt."""
    active = ActivationRecord(("a", word, "b"), np.array([0.0, 1.0, 0.0]))
    silent = ActivationRecord(("a", "b", "c", "d"), np.zeros(4))
    record = NeuronRecord(NeuronId(0, ord(word[0])), (active,) * 20, (silent,) * 15)
    return ExplainedNeuron(record, text)


def test_the_right_explanation_is_scored_and_so_are_the_wrong_ones() -> None:
    told: list[int] = []
    outcome = try_explanations(firing_at("x", "x"), ["a", "z"], TOY, told.append).outcome()
    assert outcome.right == pytest.approx(1)
    assert outcome.wrong[0] is not None
    assert outcome.wrong[0] < 0
    assert outcome.wrong[1] is None
    assert (outcome.failures, told) == (0, [10, 10, 10])


def test_simulated_values_tell_excerpts_and_marks_apart_too() -> None:
    trial = try_explanations(firing_at("x", "x"), ["b", "z"], TOY, lambda _: None)
    # "b" is in every excerpt and never where the neuron fires; "z" is nowhere, so nothing is told apart.
    assert trial.outcome("detection") == Outcome(1.0, (0.5, 0.5), 0)
    fuzzing = trial.outcome("fuzzing")
    assert fuzzing.right == 1.0
    assert fuzzing.wrong[0] is not None
    assert fuzzing.wrong[0] < 0.5
    assert fuzzing.wrong[1] == 0.5


def test_a_language_model_is_asked_about_the_same_excerpts() -> None:
    model = FakeModel(expect=lambda _: {" yes": 0.9, " no": 0.1})
    contestant = Judging(model)
    assert (contestant.name, contestant.version) == ("fake, asked about excerpts", "detection-1, fuzzing-1")
    trial = try_explanations(firing_at("x", "x"), ["z"], contestant, lambda _: None)
    # It says yes to everything.
    assert trial.outcome("detection") == Outcome(0.5, (0.5,), 0)
    assert trial.outcome("fuzzing") == Outcome(0.5, (0.5,), 0)
    assert trial.outcome("correlation").right is None


def test_an_undefined_auc_counts_as_chance() -> None:
    found = summarise([Outcome(None, (0.75, None), 0)], chance=0.5)
    assert found.right is not None
    assert found.pairs is not None
    assert (found.right.mean, found.wrong, found.pairs.mean) == (0.5, 0.625, 0.25)


def test_trials_are_kept_and_not_made_again(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    made: list[str] = []

    def make(trials: Trials, text: str) -> Outcome:
        def do() -> Trial:
            made.append(text)
            return try_explanations(firing_at("x", text), ["z"], TOY, lambda _: None)

        return trials.make(TOY.name, TOY.version, "neuron 0:120", (text, "z"), do).outcome()

    first = make(Trials.read(file), "x")
    assert make(Trials.read(file), "x") == first
    assert made == ["x"]
    make(Trials.read(file), "a")
    assert made == ["x", "a"]
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])  # killed while it wrote
    assert make(Trials.read(file), "a") == make(Trials.read(file), "a")
    assert made == ["x", "a", "a"]
    assert file.read_bytes() == whole


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text('{"contestant": 3}\n')
    with pytest.raises(TrialsFileError, match=r"notes\.txt, line 1"):
        Trials.read(file)


def test_an_excerpt_that_fails_is_counted() -> None:
    assert try_explanations(firing_at("x", "?"), ["x"], TOY, lambda _: None).outcome().failures == 10


def test_a_neuron_with_too_few_excerpts_is_refused() -> None:
    record = NeuronRecord(NeuronId(3, 4), firing_at("x", "x").record.top[:10], ())
    with pytest.raises(PipelineError, match="Neuron 3:4 has 10 top and 0 random excerpts"):
        try_explanations(ExplainedNeuron(record, "x"), (), TOY, lambda _: None)


@pytest.mark.parametrize("case", PUBLISHED[:2], ids=lambda case: str(case.record.neuron_id))
def test_the_lookup_baselines_score_is_the_published_one(case: Published) -> None:
    assert lookup_score(case.record) == pytest.approx(case.whole[0])


def test_summarising_counts_undefined_as_nothing_and_equals_as_half() -> None:
    found = summarise([Outcome(0.5, (0.1, None), 0), Outcome(None, (0.0, -0.2), 3)])
    assert found.right is not None
    assert found.pairs is not None
    assert found.right.mean == 0.25
    assert found.wrong == pytest.approx((0.05 - 0.1) / 2)
    assert found.pairs.mean == (1 + 0.75) / 2
    assert (found.neurons, found.undefined, found.failures) == (2, 1, 3)


def test_nothing_has_no_mean() -> None:
    found = summarise([])
    assert (found.right, found.wrong, found.pairs) == (None, None, None)


def test_intervals_hold_the_mean_and_close_on_it() -> None:
    rng = np.random.default_rng(1)
    wide, narrow = (mean_interval(rng.normal(size=n)) for n in (20, 2000))
    assert wide is not None
    assert narrow is not None
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 5
    assert mean_interval(np.ones(9)) == module.Interval(1, 1, 1)


def test_wrong_explanations_are_others_and_always_the_same() -> None:
    neurons = [firing_at(letter, f"about {letter}") for letter in "abcdefgh"]
    found = wrong_explanations(neurons)
    assert found == wrong_explanations(neurons)
    for neuron in neurons:
        wrong = found[neuron.record.neuron_id]
        assert len(set(wrong)) == 5
        assert neuron.text not in wrong
    assert wrong_explanations(neurons[:1]) == {neurons[0].record.neuron_id: ()}


def test_neurons_are_chosen_by_a_lot_that_does_not_change() -> None:
    every = [NeuronId(layer, index) for layer in range(10) for index in range(10)]
    chosen = choose_neurons(every, 30)
    assert choose_neurons(every[::-1], 20, skip=10) == chosen[10:]
    assert len(set(chosen)) == 30
    assert chosen != sorted(chosen)
    assert choose_neurons(every, 5, skip=100) == []


def test_folder_and_sample_file_give_the_same_neurons(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "public")
    ingester = Ingester(FolderSource.open(folder), ALL_KINDS)
    write_sample(tmp_path / "sample.parquet", [ingester.ingest(neuron_id) for neuron_id in NEURONS])
    from_folder = explained_in_folder(folder, 10)
    from_sample = explained_in_sample(tmp_path / "sample.parquet", 10, skip=0)
    assert len(from_folder) == len(NEURONS)
    for one, other in zip(from_folder, from_sample, strict=True):
        assert one.text == other.text == f"days of the week {one.record.neuron_id}"
        assert one.record.neuron_id == other.record.neuron_id
        pairs = zip(one.record.top + one.record.random, other.record.top + other.record.random, strict=True)
        for a, b in pairs:
            assert a.tokens == b.tokens
            assert np.allclose(a.activations, b.activations, rtol=1e-3)


def test_what_is_no_dataset_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoDatasetError):
        explained_in_folder(tmp_path, 5)
    with pytest.raises(SampleFileError):
        explained_in_sample(tmp_path / "none", 5)


@pytest.mark.parametrize("kind", [DataKind.ACTIVATIONS, DataKind.EXPLANATIONS])
def test_a_broken_file_is_named(tmp_path: Path, kind: DataKind) -> None:
    folder = write_dataset(tmp_path)
    (folder / kind.path(NEURONS[1])).write_bytes(b"{")
    with pytest.raises(BrokenFileError, match=kind.path(NEURONS[1])):
        explained_in_folder(folder, 3)
