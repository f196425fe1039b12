"""Real workers in processes of their own, on a database file (or a PostgreSQL database) of their own."""

from __future__ import annotations

import fcntl
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django_tasks_db.models import DBTaskResult

from explanations import tasks
from explanations.management.commands import db_worker
from tests.web.processes import DEADLINE_SECONDS, Databases, Site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    databases = Databases(tmp_path_factory.mktemp("databases"))
    yield databases
    databases.drop_all()


@pytest.fixture(scope="module")
def seeded(databases: Databases) -> tuple[str, list[int]]:
    """Return the address of a database with a queued job for every neuron, and the jobs' ids."""
    site = Site(databases.make("seeded"), databases.folder)
    output, _ = site.start("-m", "tests.web.worker_site", "seed").communicate(timeout=DEADLINE_SECONDS)
    assert output, (site.folder / "log").read_text()
    return site.url, [int(word) for word in output.split()]


@pytest.fixture
def site(databases: Databases, seeded: tuple[str, list[int]], tmp_path: Path) -> Iterator[Site]:
    site = Site(databases.make(f"copy{len(databases.names)}", seeded[0]), tmp_path, seeded[1])
    yield site
    site.stop_all()


@contextmanager
def held_worker(site: Site) -> Iterator[subprocess.Popen[str]]:
    """Start a worker that waits in the middle of the first job until the context is left."""
    reached, lock_path = site.folder / "reached", site.folder / "lock"
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = site.start("-m", "tests.web.worker_site", "hold", str(reached), str(lock_path))
        site.until("in the middle of a job", reached.exists)
        yield process


def job(site: Site, columns: str) -> tuple[Any, ...]:
    return site.query(f"SELECT {columns} FROM explanations_job WHERE id = {site.job_ids[0]}")[0]


def explanations_of(site: Site, job_id: int) -> int:
    return int(site.one(f"SELECT count(*) FROM explanations_explanation WHERE job_id = {job_id}"))


def finished(site: Site) -> bool:
    return site.query("SELECT 1 FROM explanations_job WHERE state <> 'done'") == []


def test_a_job_whose_worker_is_killed_is_done_once_by_another(site: Site) -> None:
    with held_worker(site) as worker:
        state, first_lease = job(site, "state, lease_until")
        assert state == "running"
        site.until("renewed while one step takes long", lambda: job(site, "lease_until")[0] > first_lease)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait(timeout=DEADLINE_SECONDS) == -signal.SIGKILL
    assert job(site, "state, attempts") == ("running", 1)
    assert explanations_of(site, site.job_ids[0]) == 0

    site.start_worker()
    site.until("all done", lambda: finished(site))
    assert job(site, "state, attempts, progress_done, error") == ("done", 2, 10, "")
    assert [explanations_of(site, pk) for pk in site.job_ids] == [1] * len(site.job_ids)
    tasks_in = f"SELECT status, count(*) FROM {DBTaskResult._meta.db_table} GROUP BY status ORDER BY status"
    site.until("tidied up", lambda: site.query(tasks_in) == [("FAILED", 1), ("SUCCESSFUL", len(site.job_ids))])


def test_a_text_whose_worker_is_killed_is_tried_again_by_another_before_all_jobs(site: Site) -> None:
    output, _ = site.start("-m", "tests.web.worker_site", "ask_text").communicate(timeout=DEADLINE_SECONDS)
    trial = f"SELECT state, attempts FROM explanations_trial WHERE id = {int(output)}"
    lock_path = site.folder / "lock"
    arguments = ["-m", "tests.web.worker_site", "hold_texts"]
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = site.start(*arguments, str(site.folder / "reached"), str(lock_path))
        site.until("in the middle of the text", (site.folder / "reached").exists)
        first.send_signal(signal.SIGKILL)
        assert first.wait(timeout=DEADLINE_SECONDS) == -signal.SIGKILL
    assert site.query(trial) == [("running", 1)]
    assert site.query("SELECT DISTINCT state FROM explanations_job") == [("queued",)]

    site.start(*arguments, str(site.folder / "again"), str(lock_path))
    site.until("tried again", lambda: site.query(trial) == [("done", 2)])


def test_a_worker_told_to_stop_gives_its_job_back_at_once(site: Site) -> None:
    with held_worker(site) as worker:
        worker.terminate()
    assert worker.wait(timeout=DEADLINE_SECONDS) == 0
    assert job(site, "state, attempts, lease_owner") == ("queued", 0, "")
    assert explanations_of(site, site.job_ids[0]) == 0

    assert site.start_worker("--batch").wait(timeout=DEADLINE_SECONDS) == 0
    assert job(site, "state, attempts") == ("done", 1)
    assert explanations_of(site, site.job_ids[0]) == 1


def test_two_workers_share_the_jobs_and_do_each_once(site: Site) -> None:
    workers = [site.start_worker("--batch") for _ in range(2)]
    assert [worker.wait(timeout=DEADLINE_SECONDS) for worker in workers] == [0, 0], (site.folder / "log").read_text()
    assert site.query("SELECT DISTINCT state, attempts FROM explanations_job") == [("done", 1)]
    assert [explanations_of(site, pk) for pk in site.job_ids] == [1] * len(site.job_ids)


def test_an_idle_worker_told_to_stop_stops(site: Site) -> None:
    worker = site.start_worker()
    site.until("idle", lambda: finished(site))
    worker.terminate()
    assert worker.wait(timeout=DEADLINE_SECONDS) == 0


def test_bulk_explaining_that_is_killed_and_started_again_redoes_nothing(databases: Databases, tmp_path: Path) -> None:
    site = Site(databases.make(f"bulk{len(databases.names)}"), tmp_path)
    output, _ = site.start("-m", "tests.web.worker_site", "migrated").communicate(timeout=DEADLINE_SECONDS)
    neurons = int(output)
    made = "SELECT id, neuron_id FROM explanations_explanation WHERE explainer = 'token lookup' ORDER BY id"
    reached, lock_path = site.folder / "reached", site.folder / "lock"
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = site.start("-m", "tests.web.worker_site", "explain", "3", str(reached), str(lock_path))
        site.until("at the third neuron", lambda: reached.exists() or process.poll() is not None)
        site.until("two stored", lambda: len(site.query(made)) == 2 or process.poll() is not None)
        process.kill()
        process.communicate(timeout=DEADLINE_SECONDS)
    first = site.query(made)
    assert len(first) == 2
    again = site.start("manage.py", "explain", "--model", "tiny")
    output, _ = again.communicate(timeout=DEADLINE_SECONDS)
    assert again.returncode == 0, output
    assert f"{neurons - 2} neurons; 2 are done" in output
    everything = site.query(made)
    assert everything[:2] == first
    assert len({neuron for _, neuron in everything}) == len(everything) == neurons


# Without a process of its own


def test_the_queue_options_of_the_original_worker_still_hold(db: None) -> None:
    with pytest.raises(CommandError, match="exclude-queues can only be used"):
        call_command("db_worker", exclude_queues="slow", batch=True)


def make_worker(**options: Any) -> db_worker.JobWorker:
    given = {
        "queue_names": ["default"],
        "interval": 0,
        "batch": True,
        "backend_name": "default",
        "startup_delay": False,
        "max_tasks": None,
        "worker_id": "tested",
        "excluded_queue_names": [],
    }
    return db_worker.JobWorker(**(given | options))


def test_a_database_that_is_locked_for_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([OperationalError("database is locked"), OperationalError("database is locked"), None])

    def work(_self: object) -> None:
        if error := next(answers):
            raise error

    monkeypatch.setattr(db_worker.db_worker.Worker, "run", work)
    make_worker()._run_through_locks()
    assert list(answers) == []


def test_another_error_of_the_database_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_self: object) -> None:
        raise OperationalError("no such table")

    monkeypatch.setattr(db_worker.db_worker.Worker, "run", work)
    with pytest.raises(OperationalError, match="no such table"):
        make_worker()._run_through_locks()


def test_a_stop_signal_reaches_the_running_job(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = make_worker()
    worker.running_task = True
    try:
        worker.shutdown(signal.SIGTERM, None)
        assert tasks.stopping.is_set()
        assert not worker.running
    finally:
        tasks.stopping.clear()
