"""Serve plotly.js out of the installed plotly wheel, so that figures and the script that draws them always agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.core.checks import CheckMessage, Error
from django.core.files.storage import FileSystemStorage, Storage

NAME = "plotly.min.js"
PREFIX = "vendor"


def plotly_folder() -> Path:
    """Return the folder that holds plotly.js, without importing plotly."""
    spec = find_spec("plotly")
    return Path(spec.origin).parent / "package_data" if spec and spec.origin else Path()


class PlotlyFinder(BaseFinder):
    """Find one file, vendor/plotly.min.js; the wheel's other files stay unserved."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.storage = FileSystemStorage(location=plotly_folder())
        self.storage.prefix = PREFIX  # type: ignore[attr-defined]  # read by collectstatic
        super().__init__(*args, **kwargs)

    def check(self, **_: Any) -> list[CheckMessage]:
        if self.storage.exists(NAME):
            return []
        return [Error(f"{self.storage.path(NAME)} is missing; install plotly again", id="neuronviewer.E001")]

    def find(self, path: str, find_all: bool = False, **_: Any) -> Any:
        found = self.storage.path(NAME) if path == f"{PREFIX}/{NAME}" else None
        if find_all:
            return [found] if found else []
        return found or []

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, Storage]]:  # noqa: ARG002  Django's name
        yield NAME, self.storage
