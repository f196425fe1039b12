from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.core.exceptions import ImproperlyConfigured

from neuronviewer import settings

ROOT = Path(settings.BASE_DIR)


def start_with(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return what `manage.py diffsettings` does in this environment alone."""
    return subprocess.run(
        [sys.executable, "manage.py", "diffsettings", "--all"],
        cwd=ROOT,
        env={"NEURONVIEWER_DATA": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_malformed_variable_stops_the_start_in_one_line_with_its_name(tmp_path: Path) -> None:
    done = start_with(tmp_path, DEBUG="maybe")
    assert done.returncode == 1
    assert done.stderr == "neuronviewer cannot start: DEBUG='maybe' is neither true nor false; use 1 or 0\n"


def test_it_starts_with_no_variable_set(tmp_path: Path) -> None:
    done = start_with(tmp_path)
    assert done.returncode == 0
    assert "DEBUG = False" in done.stdout
    assert "ALLOWED_HOSTS = ['127.0.0.1', 'localhost', '[::1]']" in done.stdout


@pytest.mark.parametrize(
    ("text", "expected"), [("1", True), ("TRUE", True), (" on ", True), ("0", False), ("no", False), ("", True)]
)
def test_a_switch_is_read(text: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCH", text)
    assert settings.env_bool("SWITCH", True) is expected


@pytest.mark.parametrize("text", ["2", "maybe", "truee"])
def test_a_malformed_switch_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCH", text)
    with pytest.raises(ImproperlyConfigured, match="SWITCH="):
        settings.env_bool("SWITCH", True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("ten", "NUMBER='ten' is not a whole number"), ("1.5", "NUMBER='1.5'"), ("1", "NUMBER=1 is below 2")],
)
def test_a_malformed_number_is_refused(text: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER", text)
    with pytest.raises(ImproperlyConfigured, match=complaint):
        settings.env_int("NUMBER", 5, minimum=2)


def test_a_list_drops_blanks_and_empty_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTS", " a.example, ,b.example,")
    assert settings.env_list("HOSTS", "") == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("nonsense", "DATABASE_URL"),
        ("mysql://someone@127.0.0.1/neurons", "DATABASE_URL: django.db.backends.mysql is not supported"),
        ("postgres://127.0.0.1:port/neurons", "DATABASE_URL is not a database address"),
    ],
)
def test_a_database_that_is_not_supported_is_refused(
    url: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match=complaint):
        settings.env_database(tmp_path)


def test_without_an_address_the_database_is_sqlite_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    config = settings.env_database(tmp_path)
    assert config["ENGINE"] == "django.db.backends.sqlite3"
    assert config["NAME"] == str(tmp_path / "neuronviewer.sqlite3")
    assert config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_a_postgresql_address_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://ada:a%40b@db.example:5433/neurons")
    config = settings.env_database(tmp_path)
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db.example", 5433, "neurons")
    assert (config["USER"], config["PASSWORD"]) == ("ada", "a@b")


@pytest.mark.parametrize(("size", "seconds", "most"), [("", 0, 8), ("3", 0, 3), ("0", 60, None)])
def test_connections_are_pooled_on_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, seconds: int, most: int | None
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://db.example/neurons")
    monkeypatch.setenv("DATABASE_POOL_SIZE", size)
    config = settings.env_database(tmp_path)
    assert config["CONN_MAX_AGE"] == seconds
    assert config.get("OPTIONS", {}).get("pool", {}).get("max_size") == most


@pytest.mark.parametrize("given", ["", "-c statement_timeout=5000"])
def test_large_tables_are_always_scanned_from_their_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgres://db.example/neurons?{urlencode({'options': given})}")
    options = settings.env_database(tmp_path)["OPTIONS"]["options"].split(" -c ")
    assert options == ["-c synchronize_seqscans=off", *([given.removeprefix("-c ")] if given else [])]
    # A pooler between, which may refuse options, has them set in the database.
    monkeypatch.setenv("DATABASE_POOL_SIZE", "0")
    assert settings.env_database(tmp_path).get("OPTIONS", {}).get("options", "") == given


@pytest.mark.parametrize("url", ["postgres://db.example/neurons", ""])
def test_a_malformed_pool_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DATABASE_POOL_SIZE", "many")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_POOL_SIZE='many' is not a whole number"):
        settings.env_database(tmp_path)


def test_a_secret_key_is_made_once_and_kept_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    key = settings.secret_key(tmp_path)
    assert len(key) >= 50
    assert settings.secret_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    start = threading.Barrier(8)

    def key() -> str:
        start.wait(timeout=10)
        return settings.secret_key(tmp_path)

    with ThreadPoolExecutor(8) as threads:
        keys = [future.result() for future in [threads.submit(key) for _ in range(8)]]
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_an_empty_secret_key_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    (tmp_path / "secret_key").touch()
    with pytest.raises(ImproperlyConfigured, match="secret_key is empty"):
        settings.secret_key(tmp_path)


def test_a_given_secret_key_is_used_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "given")
    assert settings.secret_key(tmp_path) == "given"
    assert list(tmp_path.iterdir()) == []


def test_every_variable_is_documented() -> None:
    variables = set(re.findall(r'env_\w+\(\s*"([A-Z_]+)"', (ROOT / "neuronviewer" / "settings.py").read_text()))
    documented = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert len(variables) >= 11
    assert [name for name in sorted(variables) if f"`{name}`" not in documented] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOG_LEVEL", "LOUD"),
        ("JOB_LEASE_SECONDS", "1"),
        ("SECURE_COOKIES", "si"),
        ("DATABASE_URL", "nonsense"),
        ("NEURONVIEWER_DATA", "/dev/null/data"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("TIME_ZONE", "../etc/passwd"),
        ("CSRF_TRUSTED_ORIGINS", "neurons.example"),
        ("NEURONVIEWER_SUBJECTS", "/models/gpt2"),
        ("TRIES_PER_HOUR", "0"),
        ("TASKS_BACKEND", "nowhere.Backend"),
        ("TASKS_BACKEND", "Backend"),
    ],
)
def test_every_malformed_variable_is_named(variable: str, value: str, tmp_path: Path) -> None:
    done = start_with(tmp_path, **{variable: value})
    assert done.returncode == 1
    assert done.stderr.startswith("neuronviewer cannot start: ")
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "expected"), [("", None), ("0", Decimal(0)), (" 2.50 ", Decimal("2.5"))])
def test_an_amount_is_read_and_none_is_not_zero(
    text: str, expected: Decimal | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMOUNT", text)
    assert settings.env_dollars("AMOUNT") == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("$5", r"AMOUNT='\$5' is not an amount of US dollars such as 2.50"),
        ("-1", "AMOUNT=-1 is not an amount between 0"),
        ("nan", "AMOUNT=nan is not an amount between 0"),
        ("1e12", "AMOUNT=1e12 is not an amount between 0"),
        ("0.0000001", "AMOUNT=0.0000001 has more than six digits after the point"),
    ],
)
def test_a_malformed_amount_is_refused(text: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMOUNT", text)
    with pytest.raises(ImproperlyConfigured, match=complaint):
        settings.env_dollars("AMOUNT")


def test_folders_are_read_by_their_models_and_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDERS", " gpt2 = /models/gpt 2 ,smollm2-135m=/models/a=b.gguf,")
    expected = {"gpt2": Path("/models/gpt 2"), "smollm2-135m": Path("/models/a=b.gguf")}
    assert settings.env_folders("FOLDERS") == expected
    monkeypatch.delenv("FOLDERS")
    assert settings.env_folders("FOLDERS") == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gpt2", "FOLDERS: 'gpt2' is not a model and its folder"),
        ("gpt2=", "FOLDERS: 'gpt2=' is not"),
        ("=/models", "FOLDERS: '=/models' is not"),
        ("GPT 2=/models", "FOLDERS: 'GPT 2=/models' is not"),
        ("gpt2=/a,gpt2=/b", "FOLDERS names two folders for 'gpt2'"),
    ],
)
def test_malformed_folders_are_refused(text: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDERS", text)
    with pytest.raises(ImproperlyConfigured, match=re.escape(complaint)):
        settings.env_folders("FOLDERS")


def test_a_web_server_without_static_files_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "NEURONVIEWER_DATA": str(tmp_path), "DATABASE_URL": "", "DEBUG": ""}
    started = subprocess.run(
        [sys.executable, "-c", "import neuronviewer.wsgi"], env=environment, capture_output=True, text=True, check=False
    )
    assert started.returncode == 3
    assert started.stderr.endswith("run “python manage.py collectstatic --no-input” first.\n")
