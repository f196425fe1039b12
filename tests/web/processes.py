"""Processes of the site on a database of their own, which tests start, stop and kill."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings

ROOT = Path(__file__).parent.parent.parent
LEASE_SECONDS = 2
DEADLINE_SECONDS = 90


@dataclass
class Site:
    """A database with jobs, and the workers that were started on it."""

    url: str
    folder: Path
    job_ids: list[int] = field(default_factory=list)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "DATABASE_URL": self.url,
            "NEURONVIEWER_DATA": str(self.folder),
            "JOB_LEASE_SECONDS": str(LEASE_SECONDS),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.processes.append(process)
        return process

    def start_worker(self, *options: str) -> subprocess.Popen[str]:
        return self.start("manage.py", "db_worker", "--interval=0.1", "--no-startup-delay", "--no-reload", *options)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)) as connection:
                return connection.execute(sql).fetchall()
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload]

    def one(self, sql: str) -> Any:
        return self.query(sql)[0][0]

    def stop_all(self) -> None:
        while self.processes:
            process = self.processes.pop()
            if process.poll() is None:
                process.kill()
            process.communicate()

    def until(self, what: str, condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not {what} in {seconds:.0f} s\n{(self.folder / 'log').read_text()[-4000:]}")
            time.sleep(0.05)


class Databases:
    """Databases of the kind that the tests run on: one with the jobs, made once, and a copy of it for each test."""

    def __init__(self, folder: Path) -> None:
        config = settings.DATABASES["default"]
        self.on_sqlite = config["ENGINE"].endswith("sqlite3")
        self.folder = folder
        password = f":{config['PASSWORD']}" if config["PASSWORD"] else ""
        self.server = f"postgres://{config['USER']}{password}@{config['HOST']}:{config['PORT'] or 5432}"
        self.names: list[str] = []

    def make(self, name: str, template: str = "") -> str:
        """Make a database, empty or a copy of another, and return its address."""
        name = f"workers_{os.getpid()}_{name}"
        self.names.append(name)
        if self.on_sqlite:
            path = self.folder / f"{name}.sqlite3"
            if template:
                shutil.copy(template.removeprefix("sqlite:///"), path)
            return f"sqlite:///{path}"
        self._on_server(f"CREATE DATABASE {name}" + (f" TEMPLATE {template.rsplit('/')[-1]}" if template else ""))
        return f"{self.server}/{name}"

    def drop_all(self) -> None:
        for name in [] if self.on_sqlite else self.names:
            self._on_server(f"DROP DATABASE {name} WITH (FORCE)")

    def _on_server(self, sql: str) -> None:
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[call-overload]
