"""What is imported when: heavy libraries only where their work is done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "transformers", "pandas", "plotly", "pyarrow", "onnxruntime", "tokenizers"]


def modules_after(statements: str, tmp_path: Path) -> set[str]:
    """Return the names of all modules that a new Python has loaded after these statements."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\nimport sys; print(*sys.modules)"],
        cwd=ROOT,
        env={"NEURONVIEWER_DATA": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_web_process_starts_without_heavy_libraries(tmp_path: Path) -> None:
    # Loading the addresses loads every view, form and template tag.
    # DEBUG, since no static files are collected here.
    start = (
        "import os; os.environ['DEBUG'] = '1'\n"
        "import neuronviewer.wsgi, importlib\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
        "from django.template import engines; engines['django'].engine.template_libraries\n"
        "importlib.import_module('explanations.templatetags.neurons')"
    )
    assert modules_after(start, tmp_path).isdisjoint(HEAVY)


def test_an_import_from_a_folder_waits_for_no_library_of_the_web_or_the_terminal(tmp_path: Path) -> None:
    start = (
        "import os, django; os.environ.update(DEBUG='1', DJANGO_SETTINGS_MODULE='neuronviewer.settings')\n"
        "django.setup()\n"
        "import explanations.management.commands.import_dataset"
    )
    assert modules_after(start, tmp_path).isdisjoint([*HEAVY, "httpx", "tenacity", "rich"])


@pytest.mark.parametrize("module", ["records", "packing"])
def test_the_pipeline_imports_without_django(module: str, tmp_path: Path) -> None:
    loaded = modules_after(f"import explanations.pipeline.{module}", tmp_path)
    assert loaded.isdisjoint({"django", *HEAVY})
