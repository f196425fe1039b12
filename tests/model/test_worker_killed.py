"""A worker with a local language model, killed in the middle of a simulation: another does the job, once."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
    pytest.skip("torch and transformers not installed: pip install -e '.[models]'", allow_module_level=True)

from tests.model.tiny import byte_tokenizer, save, tiny_llama
from tests.web.processes import DEADLINE_SECONDS, Databases, Site

pytestmark = pytest.mark.slow
SIMULATOR = "tiny, all at once"
WINDOW = 16_384
"""tokens: the few-shot prompt is some thousand to a tokenizer that knows bytes and few words"""


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    databases = Databases(tmp_path)
    yield databases
    databases.drop_all()


@pytest.fixture
def site(databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A database with one job that a local model does."""
    tokenizer = byte_tokenizer()
    folder = save(tmp_path / "tiny", tiny_llama(len(tokenizer), window=WINDOW), tokenizer)
    monkeypatch.setitem(os.environ, "LOCAL_MODEL", str(folder))
    monkeypatch.delenv("LLM_BASE_URL", raising=False)
    site = Site(databases.make("local"), tmp_path)
    output, _ = site.start("-m", "tests.model.worker_site", "seed", SIMULATOR).communicate(timeout=DEADLINE_SECONDS)
    assert output, (site.folder / "log").read_text()
    site.job_ids.append(int(output))
    yield site
    site.stop_all()


def test_a_job_whose_local_model_is_killed_half_way_is_done_once_by_another_worker(site: Site) -> None:
    reached, lock_path = site.folder / "reached", site.folder / "lock"
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        worker = site.start("-m", "tests.model.worker_site", "hold", str(reached), str(lock_path))
        site.until("half-way", lambda: reached.exists() or worker.poll() is not None)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait(timeout=DEADLINE_SECONDS) == -signal.SIGKILL
    told = "SELECT state, attempts, progress_done, error FROM explanations_job"
    kept = f"SELECT count(*) FROM explanations_simulation WHERE simulator = '{SIMULATOR}'"
    assert site.query(told) == [("running", 1, 5, "")]
    assert site.one(kept) == 0

    site.start_worker()
    site.until("finished by another", lambda: site.query(told)[0][0] in {"done", "failed"})
    assert site.query(told) == [("done", 2, 10, "")]
    assert site.one(kept) == 1
    assert site.one("SELECT count(*) FROM explanations_explanation WHERE text = 'words about cats'") == 1
