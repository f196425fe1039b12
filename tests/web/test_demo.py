"""`neuronviewer demo` as a person runs it: the real sample, web server and worker."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import psutil
import pytest

from tests.site import Site, fresh_database, run_site

pytestmark = pytest.mark.slow


def press_sign_in(site: Site, client: httpx.Client) -> httpx.Response:
    """Open the printed link and press its button, as a browser would."""
    page = client.get(site.link)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token, page.text
    return client.post(site.link, data={"csrfmiddlewaretoken": token[1]}, headers={"Referer": site.link})


def test_the_demo_starts_signs_in_once_stops_and_starts_again(tmp_path: Path) -> None:
    with fresh_database() as url:
        with run_site("neuronviewer.cli", "demo", "--port=0", data=tmp_path, database_url=url) as site:
            assert "neurons: 46,080 of 46,080" in "\n".join(site.output)
            with httpx.Client(follow_redirects=True, trust_env=False) as client:
                assert "SmolLM2-135M" in client.get(site.url).text
                assert "Sign out" in press_sign_in(site, client).text
            assert httpx.get(site.link, trust_env=False).status_code == httpx.codes.GONE
            children = psutil.Process(site.process.pid).children(recursive=True)
            assert len(children) >= 3  # web server, its worker process, the jobs' worker
            assert site.stop(signal.SIGINT) == 0
            assert psutil.wait_procs(children, timeout=10)[1] == []
        with run_site("neuronviewer.cli", "demo", "--port=0", data=tmp_path, database_url=url) as site:
            # Nothing is made, loaded or collected again.
            assert [line.partition(":")[0] for line in site.output if line] == [
                "Database",
                "neuronviewer is running at http",
                "Sign in once with http",
                "Ctrl-C stops it.",
            ]
            assert site.stop(signal.SIGTERM) == 0
