"""Importing with several processes, forked where the system has it, on the kind of database that the tests run on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings

from explanations.management import imports
from tests.public_files import write_dataset
from tests.web.processes import Databases

IMPORT = """
import sys, threading
import django
django.setup()
from django.core.management import call_command
from explanations.models import Neuron
from explanations.pipeline.ingest import processes

def note(start_method=processes._start_method):
    print("start", start_method(), threading.active_count())
    return start_method()

processes._start_method = note
call_command("migrate", verbosity=0)
call_command("import_dataset", sys.argv[1], model="tiny", jobs=int(sys.argv[2]))
# The same connection still answers, after the processes that were forked beside it have ended.
print("explained", list(Neuron.objects.order_by("layer", "index").values_list("layer", "index", "headline_text")))
"""


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    made.drop_all()


def test_processes_are_forked_and_the_database_answers_afterwards(databases: Databases, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "dataset")
    script = tmp_path / "imported.py"
    script.write_text(IMPORT)

    def run(jobs: int) -> list[str]:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "neuronviewer.settings",
            "DATABASE_URL": databases.make(f"import_{jobs}"),
            "NEURONVIEWER_DATA": str(tmp_path),
            "PYTHONPATH": str(settings.BASE_DIR),
        }
        command = [sys.executable, str(script), str(folder), str(jobs)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    several, alone = run(2), run(1)
    if sys.platform == "linux":
        assert "start fork 1" in several
    assert several[-1] == alone[-1]
    assert alone[-1].count("tokens such as") == 3


@pytest.mark.parametrize(("is_open", "names"), [(False, {"options"}), (True, {"options", "pool"})])
def test_a_command_leaves_the_pool_before_it_connects(
    monkeypatch: pytest.MonkeyPatch, is_open: bool, names: set[str]
) -> None:
    given = {"OPTIONS": {"pool": {"min_size": 1}, "options": "-c a=b"}}
    connection = SimpleNamespace(connection=object() if is_open else None, settings_dict=given)
    monkeypatch.setattr(imports, "connection", connection)
    imports.leave_pool()
    assert connection.settings_dict["OPTIONS"].keys() == names
    assert given["OPTIONS"].keys() == {"options", "pool"}
