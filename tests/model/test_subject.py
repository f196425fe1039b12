"""Subject models of each family: where their neurons are, and what they do on a text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
    pytest.skip("torch and transformers not installed: pip install -e '.[models]'", allow_module_level=True)

import torch

from explanations.pipeline.subject import SubjectModelError, open_subject
from explanations.pipeline.subject.hooks import hooked
from explanations.pipeline.subject.points import find_points
from explanations.pipeline.subject.texts import Texts
from explanations.pipeline.subject.transformer import TransformerSubject
from tests.model.tiny import FAMILIES, byte_tokenizer, save, sentencepiece_tokenizer, tiny_family

LAST = {
    "GPT2": "transformer.h.1.mlp.c_proj",
    "GPTNeoX": "gpt_neox.layers.1.mlp.dense_4h_to_h",
    "OPT": "model.decoder.layers.1.fc2",
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


@pytest.fixture
def subject(tokenizer: Any) -> TransformerSubject:
    return TransformerSubject(tiny_family("Llama", len(tokenizer)), tokenizer)


def count_hooks(model: Any) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_projection_of_each_family_is_found(family: str, tokenizer: Any) -> None:
    points = find_points(tiny_family(family, len(tokenizer)))
    assert [(point.layer, point.width, point.d_model) for point in points] == [(0, 48, 32), (1, 48, 32)]
    assert points[1].name == LAST.get(family, "model.layers.1.mlp.down_proj")


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_times_the_last_projection_are_what_the_mlp_writes(family: str, tokenizer: Any) -> None:
    subject = TransformerSubject(tiny_family(family, len(tokenizer)), tokenizer)
    written: list[Any] = []
    last = subject.model.get_submodule(subject.points[1].name)
    handle = last.register_forward_hook(lambda _module, _given, out: written.append(out.view(1, -1, 32)[:, 1:]))
    ids = subject.tokenise("the cat sat on the mat").ids
    [_, found] = subject.activations([ids])
    handle.remove()
    assert found.shape == (1, len(ids), 48)
    weight = last.weight if family == "GPT2" else last.weight.T  # [d_mlp, d_model]
    bias = 0 if last.bias is None else last.bias.detach().numpy()
    np.testing.assert_allclose(found @ weight.detach().numpy() + bias, written[0], atol=1e-4)


def test_gated_activations_are_gate_times_up(subject: TransformerSubject) -> None:
    mlp = subject.model.model.layers[0].mlp
    parts: dict[str, Any] = {}
    for name in ("gate_proj", "up_proj"):
        mlp.get_submodule(name).register_forward_hook(
            lambda _module, _given, out, name=name: parts.__setitem__(name, out)
        )
    [found, _] = subject.activations([subject.tokenise("the cat").ids])
    expected = torch.nn.functional.silu(parts["gate_proj"]) * parts["up_proj"]
    np.testing.assert_allclose(found, expected[:, 1:], atol=1e-6)


def test_rows_of_different_lengths_are_what_each_is_alone(subject: TransformerSubject) -> None:
    rows = [subject.tokenise(text).ids for text in ("the cat sat on the mat", "dog", "10 the")]
    together = subject.activations(rows)
    for place, row in enumerate(rows):
        for found, alone in zip(together, subject.activations([row]), strict=True):
            np.testing.assert_allclose(found[place, : len(row)], alone[0], atol=1e-5)
            assert np.isnan(found[place, len(row) :]).all()


def test_no_rows_and_empty_rows_have_no_activations(subject: TransformerSubject) -> None:
    assert [part.shape for part in subject.activations([])] == [(0, 0, 48)] * 2
    assert [part.shape for part in subject.activations([[]])] == [(1, 0, 48)] * 2


def test_hooks_are_removed_even_where_the_model_fails(subject: TransformerSubject) -> None:
    ids = subject.tokenise("the cat").ids
    subject.activations([ids])
    assert count_hooks(subject.model) == 0

    def stop() -> None:
        with hooked(subject.model, subject.points, lambda _point, _values: None):
            assert count_hooks(subject.model) == 2
            subject.body(torch.tensor([[10**6]]))

    with pytest.raises(IndexError):
        stop()
    assert count_hooks(subject.model) == 0


def test_the_token_in_front_is_fed_and_not_recorded(tokenizer: Any) -> None:
    model = tiny_family("GPT2", len(tokenizer))
    ids = Texts(tokenizer).encode("the cat sat")
    by_hand = TransformerSubject(model, tokenizer, sink="none").activations([[0, *ids]])
    found = TransformerSubject(model, tokenizer).activations([ids])
    np.testing.assert_allclose(found[1], by_hand[1][:, 1:], atol=1e-6)


def test_the_token_in_front_is_chosen(tokenizer: Any) -> None:
    assert Texts(tokenizer).sink_name == "<|endoftext|>"
    assert Texts(tokenizer, "<|im_start|>").sink == 1
    assert Texts(tokenizer, "none").sink is None
    with pytest.raises(SubjectModelError, match="no token “<none>”"):
        Texts(tokenizer, "<none>")


@pytest.mark.parametrize("make", [byte_tokenizer, lambda: byte_tokenizer(bos=True), sentencepiece_tokenizer])
def test_tokens_say_the_text_and_nothing_is_added(make: Any) -> None:
    found = Texts(make()).tokenise("the cat sat")
    assert "".join(found.tokens).lstrip() == "the cat sat"
    assert len(found.ids) == len(found.tokens)


def test_half_a_character_is_shown_as_such(tokenizer: Any) -> None:
    assert "\ufffd" in Texts(tokenizer).tokenise("日").tokens


def test_candidates_are_listed_where_the_last_projection_cannot_be_told(tokenizer: Any) -> None:
    model = tiny_family("Llama", len(tokenizer))
    model.model.layers[1].mlp.w2 = torch.nn.Linear(48, 32)
    with pytest.raises(SubjectModelError) as caught:
        find_points(model)
    text = str(caught.value)
    assert "several modules of model.layers.1 could be" in text
    assert "model.layers.{layer}.mlp.w2 (48 -> 32)" in text
    assert "--points 'model.layers.{layer}.mlp." in text


def test_points_are_named_by_hand(tokenizer: Any) -> None:
    model = tiny_family("Llama", len(tokenizer))
    points = find_points(model, "model.layers.{layer}.self_attn.o_proj")
    assert [(point.name, point.width) for point in points] == [
        ("model.layers.0.self_attn.o_proj", 32),
        ("model.layers.1.self_attn.o_proj", 32),
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("mlp.down_proj", "has no {layer}"),
        ("model.layers.{layer}.mlp.nothing", "no module model.layers.0.mlp.nothing"),
        ("model.layers.{layer}.mlp", "is a LlamaMLP, not a linear module"),
    ],
)
def test_a_wrong_pattern_is_refused(pattern: str, expected: str, tokenizer: Any) -> None:
    with pytest.raises(SubjectModelError, match=expected):
        find_points(tiny_family("Llama", len(tokenizer)), pattern)


def test_a_folder_opens_as_a_subject_model(tmp_path: Path, tokenizer: Any) -> None:
    folder = save(tmp_path / "tiny", tiny_family("GPTNeoX", len(tokenizer)), tokenizer)
    subject = open_subject(folder, precision="float32")
    assert (subject.name, len(subject.points), subject.context_window) == ("tiny", 2, 2048)
    assert np.isfinite(subject.activations([subject.tokenise("the cat").ids])[1]).all()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubjectModelError, match="There is no folder"):
        open_subject(tmp_path / "absent")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SubjectModelError, match="holds no causal language model"):
        open_subject(tmp_path)
