"""Texts on a real (tiny, random) transformer: through the folder that is configured, to the result that is kept."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
    pytest.skip("torch and transformers not installed: pip install -e '.[models]'", allow_module_level=True)

import torch

from explanations import subjects, trials
from explanations.models import Neuron, SubjectModel
from explanations.pipeline import trying
from explanations.pipeline.subject import SubjectModelError, open_subject
from explanations.pipeline.subject.threads import at_most_threads
from explanations.pipeline.trying import Firing, TriedNeuron
from tests.model.tiny import byte_tokenizer, save, tiny_family
from tests.web.trying_site import run
from tests.world import person

pytestmark = pytest.mark.django_db
TEXT = "the cat sat on the mat, 10 dogs"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = byte_tokenizer()
    return save(tmp_path_factory.mktemp("saved") / "tiny", tiny_family("Llama", len(tokenizer)), tokenizer)


@pytest.fixture
def folder(saved: Path, tmp_path: Path, settings: Any) -> Path:
    subjects._open.cache_clear()
    shutil.copytree(saved, tmp_path / "llama")
    settings.NEURONVIEWER_SUBJECTS = {"llama": tmp_path / "llama"}
    return tmp_path / "llama"


@pytest.fixture
def model() -> SubjectModel:
    model = SubjectModel.objects.create(slug="llama", name="Llama", layers=2, neurons_per_layer=48)
    places = [(layer, index) for layer in range(2) for index in range(48)]
    Neuron.objects.bulk_create(Neuron(model=model, layer=p[0], index=p[1], max_activation=2.0) for p in places)
    return model


def warm(**shape: int) -> Any:
    return subjects.warm_subject("llama", **({"layers": 2, "neurons_per_layer": 48} | shape))


def test_a_neurons_activations_on_a_text_are_the_models_own(folder: Path, model: SubjectModel) -> None:
    neuron = Neuron.objects.get(layer=1, index=7)
    trial = trials.request_trial(model=model, neuron=neuron, text=TEXT, author=person("reader"))
    assert run(trial) == "done", trial.error
    result = trying.decode(trial.result, TriedNeuron)
    alone = open_subject(folder)
    tokenised = alone.tokenise(TEXT)
    assert trying.tokens_of(result) == tokenised.tokens
    expected = alone.activations([tokenised.ids])[1][0, :, 7]
    np.testing.assert_allclose(trying.values_of(result.real), expected, rtol=1e-6)


def test_neurons_that_fire_are_the_models_strongest(folder: Path, model: SubjectModel) -> None:
    trial = trials.request_trial(model=model, neuron=None, text=TEXT, author=person("reader"))
    assert run(trial) == "done", trial.error
    firing = trying.decode(trial.result, Firing)
    alone = open_subject(folder)
    highest = np.stack([layer[0].max(axis=0) for layer in alone.activations([alone.tokenise(TEXT).ids])])
    first = firing.strongest[0]
    assert (first.layer, first.index) == np.unravel_index(highest.argmax(), highest.shape)
    assert first.relative == pytest.approx(float(highest.max()) / 2)
    assert (firing.ranked, firing.unknown) == (96, 0)


def test_a_model_stays_warm_until_its_folder_changes(folder: Path) -> None:
    first = warm()
    assert warm() is first
    os.utime(folder, ns=(0, folder.stat().st_mtime_ns + 10**9))
    assert warm() is not first


def test_no_more_models_stay_warm_than_are_allowed(folder: Path, settings: Any, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    settings.NEURONVIEWER_SUBJECTS = {"llama": folder, "other": tmp_path / "other"}
    first = warm()
    subjects.warm_subject("other", layers=2, neurons_per_layer=48)
    assert subjects._open.cache_info().currsize == subjects.WARM
    assert warm() is not first


def test_a_folder_that_is_deleted_while_its_model_is_warm_is_said_to_be_gone(folder: Path) -> None:
    warm()
    shutil.rmtree(folder)
    with pytest.raises(SubjectModelError, match="names for this model is not there"):
        warm()


@pytest.mark.parametrize("shape", [{"layers": 3}, {"neurons_per_layer": 64}])
def test_a_folder_with_another_model_is_refused(folder: Path, shape: dict[str, int]) -> None:
    with pytest.raises(SubjectModelError, match="holds 2 layers of 48 neurons, but"):
        warm(**shape)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_folder_is_refused_without_saying_where_it_is(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    with pytest.raises(SubjectModelError) as caught:
        warm()
    assert "holds no causal language model" in str(caught.value)
    assert str(folder) not in str(caught.value)


def test_torch_takes_its_threads_back() -> None:
    before = torch.get_num_threads()
    with at_most_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with at_most_threads(before + 5):
        assert torch.get_num_threads() == before
