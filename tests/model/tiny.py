"""Tiny random models with tokenizers of their own, made on the spot: exactness needs no weights from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXT = [
    "the cat sat on the mat\n",
    "cat\tunknown\ndog\tunknown\n the\tunknown\n",
    "café 10 100 😀 numbers: 0 1 2 3 4 5 6 7 8 9\n",
] * 20
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_tokenizer(*, merges_blanks: bool = False, bos: bool = False) -> Any:
    """Return a byte-level BPE tokenizer; with `merges_blanks` tabs and newlines join the words beside them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not merges_blanks)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT, trainer)
    if bos:
        pair = [("<|endoftext|>", 0)]
        backend.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=pair)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=SPECIAL[0], eos_token=SPECIAL[2], chat_template=TEMPLATE
    )


def sentencepiece_tokenizer() -> Any:
    """Return a BPE tokenizer in Llama 2's form: a blank in front of all texts, and bytes for what it does not know."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        ["▁the▁cat▁sat▁on▁the▁mat"] * 20,
        trainers.BpeTrainer(vocab_size=320, special_tokens=special, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def tiny_llama(vocabulary: int, seed: int = 0, window: int = 512) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2(vocabulary: int, seed: int = 0, window: int = 512) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=window, initializer_range=0.5,
        bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def save(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_GATED = {"num_key_value_heads": 2, "max_position_embeddings": 512}
FAMILIES: dict[str, dict[str, Any]] = {
    "GPT2": {"n_positions": 512, "n_inner": 48},
    "GPTNeoX": {"rotary_pct": 0.25},
    "Llama": _GATED,
    "Mistral": _GATED,
    "Gemma": {**_GATED, "head_dim": 8},
    "Gemma2": {**_GATED, "head_dim": 8},
    "Qwen2": _GATED,
    "Phi3": {**_GATED, "pad_token_id": 0},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32},
}
"""families of causal models, by the name of their classes in transformers"""


def tiny_family(family: str, vocabulary: int, seed: int = 0, layers: int = 2) -> Any:
    """Return a tiny random causal model of one of `FAMILIES`: d_model 32, d_mlp 48, 4 heads."""
    import torch
    import transformers

    torch.manual_seed(seed)
    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 2}
    widths = {} if family == "GPT2" else {"intermediate_size": 48}
    config = getattr(transformers, f"{family}Config")(**sizes, **widths, **ends, **FAMILIES[family])
    head = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    model = getattr(transformers, f"{family}{head}")(config).eval()
    for parameter in model.parameters():
        # Norms too: those that are all ones would hide whether they are folded in.
        torch.nn.init.normal_(parameter, mean=0.5 if parameter.ndim == 1 else 0.0, std=0.3)
    return model
