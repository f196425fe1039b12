"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path

import django
import psycopg

from tests.benchmarks import databases


def describe_machine() -> list[tuple[str, str]]:
    """Return what matters of this machine, in words: (what, value)."""
    return [
        ("processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("Python", f"{platform.python_version()}, Django {django.get_version()}"),
        ("databases", f"SQLite {sqlite3.sqlite_version}, {_postgres()}"),
        ("other load", f"{os.getloadavg()[1]:.1f} processes, the average of the five minutes before"),
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _postgres() -> str:
    if databases.why_no(databases.POSTGRES):
        return "no PostgreSQL"
    with psycopg.connect(databases.named("postgres")) as server:
        version = server.info.server_version
        buffers = server.execute("SHOW shared_buffers").fetchone()
    return f"PostgreSQL {version // 10_000}.{version % 10_000} (shared_buffers {buffers[0] if buffers else 'unknown'})"
