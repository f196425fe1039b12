"""Two web servers and four workers on one PostgreSQL, one of each killed while people read and ask.

The test does it with a few dozen neurons; by hand with more:

    DATABASE_URL=postgres://... python -m tests.web.failover NEURONS

"seed NEURONS" in place of the number is for the process that fills the database.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import django
import httpx

from tests.web.processes import DEADLINE_SECONDS, Databases, Site
from tests.web_server import WebServer, await_answers, start_web

ASKERS, READERS = 4, 4
TOKEN = "a" * 32
"""What cookie and form must agree on: the site's secret against forged forms."""
LOOKUP = {"explainer": "token lookup", "simulator": "token lookup"}


def seed(neurons: int) -> None:
    """Migrate, store neurons with records and a person who may ask; print their addresses and the person's session."""
    from django.core.management import call_command
    from django.test import Client

    from explanations.models import SubjectModel
    from tests.world import add_neuron, person

    call_command("migrate", verbosity=0)
    model = SubjectModel.objects.create(slug="many", name="Many", layers=1, neurons_per_layer=neurons)
    client = Client()
    client.force_login(person("asker", "add_job"))
    addresses = [add_neuron(model, 0, index).get_absolute_url() for index in range(neurons)]
    print(json.dumps({"session": client.cookies["sessionid"].value, "addresses": addresses}))


@dataclass
class Balancer:
    """What a load balancer does: the next server's turn each time, and never one that is gone."""

    servers: list[WebServer]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> str:
        with self.lock:
            self.servers.append(self.servers.pop(0))
            return f"http://127.0.0.1:{self.servers[0].port}"

    def remove(self, server: WebServer) -> None:
        with self.lock:
            self.servers.remove(server)


@dataclass
class Run:
    """What people did, and what they got."""

    site: Site
    balancer: Balancer
    session: str
    waiting: list[str]
    """addresses of neurons that nobody has asked for yet"""
    asked: list[str] = field(default_factory=list)
    asked_again: int = 0
    read: int = 0
    broken: int = 0
    """requests whose connection broke, each made again"""
    wrong: list[str] = field(default_factory=list)
    """answers that nobody should get"""
    is_over: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Ask for re-explanations, one neuron after another, until none waits."""
        with self._browser() as browser:
            while self.waiting and not self.is_over.is_set():
                address = self.waiting.pop()
                while not self._ask_for(browser, address) and not self.is_over.is_set():
                    self.asked_again += 1
                self.asked.append(address)

    def _ask_for(self, browser: httpx.Client, address: str) -> bool:
        """Return whether a neuron's re-explanation is asked for; where a connection broke, that is looked up."""
        form = {**LOOKUP, "csrfmiddlewaretoken": TOKEN}
        try:
            answer = browser.post(f"{self.balancer.next()}{address}re-explain/", data=form)
        except httpx.TransportError:
            self.broken += 1
            return self._has_job(address)
        if answer.status_code != 302:
            self.wrong.append(f"{answer.status_code} for asking at {address}: {answer.text[:2000]}")
        return True

    def _has_job(self, address: str) -> bool:
        index = int(address.rstrip("/").rpartition("/")[-1])
        of_neuron = f'SELECT id FROM explanations_neuron WHERE "index" = {index}'
        return bool(self.site.query(f"SELECT id FROM explanations_job WHERE neuron_id IN ({of_neuron})"))

    def read_pages(self, addresses: Sequence[str]) -> None:
        """Read pages until all is over."""
        with self._browser() as browser:
            while not self.is_over.is_set():
                address = [*addresses, "/jobs/", "/many/layers/0/"][self.read % (len(addresses) + 2)]
                try:
                    answer = browser.get(f"{self.balancer.next()}{address}")
                except httpx.TransportError:
                    self.broken += 1
                    continue
                self.read += 1
                if answer.status_code != 200:
                    self.wrong.append(f"{answer.status_code} at {address}")

    def _browser(self) -> httpx.Client:
        return httpx.Client(
            cookies={"sessionid": self.session, "csrftoken": TOKEN}, timeout=DEADLINE_SECONDS, trust_env=False
        )


def run_failover(site: Site, neurons: int) -> Run:
    """Do it all; return when every job is finished and all that was started has been stopped."""
    output, _ = site.start("-m", "tests.web.failover", "seed", str(neurons)).communicate(timeout=600)
    assert output, (site.folder / "log").read_text()
    seeded = json.loads(output)
    with ExitStack() as stack:
        # With DEBUG no static files have to be collected first.
        servers = [start_web(1, site.environment | {"DEBUG": "1"}) for _ in range(2)]
        for server in servers:
            stack.callback(server.stop)
        reached, lock = site.folder / "reached", stack.enter_context((site.folder / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        # One worker stops in the middle of its first job, so that it is sure to be killed there.
        held = site.start("-m", "tests.web.worker_site", "hold", str(reached), lock.name)
        for server in servers:
            await_answers(server)
        run = Run(site, Balancer(list(servers)), seeded["session"], list(seeded["addresses"]))
        stack.callback(run.is_over.set)
        people = [threading.Thread(target=run.ask) for _ in range(ASKERS)]
        people += [threading.Thread(target=run.read_pages, args=[seeded["addresses"]]) for _ in range(READERS)]
        for person in people:
            person.start()
        site.until("in the middle of a job", reached.exists)
        for _ in range(3):
            site.start_worker()
        site.until("asked for a third", lambda: len(run.asked) >= neurons / 3)
        servers[0].kill()
        # People still meet the dead server for a moment, as they do until a load balancer has noticed.
        site.until("met the dead server", lambda: run.broken > 0)
        run.balancer.remove(servers[0])
        held.kill()
        site.until("asked for all", lambda: len(run.asked) == neurons)
        site.until("all done", lambda: is_finished(site), seconds=DEADLINE_SECONDS + neurons)
        run.is_over.set()
        for person in people:
            person.join(timeout=DEADLINE_SECONDS)
        site.until("tidied up", lambda: not site.one(UNFINISHED_TASKS))
        site.stop_all()
    return run


UNFINISHED_TASKS = "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING')"


def is_finished(site: Site) -> bool:
    return not site.one("SELECT count(*) FROM explanations_job WHERE state IN ('queued', 'running')")


def check(run: Run, neurons: int) -> dict[str, int]:
    """Assert that nothing is lost and nothing was done twice; return what happened, in numbers."""
    site = run.site
    assert run.wrong == []
    states = site.query("SELECT state, count(*), count(DISTINCT neuron_id) FROM explanations_job GROUP BY state")
    assert states == [("done", neurons, neurons)]
    made = site.query(
        "SELECT count(*), count(DISTINCT job_id), count(DISTINCT neuron_id) FROM explanations_explanation"
    )
    assert made == [(neurons, neurons, neurons)]
    simulated = site.query("SELECT count(*), count(DISTINCT explanation_id) FROM explanations_simulation")
    assert simulated == [(neurons, neurons)]
    counted = "SELECT count(*) FROM explanations_neuron WHERE explanation_count = 1 AND headline_id IS NOT NULL"
    assert site.one(counted) == neurons
    again = site.one("SELECT count(*) FROM explanations_job WHERE attempts > 1")
    assert again >= 1, "the killed worker's job was not taken up by another"
    return {
        "jobs": neurons,
        "taken up again": again,
        "pages read": run.read,
        "broken connections": run.broken,
        "asked again": run.asked_again,
    }


def main(arguments: Sequence[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "neuronviewer.settings")
    django.setup()
    if arguments[0] == "seed":
        seed(int(arguments[1]))
        return
    neurons, began = int(arguments[0]), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        databases = Databases(Path(folder))
        try:
            run = run_failover(Site(databases.make("failover"), Path(folder)), neurons)
            print(check(run, neurons), f"{time.monotonic() - began:.0f} s")
        finally:
            databases.drop_all()


if __name__ == "__main__":
    main(sys.argv[1:])
