"""Where measurements find their data: a database of each kind, filled once and used again."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings

from tests.run import DEFAULT_POSTGRES, why_not

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
FULL, QUICK = (48, 6_400), (2, 800)
"""Layers and neurons a layer of the synthetic model."""


def data_folder() -> Path:
    """Return where measurements keep what they build: in the folder `benchmarks` of NEURONVIEWER_DATA."""
    return Path(settings.DATA_DIR) / "benchmarks"


def postgres_server() -> str:
    """Return the address of some database on the PostgreSQL server to use."""
    url = os.environ.get("BENCH_POSTGRES") or os.environ.get("DATABASE_URL", "")
    return url if url.startswith(("postgres:", "postgresql:")) else DEFAULT_POSTGRES


def why_no(database: str) -> str:
    """Return why there is no such database here; empty where there is."""
    return why_not(postgres_server()) if database == POSTGRES else ""


def named(name: str) -> str:
    """Return the address of the database of this name on the PostgreSQL server."""
    return urlunsplit(urlsplit(postgres_server())._replace(path=f"/{name}"))


def prepare(database: str, folder: Path, *, is_quick: bool) -> str:
    """Return the address of the database that measurements read, made where it is missing but not filled."""
    layers, neurons = QUICK if is_quick else FULL
    folder.mkdir(parents=True, exist_ok=True)
    if database == SQLITE:
        return f"sqlite:///{folder / f'{layers}x{neurons}.sqlite3'}"
    # A checkout has its own: another's may be of another version.
    name = f"neuronviewer_bench_{layers}x{neurons}_{hashlib.sha256(bytes(folder)).hexdigest()[:6]}"
    with _connect() as server:
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            server.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
    return named(name)


@contextmanager
def empty_database(database: str, folder: Path) -> Iterator[str]:
    """Make an empty database, give its address, and drop it in the end."""
    name = f"neuronviewer_bench_{os.getpid()}_{secrets.token_hex(4)}"
    if database != POSTGRES:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            yield f"sqlite:///{place}/{name}.sqlite3"
        return
    with _connect() as server:
        server.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        try:
            yield named(name)
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[call-overload]


def _connect() -> psycopg.Connection:
    return psycopg.connect(named("postgres"), autocommit=True)
