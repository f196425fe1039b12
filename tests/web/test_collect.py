"""`manage.py collect` and `merge_shards`: a tiny random model and a text to neurons on this site."""

from __future__ import annotations

import importlib.util
import json
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "numba")):
    pytest.skip("torch, transformers or numba not installed: pip install -e '.[models]'", allow_module_level=True)

from django.core.management import CommandError, call_command
from django.test import Client

from explanations import store
from explanations.models import Neuron, SubjectModel
from explanations.pipeline import packing
from tests.model.tiny import byte_tokenizer, save, tiny_family

pytestmark = pytest.mark.django_db

SMALL = {"excerpt_tokens": 8, "top": 20, "random": 15, "per_quantile": 2, "chunk": 8, "precision": "float32"}
WORDS = ["the", "cat", "sat", "on", "mat", "dog", "café", *"0123456789"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = byte_tokenizer()
    return save(tmp_path_factory.mktemp("model") / "tiny-llama", tiny_family("Llama", len(tokenizer)), tokenizer)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    file = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    texts = [" ".join(rng.choice(WORDS, size=40)) for _ in range(20)]
    file.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return file


def collect(folder: Path, text: Path, work: Path, **options: Any) -> str:
    out = StringIO()
    given = {"subject": folder, "corpus": [text], "model": "tiny-llama", "work": work, **SMALL, **options}
    call_command("collect", **given, stdout=out)
    return out.getvalue()


def test_neurons_are_on_the_site_with_all_that_was_found(folder: Path, corpus: Path, tmp_path: Path) -> None:
    said = collect(folder, corpus, tmp_path / "work")

    model = SubjectModel.objects.get(slug="tiny-llama")
    assert (model.layers, model.neurons_per_layer, model.neurons.count()) == (2, 48, 96)
    assert "2 layers of 48 neurons" in said
    assert "the gate's weights stand for" in model.description
    assert model.is_gated
    assert "<|endoftext|> was fed in front" in model.source
    neuron = Neuron.objects.get(layer=1, index=7)
    record = store.read_neuron_record(neuron)
    assert record is not None
    assert (len(record.top), len(record.random), len(record.bottom), len(record.by_quantile)) == (20, 15, 20, 4)
    assert neuron.max_activation == pytest.approx(float(record.top[0].activations.max()), rel=1e-3)
    assert store.unpack_peak(neuron.peak)
    assert neuron.kurtosis is not None
    related = packing.unpack_related(neuron.related_set.data)
    assert related.tokens_by_activation is not None
    assert related.neurons is not None
    assert related.neurons.downstream_positive is None
    assert not (tmp_path / "work").exists()


def test_the_page_of_a_collected_neuron_shows_both_sides(folder: Path, corpus: Path, tmp_path: Path) -> None:
    collect(folder, corpus, tmp_path)
    page = Client().get("/tiny-llama/layers/0/neurons/3/?excerpts=bottom").content.decode()
    assert "Lowest" in page
    assert "minimum" in page


def test_a_folder_in_the_public_format_imports_to_the_same(folder: Path, corpus: Path, tmp_path: Path) -> None:
    collect(folder, corpus, tmp_path / "work")
    out = StringIO()
    collect(folder, corpus, tmp_path / "work", out=tmp_path / "public")
    call_command("import_dataset", str(tmp_path / "public"), model="tiny-llama", jobs=1, stdout=out)
    lines = {line.split()[0]: line.split()[1:] for line in out.getvalue().splitlines() if line[:1].isalpha()}
    assert lines["neurons"][:3] == ["0", "0", "96"]


def test_shards_merged_are_what_one_run_is(folder: Path, corpus: Path, tmp_path: Path) -> None:
    collect(folder, corpus, tmp_path / "work", model="whole")
    for number in (1, 2):
        said = collect(folder, corpus, tmp_path / str(number), shard=f"{number}/2", model="parts")
        assert f"Shard {number} of 2 is in {tmp_path / str(number)}" in said
    assert not SubjectModel.objects.filter(slug="parts").exists()
    call_command(
        "merge_shards", tmp_path / "2", tmp_path / "1", subject=folder, model="parts", precision="float32",
        stdout=StringIO(),
    )  # fmt: skip
    rows = [
        list(
            Neuron.objects.filter(model__slug=slug)
            .order_by("layer", "index")
            .values_list("mean", "kurtosis", "max_activation", "activation_set__data", "related_set__data")
        )
        for slug in ("whole", "parts")
    ]
    assert len(rows[0]) == 96
    assert rows[0] == rows[1]


def test_a_run_that_is_told_to_stop_goes_on(
    folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(folder, corpus, tmp_path / "whole", model="whole")
    with monkeypatch.context() as patch:
        patch.setattr("explanations.management.commands.collect.stopping_on_signals", lambda: nullcontext(lambda: True))
        with pytest.raises(CommandError, match="keeps what is done, and the same command goes on") as caught:
            collect(folder, corpus, tmp_path / "work")
    assert caught.value.returncode == 130
    assert "has 64 tokens of this collection already" in collect(folder, corpus, tmp_path / "work")
    one, other = (
        list(Neuron.objects.filter(model__slug=slug).order_by("layer", "index").values_list("activation_set__data"))
        for slug in ("whole", "tiny-llama")
    )
    assert one == other


def test_a_finished_shard_is_not_collected_again(folder: Path, corpus: Path, tmp_path: Path) -> None:
    collect(folder, corpus, tmp_path, shard="2/2")
    said = collect(folder, corpus, tmp_path, shard="2/2")
    assert f"{tmp_path} has " in said
    assert "tokens: " not in said


def test_only_chosen_layers_are_collected(folder: Path, corpus: Path, tmp_path: Path) -> None:
    collect(folder, corpus, tmp_path, layers="1")
    assert set(Neuron.objects.values_list("layer", flat=True)) == {1}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"shard": "3/2"}, "--shard: “3/2” is not a part such as 2/8"),
        ({"layers": "9"}, "--layers: the model has layers 0 to 1"),
        ({"chunk": 12}, "--chunk is 12; it must be a power of two"),
        ({"top": 0}, "--top is 0; it must be at least 1"),
        ({"excerpt_tokens": 1000}, "--excerpt-tokens: 1000 is beyond the model's context of 512"),
        ({"excerpt_tokens": 500}, "no document of 500 tokens or more"),
        ({"excerpts": 0}, "--excerpts is 0"),
        ({"sink": "<nothing>"}, "--sink: the model's vocabulary has no token “<nothing>”"),
        ({"points": "a.{layer}"}, "--points: the model has no module a.0"),
        ({"subject": Path("/nowhere/at/all")}, "There is no folder"),
        ({"corpus": [Path("/nowhere/at/all.txt")]}, "--corpus: there is no file /nowhere/at/all.txt"),
        ({"model": "No Slug"}, "model “No Slug”"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    folder: Path, corpus: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CommandError) as caught:
        collect(folder, corpus, tmp_path, **options)
    assert reason in str(caught.value)


def test_other_settings_do_not_go_on_with_a_run(folder: Path, corpus: Path, tmp_path: Path) -> None:
    collect(folder, corpus, tmp_path, shard="1/2")
    with pytest.raises(CommandError, match=r"seed: 0 and 1.*--restart begins anew"):
        collect(folder, corpus, tmp_path, shard="1/2", seed=1)
    collect(folder, corpus, tmp_path, shard="1/2", seed=1, restart=True)
