"""`manage.py demo`: the whole site on this machine in one command."""

from __future__ import annotations

import http.client
import os
import socket
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from explanations.management.commands.load_sample import SLUG
from explanations.management.imports import BATCH
from explanations.management.processes import Processes
from explanations.management.static_files import collect_changed_static_files
from explanations.models import SubjectModel
from explanations.pipeline.sample_file import read_sample
from explanations.sign_in_links import make_link

HOST = "127.0.0.1"
"""Only this machine: whoever has the sign-in link may do anything."""
DEMO_USER = "demo"
WEB, WORKER = "web server", "worker"
WEB_THREADS = 8
SECONDS_TO_ANSWER = 30


class Command(BaseCommand):
    help = (
        "Start web server and worker together on this machine, on the bundled sample, and print a link that signs in"
        " once. Makes the database, the sample and the static files where they are missing. Ctrl-C stops all."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=port_number, default=8000, help="8000 unless told; 0 takes a free one")

    def handle(self, *, port: int, **_options: Any) -> None:
        # The port first: where it is taken, nobody should wait for the rest to hear it.
        with listen(port) as listener:
            base = f"http://{HOST}:{listener.getsockname()[1]}"
            try:
                self.prepare()
                link = make_link(demo_user(), base)
            except KeyboardInterrupt:
                raise CommandError("stopped before it was up; start again to go on", returncode=130) from None
            except DatabaseError as error:
                raise CommandError(f"the database ({describe_database()}) says: {str(error).strip()}") from error
            connection.close()
            self.serve(listener, base, link)

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def prepare(self) -> None:
        """Make what is missing: tables, the bundled sample, static files."""
        self.say(f"Database: {describe_database()}")
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.say("Making its tables ...")
            call_command("migrate", interactive=False, verbosity=0)
        if not is_sample_loaded():
            call_command("load_sample", stdout=self.stdout)
        if collect_changed_static_files():
            self.say("Static files collected.")

    def serve(self, listener: socket.socket, base: str, link: str) -> None:
        """Run web server and worker until told to stop; CommandError where one of them stops by itself."""
        processes = Processes()
        try:
            processes.start(WEB, web_command(listener), pass_fds=[listener.fileno()])
            processes.start(WORKER, [sys.executable, "-m", "neuronviewer.cli", "db_worker", "--no-startup-delay"])
            listener.close()
            if processes.wait(until=lambda: answers(base), seconds=SECONDS_TO_ANSWER):
                self.say(f"\nneuronviewer is running at {base}/\nSign in once with {link}\nCtrl-C stops it.")
                processes.wait()
            failure = None if processes.stopping else describe_failure(processes)
        finally:
            processes.stop()
        if failure:
            raise CommandError(failure)
        self.say("Stopped.")


def port_number(text: str) -> int:
    """Return a TCP port; 0 stands for any free one."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ArgumentTypeError(f"{text!r} is not a port: use a whole number from 0 to 65535")
    return int(text)


def listen(port: int) -> socket.socket:
    """Return a socket that holds the port; the web server, which is handed it, answers what queues up there."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        # Two sockets that do not listen yet may share a port.
        listener.listen()
    except OSError as error:
        listener.close()
        raise CommandError(
            f"port {port} of {HOST} cannot be used: {os.strerror(error.errno or 0)}. Is a demo running already?"
            f" Another port: make demo PORT={port + 1 if port < 65535 else 8001}"
        ) from None
    return listener


def describe_database() -> str:
    """Return which database is used, without its password."""
    config = settings.DATABASES["default"]
    if connection.vendor == "sqlite":
        return f"SQLite, {config['NAME']}"
    return f"PostgreSQL, {config['NAME']} at {config['HOST'] or 'the local socket'}:{config['PORT'] or 5432}"


def is_sample_loaded() -> bool:
    """Return whether all of the sample is there, counted, and from the file that lies here now. Two queries."""
    file = settings.BASE_DIR / "fixtures" / f"{SLUG}.parquet"
    model = SubjectModel.objects.filter(slug=SLUG).first()
    if model is None or model.statistics_at is None or model.statistics_at.timestamp() < file.stat().st_mtime:
        return False
    # Loading that was broken off is counted too.
    total, _ = read_sample(file, BATCH)
    return model.neurons.count() >= total


def demo_user() -> User:
    """Return the demo's user, who may do everything and has no password: only links sign them in."""
    user, created = User.objects.get_or_create(username=DEMO_USER, defaults={"is_staff": True, "is_superuser": True})
    if created:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user


def web_command(listener: socket.socket) -> list[str]:
    options = {
        "bind": f"fd://{listener.fileno()}",
        "worker-class": "gthread",
        "threads": WEB_THREADS,
        "log-level": "warning",
        "graceful-timeout": 3,
    }
    application = settings.WSGI_APPLICATION.replace(".application", ":application")
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "gunicorn", application, "--no-control-socket", *flags]


def answers(base: str) -> bool:
    """Return whether the web server shows its first page yet; CommandError where that page is broken."""
    # Not urllib: it would ask a proxy that the environment names.
    web = http.client.HTTPConnection(base.removeprefix("http://"), timeout=5)
    try:
        web.request("GET", "/")
        status = web.getresponse().status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web.close()
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise CommandError(f"the first page answers with error {status}, its reason is above; all is stopped")
    return True


def describe_failure(processes: Processes) -> str:
    dead = processes.dead()
    if dead is None:
        return f"the web server did not show its first page within {SECONDS_TO_ANSWER} seconds; all is stopped"
    return f"the {dead[0]} stopped by itself (exit status {dead[1]}, its last lines are above); all is stopped"
