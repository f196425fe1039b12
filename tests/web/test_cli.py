from __future__ import annotations

import argparse
import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from explanations.management.commands import demo
from explanations.management.static_files import collect_changed_static_files
from neuronviewer import cli


@pytest.mark.parametrize("text", ["80x", "", "-1", "65536", "8000.0", "٨٠"])
def test_what_is_not_a_port_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a port"):
        demo.port_number(text)


def test_a_port_in_use_is_named_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CommandError, match=rf"port {port} .* PORT={port + 1}"):
            call_command("demo", port=port)


def test_a_port_that_another_demo_has_taken_but_does_not_serve_yet_is_refused() -> None:
    with demo.listen(0) as listener, pytest.raises(CommandError, match="cannot be used"):
        demo.listen(listener.getsockname()[1])


def test_port_0_takes_a_free_one() -> None:
    with demo.listen(0) as listener:
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize(
    ("vendor", "config", "expected"),
    [
        ("sqlite", {"NAME": "/data/neurons.sqlite3"}, "SQLite, /data/neurons.sqlite3"),
        (
            "postgresql",
            {"NAME": "neurons", "HOST": "db.example", "PORT": 5433, "USER": "ada", "PASSWORD": "secret"},
            "PostgreSQL, neurons at db.example:5433",
        ),
        ("postgresql", {"NAME": "neurons", "HOST": "", "PORT": ""}, "PostgreSQL, neurons at the local socket:5432"),
    ],
)
def test_it_says_which_database_it_uses_without_the_password(
    vendor: str, config: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "connection", argparse.Namespace(vendor=vendor))
    monkeypatch.setattr(demo, "settings", argparse.Namespace(DATABASES={"default": config}))
    assert demo.describe_database() == expected


def test_the_demo_user_may_do_everything_but_has_no_password(db: None) -> None:
    user = demo.demo_user()
    assert user.is_superuser
    assert user.is_active
    assert not user.has_usable_password()


def test_the_demo_user_is_made_once_and_left_as_it_is(db: None) -> None:
    first = demo.demo_user()
    User.objects.filter(pk=first.pk).update(is_superuser=False, email="kept@example.org")
    again = demo.demo_user()
    assert again.pk == first.pk
    assert not again.is_superuser
    assert again.email == "kept@example.org"


class Answering(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server_that_shows_its_page_answers(web_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert demo.answers(web_server)


def test_a_web_server_that_does_not_listen_yet_does_not_answer() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        assert not demo.answers(f"http://127.0.0.1:{unheard.getsockname()[1]}")


def test_a_broken_first_page_stops_the_demo(web_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "status", 500)
    with pytest.raises(CommandError, match="error 500"):
        demo.answers(web_server)


@pytest.fixture
def static_sources(tmp_path: Path, settings: Settings) -> Path:
    """One static file of ours, to be collected into a folder of its own."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "page.css").write_text("a { color: red }")
    settings.STATICFILES_DIRS = [sources]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATIC_ROOT = tmp_path / "collected"
    return sources


def test_static_files_are_collected_once_and_again_after_a_change(static_sources: Path, tmp_path: Path) -> None:
    assert collect_changed_static_files()
    assert (tmp_path / "collected" / "page.css").read_text() == "a { color: red }"
    assert not collect_changed_static_files()
    (static_sources / "page.css").write_text("a { color: blue }")
    assert collect_changed_static_files()
    assert (tmp_path / "collected" / "page.css").read_text() == "a { color: blue }"


def test_static_files_that_are_gone_are_not_kept(static_sources: Path, tmp_path: Path) -> None:
    collect_changed_static_files()
    (static_sources / "page.css").rename(static_sources / "other.css")
    assert collect_changed_static_files()
    assert {path.name for path in (tmp_path / "collected").iterdir()} == {"other.css", ".collected"}


def test_other_commands_are_djangos(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["neuronviewer", "help", "migrate"])
    cli.main()
    assert "usage: neuronviewer migrate" in capsys.readouterr().out


def test_an_interrupted_command_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "execute_from_command_line", interrupted)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130
