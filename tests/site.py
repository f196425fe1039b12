"""A whole site in processes of its own, as `make demo` starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.conf import settings

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "a-long-password"
"""What tests.world gives everybody."""


@dataclass
class Site:
    process: subprocess.Popen[str]
    url: str
    """without the slash at its end"""
    link: str
    """signs the demo's user in, once"""
    output: list[str]
    """what was printed until it ran"""

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send the signal, wait, return the exit status."""
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode


@contextmanager
def run_site(module: str, *arguments: str, data: Path, database_url: str = "") -> Iterator[Site]:
    """Run a module that starts a demo, with this data folder, until the block is left."""
    environment = {**os.environ, "NEURONVIEWER_DATA": str(data), "DATABASE_URL": database_url}
    log = data / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield read_addresses(process, log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def read_addresses(process: subprocess.Popen[str], log: Path) -> Site:
    """Read what the demo prints until it runs."""
    assert process.stdout
    output: list[str] = []
    for line in process.stdout:
        output.append(line.rstrip("\n"))
        if line.startswith("Ctrl-C"):
            text = "\n".join(output)
            url = re.search(r"running at (\S+)/$", text, re.MULTILINE)
            link = re.search(r"Sign in once with (\S+)$", text, re.MULTILINE)
            assert url, text
            assert link, text
            return Site(process, url[1], link[1], output)
    raise AssertionError("the site did not start:\n" + "\n".join(output) + log.read_text())


@contextmanager
def fresh_database() -> Iterator[str]:
    """Make an empty database where the tests run on PostgreSQL, and return its address; "" (SQLite) elsewhere."""
    config = settings.DATABASES["default"]
    if config["ENGINE"].endswith("sqlite3"):
        yield ""
        return
    person = f"{config['USER']}:{config['PASSWORD']}@".replace(":@", "@").removeprefix("@")
    server = f"postgres://{person}{config['HOST']}:{config['PORT'] or 5432}"
    name = f"test_browser_{os.getpid()}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
