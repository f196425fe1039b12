"""Run the tests on every database there is: `python -m tests.run [pytest's arguments]`, which `make test` does.

All of them on SQLite; then those that touch the database on PostgreSQL, where one answers at DATABASE_URL or, without
it, at 127.0.0.1:5432. What is skipped is said. REQUIRE_POSTGRES=1 and REQUIRE_CHROMIUM=1 make a skip a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import dj_database_url
import psycopg

from tests.browser.chromium import missing_browser

DEFAULT_POSTGRES = "postgres://127.0.0.1:5432/neuronviewer"
OLDEST_POSTGRES = 15
TOUCHES_DATABASE = ["tests/web", "tests/browser/test_journey.py"]
IN_PARALLEL = ["--numprocesses=logical", "--maxprocesses=8", "--dist=loadfile"]
"""A file's tests stay together, since some share a site or a database that takes seconds to make."""


def main(arguments: list[str]) -> int:
    url = os.environ.get("DATABASE_URL", "")
    postgres = url if url.startswith(("postgres:", "postgresql:")) else DEFAULT_POSTGRES
    skips = {"PostgreSQL": why_not(postgres), "Browser tests": missing_browser()}
    for name, reason in skips.items():
        print(f"{name}: {'skipped, ' + reason if reason else 'found'}", flush=True)
    required = [("PostgreSQL", "REQUIRE_POSTGRES"), ("Browser tests", "REQUIRE_CHROMIUM")]
    if missed := [name for name, variable in required if os.environ.get(variable) == "1" and skips[name]]:
        print(f"Required, but skipped: {', '.join(missed)}", file=sys.stderr)
        return 1
    failed = run_pytest("", arguments)
    if not skips["PostgreSQL"] and not failed:
        failed = run_pytest(postgres, arguments or TOUCHES_DATABASE)
    for name, reason in skips.items():
        if reason:
            print(f"{name}: skipped, {reason}")
    return failed


def run_pytest(database_url: str, arguments: list[str]) -> int:
    """Run pytest on a database (SQLite where the address is empty), in a data folder of its own; return its status."""
    print(f"\nTests on {'PostgreSQL' if database_url else 'SQLite'}", flush=True)
    with tempfile.TemporaryDirectory() as data:
        environment = {**os.environ, "NEURONVIEWER_DATA": data, "DATABASE_URL": database_url}
        command = [sys.executable, "-m", "pytest", *IN_PARALLEL, *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


def why_not(url: str) -> str:
    """Return why the tests cannot run on this PostgreSQL; empty where they can."""
    config = dj_database_url.parse(url)
    place = f"{config['HOST'] or 'the local socket'}:{config['PORT'] or 5432}"
    try:
        server = psycopg.connect(
            host=config["HOST"] or None,
            port=config["PORT"] or None,
            user=config["USER"] or None,
            password=config["PASSWORD"] or None,
            dbname="postgres",
            connect_timeout=3,
        )
    except psycopg.OperationalError as error:
        return f"nothing usable answers at {place} ({str(error).splitlines()[0]})"
    with server:
        if server.info.server_version < OLDEST_POSTGRES * 10_000:
            return f"the one at {place} is older than {OLDEST_POSTGRES}"
        may = server.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        return "" if may and may[0] else f"{server.info.user} may not create databases at {place}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
