"""Language models from this machine's disk, where the extra [models] is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias, cast

from explanations.pipeline.language_models.protocol import LanguageModel, LanguageModelError

LIBRARIES = ("torch", "transformers", "safetensors")
GGUF_LIBRARIES = ("gguf", "accelerate")
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]


def is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf"


def why_not_loadable(path: Path) -> str:
    """Return why no language model can be loaded from here, looking at nothing but names; empty where it seems fine."""
    needed = (*LIBRARIES, *(GGUF_LIBRARIES if is_gguf(path) else ()))
    if absent := [name for name in needed if find_spec(name) is None]:
        return f"A local language model needs {', '.join(absent)}: pip install 'neuronviewer[models]'."
    if is_gguf(path):
        return "" if path.is_file() else f"There is no file {path}."
    if not path.is_dir():
        return (
            f"There is no folder {path}; a local language model is a folder as transformers writes it, or a .gguf file."
        )
    if not (path / "config.json").is_file():
        return f"The folder {path} holds no config.json, so transformers cannot load a language model from it."
    return ""


def load_local(path: Path, *, device: str = "auto", precision: Precision = "auto", name: str = "") -> LanguageModel:
    """Return the causal language model in a folder or GGUF file. Nothing is downloaded. LanguageModelError.

    `auto` takes a GPU where there is one, and half the precision where the processor computes it as fast.
    """
    path = Path(path).expanduser()
    if problem := why_not_loadable(path):
        raise LanguageModelError(problem)
    # By its name: pages offer local models, and must not reach torch by what they import.
    opening = import_module("explanations.pipeline.language_models.opening")
    return cast(LanguageModel, opening.open_model(path, device=device, precision=precision, name=name))
