"""Related tokens and neurons by weight: as the formats define them, each family's norms and gates folded in."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
    pytest.skip("torch and transformers not installed: pip install -e '.[models]'", allow_module_level=True)

import torch

from explanations.pipeline.collecting import weights as weights_module
from explanations.pipeline.collecting.weights import LayerWeights, Ranked, Weights, gain_of, is_gated
from explanations.pipeline.subject.transformer import TransformerSubject
from tests.model.tiny import FAMILIES, byte_tokenizer, tiny_family

GATED = {"Llama", "Mistral", "Gemma", "Gemma2", "Qwen2", "Phi3"}
BEFORE_MLP = {
    "GPT2": "transformer.h.{}.ln_2",
    "GPTNeoX": "gpt_neox.layers.{}.post_attention_layernorm",
    "Gemma2": "model.layers.{}.pre_feedforward_layernorm",
    "OPT": "model.decoder.layers.{}.final_layer_norm",
}
FINAL = {
    "GPT2": "transformer.ln_f",
    "GPTNeoX": "gpt_neox.final_layer_norm",
    "OPT": "model.decoder.final_layer_norm",
}
FIRST = {
    "GPT2": "transformer.h.{}.mlp.c_fc",
    "GPTNeoX": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
    "OPT": "model.decoder.layers.{}.fc1",
    "Phi3": "model.layers.{}.mlp.gate_up_proj",
}


def made(family: str) -> tuple[TransformerSubject, Weights, list[LayerWeights]]:
    tokenizer = byte_tokenizer()
    subject = TransformerSubject(tiny_family(family, len(tokenizer), layers=3), tokenizer)
    weights = Weights(subject, subject.points)
    return subject, weights, [weights.layer(place) for place in range(3)]


def by_hand(subject: TransformerSubject, family: str) -> tuple[list[Any], list[Any], Any, Any]:
    """Return each layer's reading [d_model, d_mlp] and writing [d_mlp, d_model], the embedding, and the head's rows."""
    model = subject.model
    shift = 1.0 if family.startswith("Gemma") else 0.0
    reads, writes = [], []
    for layer in range(3):
        gain = model.get_submodule(BEFORE_MLP.get(family, "model.layers.{}.post_attention_layernorm").format(layer))
        first = model.get_submodule(FIRST.get(family, "model.layers.{}.mlp.gate_proj").format(layer)).weight
        last = model.get_submodule(subject.points[layer].name).weight
        first, last = (first, last) if family == "GPT2" else (first.T, last.T)
        reads.append((gain.weight + shift)[:, None] * first[:, :48])
        writes.append(last)
    final = model.get_submodule(FINAL.get(family, "model.norm")).weight + shift
    embedding = model.get_input_embeddings().weight
    return reads, writes, embedding, model.get_output_embeddings().weight * final


def strongest(strengths: Any, wanted: int) -> tuple[Any, Any]:
    """Return the highest and lowest of [other, neuron], for each neuron."""
    ordered = strengths.T.sort(dim=1).values
    return ordered[:, -wanted:].flip(1), ordered[:, :wanted]


def check(found: tuple[Ranked, Ranked], strengths: Any, wanted: int) -> None:
    for side, expected in zip(found, strongest(strengths, wanted), strict=True):
        torch.testing.assert_close(side.strengths, expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(strengths.T.gather(1, side.places), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_what_the_formats_define(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "ROWS", 100)
    subject, weights, layers = made(family)
    assert weights.has_norms
    assert weights.is_gated == (family in GATED)
    with torch.inference_mode():
        reads, writes, embedding, head = by_hand(subject, family)
        vocabulary = subject.texts.vocabulary
        for layer, found in enumerate(layers):
            check(found.input_tokens, embedding[:vocabulary] @ reads[layer], 30)
            check(found.output_tokens, head[:vocabulary] @ writes[layer].T, 30)
            earlier = [writes[other] @ reads[layer] for other in range(layer)]
            later = [(writes[layer] @ reads[other]).T for other in range(layer + 1, 3)]
            assert (found.upstream is None) == (not earlier)
            assert (found.downstream is None) == (not later)
            if found.upstream:
                check(found.upstream, torch.cat(earlier), 10)
            if found.downstream:
                shifted = [torch.zeros(48 * (layer + 1), 48), torch.cat(later)]
                sides = zip(found.downstream, strongest(torch.cat(later), 10), strict=True)
                for side, expected in sides:
                    torch.testing.assert_close(side.strengths, expected, rtol=1e-3, atol=1e-3)
                    torch.testing.assert_close(
                        torch.cat(shifted).T.gather(1, side.places), expected, rtol=1e-3, atol=1e-3
                    )


def test_neurons_are_counted_through_the_layers() -> None:
    _, weights, _ = made("Llama")
    assert [weights.neuron_at(place) for place in (0, 47, 48, 143)] == [(0, 0), (0, 47), (1, 0), (2, 47)]


def test_no_hooks_are_left_behind() -> None:
    subject, _, _ = made("Llama")
    modules = list(subject.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_a_gain_that_is_kept_as_its_distance_from_one_is_told() -> None:
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    for norm, shift in ((GemmaRMSNorm(32), 1.0), (LlamaRMSNorm(32), 0.0), (torch.nn.LayerNorm(32), 0.0)):
        torch.nn.init.normal_(norm.weight)
        assert torch.equal(gain_of(norm, 32), norm.weight.detach() + shift)


def test_gated_families_are_told() -> None:
    tokenizer = byte_tokenizer()
    for family in FAMILIES:
        subject = TransformerSubject(tiny_family(family, len(tokenizer)), tokenizer)
        assert is_gated(subject, subject.points[0]) == (family in GATED)
