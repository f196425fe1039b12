"""Ingesting in several processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest

from explanations.pipeline.ingest import default_processes, open_ingesters
from explanations.pipeline.layout import ALL_KINDS, FolderSource
from tests.public_files import NEURONS, write_dataset

WAITING = """
import sys
from pathlib import Path
from explanations.pipeline.ingest import open_ingesters
from explanations.pipeline.layout import ALL_KINDS, FolderSource
from explanations.pipeline.records import NeuronId

def chunks():
    for _ in range(4):
        yield [(NeuronId(0, 0), None)]

if __name__ == "__main__":
    with open_ingesters(FolderSource.open(Path(sys.argv[1])), ALL_KINDS, 2) as ingest:
        next(ingest(chunks()))
        print("running", flush=True)
        sys.stdin.read()
"""


@pytest.mark.slow
def test_several_processes_give_what_one_gives(tmp_path: Path) -> None:
    source = FolderSource.open(write_dataset(tmp_path / "d"))
    chunks = [[(neuron_id, None)] for neuron_id in NEURONS]
    with open_ingesters(source, ALL_KINDS) as ingest:
        alone = list(ingest(chunks))
    with open_ingesters(source, ALL_KINDS, 2) as ingest:
        together = list(ingest(chunks))
    # Each process brings the excerpts that are new to it, so excerpts may come twice.
    assert [[n.activations for n in chunk] for chunk in together] == [[n.activations for n in c] for c in alone]
    assert [[n.explanations for n in chunk] for chunk in together] == [[n.explanations for n in c] for c in alone]


@pytest.mark.slow
def test_a_chunk_that_processes_share_comes_whole_and_in_order(tmp_path: Path) -> None:
    source = FolderSource.open(write_dataset(tmp_path / "d"))
    chunk = [(neuron_id, None) for neuron_id in NEURONS * 50]
    with open_ingesters(source, ALL_KINDS, 2) as ingest:
        (together,) = ingest([chunk])
    with open_ingesters(source, ALL_KINDS) as ingest:
        (alone,) = ingest([chunk])
    assert [(n.neuron_id, n.related) for n in together] == [(n.neuron_id, n.related) for n in alone]


@pytest.mark.slow
def test_processes_end_while_the_last_chunks_are_stored(tmp_path: Path) -> None:
    source = FolderSource.open(write_dataset(tmp_path / "d"))
    with open_ingesters(source, ALL_KINDS, 2) as ingest:
        batches = ingest([[(neuron_id, None)] for neuron_id in NEURONS[:3]])
        next(batches)
        for process in multiprocessing.active_children():
            assert wait([process.sentinel], timeout=20), "it waits for more work"
        assert len(list(batches)) == 2


@pytest.mark.slow
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    folder = write_dataset(tmp_path / "d")
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "running\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
        parent.kill()
    # The tracker of shared resources is Python's own, and ends once the last of them has.
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_small_import_starts_no_processes() -> None:
    assert default_processes(100) == 1
    assert default_processes(100_000) >= 1
