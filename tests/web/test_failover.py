"""Many processes on one PostgreSQL, some of which are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.web.failover import check, run_failover
from tests.web.processes import Databases, Site

NEURONS = 30


@pytest.mark.slow
def test_killed_web_servers_and_workers_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    databases = Databases(tmp_path)
    if databases.on_sqlite:
        pytest.skip("many machines share a PostgreSQL, never a SQLite file")
    site = Site(databases.make("failover"), tmp_path)
    try:
        happened = check(run_failover(site, NEURONS), NEURONS)
    finally:
        site.stop_all()
        databases.drop_all()
    assert happened["pages read"] > 0
    assert happened["broken connections"] > 0
