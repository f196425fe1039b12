"""How torch's threads wait: libgomp says at its start what it was told."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("torch not installed: pip install -e '.[models]'", allow_module_level=True)

from explanations.pipeline.subject.threads import SPINS, WAITING

LOADING = """
import os, sys
from explanations.pipeline.subject.threads import load_torch
assert "torch" not in sys.modules
load_torch()
print("GOMP_SPINCOUNT" in os.environ)
import torch
"""


def load(**environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in WAITING}
    return subprocess.run(
        [sys.executable, "-c", LOADING],
        env={**inherited, "OMP_DISPLAY_ENV": "verbose", **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_torch_is_loaded_with_threads_that_sleep_soon() -> None:
    told = load()
    if "GOMP_SPINCOUNT" not in told.stderr:
        pytest.skip("torch here does not use libgomp")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in told.stderr
    assert told.stdout == "False\n"


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "PASSIVE")])
def test_what_the_user_says_about_waiting_stays(name: str, value: str) -> None:
    told = load(**{name: value})
    if "GOMP_SPINCOUNT" not in told.stderr:
        pytest.skip("torch here does not use libgomp")
    assert f"{name} = '{value}'" in told.stderr
    assert f"GOMP_SPINCOUNT = '{SPINS}'" not in told.stderr
