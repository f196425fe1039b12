"""From a folder or GGUF file to a `LocalModel`. Called by `loading.load_local`; imports torch and transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from explanations.pipeline.language_models.computing import Transformer
from explanations.pipeline.language_models.loading import Precision, is_gguf
from explanations.pipeline.language_models.local import LocalModel
from explanations.pipeline.language_models.protocol import LanguageModelError

SINGLE_DIGITS = frozenset({"smollm", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
"""pre-tokenizers of GGUF files that split digits, which transformers reads as GPT-2's, which does not"""


def open_model(path: Path, *, device: str, precision: Precision, name: str) -> LocalModel:
    """Return the model, ready to answer. LanguageModelError where transformers cannot load it."""
    model, tokenizer = read_on_device(path, device=device, precision=precision)
    check_model(model, tokenizer, path)
    return LocalModel(
        Transformer(model),
        tokenizer,
        name=name or (path.resolve().stem if is_gguf(path) else path.resolve().name),
        context_window=context_window(model.config, tokenizer),
        ends=end_tokens(model, tokenizer),
    )


def read_on_device(path: Path, *, device: str, precision: Precision) -> tuple[Any, Any]:
    """Return the model, on its device and ready to run, and its tokenizer. LanguageModelError."""
    device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, tokenizer = read_model(path, fast_precision(device) if precision == "auto" else precision)
        return model.to(device).eval(), tokenizer
    except Exception as error:  # whatever the loaders raise at a damaged file
        problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
    raise LanguageModelError(f"{path} holds no causal language model that transformers can load ({problem}).")


def read_model(path: Path, precision: str) -> tuple[Any, Any]:
    """Return the model and its tokenizer as transformers reads them; a GGUF's weights are dequantised."""
    folder, options = (path.parent, {"gguf_file": path.name}) if is_gguf(path) else (path, {})
    quiet_progress()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **options)
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, dtype=getattr(torch, precision), **options, **dequantised(options)
    )
    if options:
        correct_digits(tokenizer, path)
    return model, tokenizer


def dequantised(options: dict[str, str]) -> dict[str, Any]:
    """Return what makes a GGUF's weights ordinary ones, so that the model can be saved again."""
    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if options and config else {}


def correct_digits(tokenizer: Any, gguf: Path) -> None:
    """Split digits where the GGUF says so, as llama.cpp does."""
    from gguf import GGUFReader

    field = GGUFReader(gguf).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() in SINGLE_DIGITS:
        backend = tokenizer.backend_tokenizer
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])


def quiet_progress() -> None:
    """Keep progress bars out of logs."""
    transformers.utils.logging.disable_progress_bar()


def check_model(model: Any, tokenizer: Any, path: Path) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise LanguageModelError(f"{path} has no fast tokenizer (tokenizer.json), which log-probabilities need.")
    if getattr(model, "_is_stateful", False) or model.config.is_encoder_decoder:
        raise LanguageModelError(
            f"{path} is a {model.config.model_type} model; only causal transformers are supported."
        )


def fast_precision(device: str) -> str:
    """Return bfloat16 where the processor multiplies it as fast, else float32."""
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "mps":
        return "float16"
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return "bfloat16" if any(check is not None and check() for check in checks) else "float32"


def context_window(config: Any, tokenizer: Any) -> int | None:
    text = config.get_text_config(decoder=True)
    told = [getattr(text, "max_position_embeddings", None), tokenizer.model_max_length]
    # A tokenizer without a limit of its own says 10 ** 30.
    limits = [int(limit) for limit in told if isinstance(limit, int | float) and 0 < limit < 10**9]
    return min(limits, default=None)


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    told = getattr(model.generation_config, "eos_token_id", None)
    several = told if isinstance(told, list) else [told]
    return frozenset(token for token in [*several, tokenizer.eos_token_id] if token is not None)
