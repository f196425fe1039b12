from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.exceptions import ImproperlyConfigured

from explanations import configured_models
from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.language_models.secret import Secret
from neuronviewer import settings

KEY = "sk-sentinel-0123456789"


def start_with(tmp_path: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", command, *(["--all"] if command == "diffsettings" else [])],
        cwd=settings.BASE_DIR,
        env={"NEURONVIEWER_DATA": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("api.openai.com/v1", "ADDRESS is not an address such as"),
        ("ftp://example.org", "ADDRESS is not an address such as"),
        ("http://", "ADDRESS is not an address such as"),
        ("http://host:port/v1", "ADDRESS is not an address such as"),
        ("http://[::1", "ADDRESS is not an address such as"),
        (f"https://example.org/v1?key={KEY}", "ADDRESS is not an address such as"),
        (f"https://me:{KEY}@example.org/v1", "ADDRESS must hold no name or password; put the key into LLM_API_KEY"),
    ],
)
def test_a_malformed_address_is_refused_without_repeating_it(
    value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADDRESS", value)
    with pytest.raises(ImproperlyConfigured, match=complaint) as error:
        settings.env_address("ADDRESS")
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", ""), ("http://127.0.0.1:8089/v1/", "http://127.0.0.1:8089/v1"), ("https://[::1]:1/v1", "https://[::1]:1/v1")],
)
def test_an_address_is_read(value: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDRESS", value)
    assert settings.env_address("ADDRESS") == expected


@pytest.mark.parametrize("value", [f"{KEY} {KEY}", f"{KEY}\nX: y", f"{KEY}é"])
def test_a_malformed_key_is_refused_without_showing_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", value)
    with pytest.raises(ImproperlyConfigured, match="LLM_API_KEY holds blanks") as error:
        settings.env_key("LLM_API_KEY")
    assert "sentinel" not in str(error.value)


@pytest.mark.parametrize("value", ["free", "-1", "nan", "inf", "1,5"])
def test_a_malformed_price_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICE", value)
    with pytest.raises(ImproperlyConfigured, match="PRICE="):
        settings.env_number("PRICE", 0)


def test_a_number_may_have_to_be_above_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDS", "0")
    with pytest.raises(ImproperlyConfigured, match="SECONDS=0 must be above 0"):
        settings.env_number("SECONDS", 60, above=0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LLM_BASE_URL", "nowhere"),
        ("LLM_BASE_URL", "http://127.0.0.1:1/v1"),  # without LLM_MODEL
        ("LLM_API_KEY", "a b"),
        ("LLM_PRICE_IN", "free"),
        ("LLM_PRICE_OUT", "-1"),
        ("LLM_CONCURRENCY", "0"),
        ("LLM_TIMEOUT", "0"),
        ("LLM_CONTEXT_WINDOW", "many"),
        ("LOCAL_MODEL", "/nowhere/model"),
        ("LOCAL_MODEL", "manage.py"),
    ],
)
def test_every_malformed_variable_stops_the_start_with_its_name(variable: str, value: str, tmp_path: Path) -> None:
    done = start_with(tmp_path, "diffsettings", **{variable: value})
    assert done.returncode == 1
    assert done.stderr.startswith("neuronviewer cannot start: ")
    assert variable in done.stderr


def test_the_key_is_not_shown_with_the_settings(tmp_path: Path) -> None:
    done = start_with(tmp_path, "diffsettings", LLM_API_KEY=KEY)
    assert done.returncode == 0
    assert "LLM_API_KEY = Secret(set)" in done.stdout
    assert KEY not in done.stdout + done.stderr


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    configured_models._endpoint.cache_clear()
    configured_models._local.cache_clear()


def test_without_settings_there_are_no_models() -> None:
    assert not configured.LLM_BASE_URL
    assert configured_models.endpoint_model() is None
    assert configured_models.local_model() is None
    assert "LOCAL_MODEL" in configured_models.why_no_local_model()


def test_the_endpoint_is_made_once_as_the_settings_say(settings: Any) -> None:
    settings.LLM_BASE_URL, settings.LLM_MODEL, settings.LLM_API_KEY = "http://127.0.0.1:1/v1", "small", Secret(KEY)
    settings.LLM_PRICE_IN, settings.LLM_PRICE_OUT, settings.LLM_CONTEXT_WINDOW = 2.0, 10.0, 8192
    model = configured_models.endpoint_model()
    assert model is not None
    assert model is configured_models.endpoint_model()
    assert (model.name, model.context_window) == ("small", 8192)
    assert model.cost_usd(1_000_000, 100_000) == 3.0
    assert KEY not in repr(model)
    model.close()


def test_a_local_model_that_cannot_be_loaded_is_told_in_words(settings: Any, tmp_path: Path) -> None:
    settings.LOCAL_MODEL = tmp_path
    assert configured_models.why_no_local_model()
    with pytest.raises(LanguageModelError):
        configured_models.local_model()
