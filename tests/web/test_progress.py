"""How long commands show how far they are."""

from __future__ import annotations

import io

import pytest
from django.core.management.base import OutputWrapper

from explanations.management.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(OutputWrapper(Terminal()), 8, "neurons", lambda: "a note") as advance:
        advance(3)
        advance(5)
    shown = capsys.readouterr().out
    assert "neurons" in shown
    assert "8/8" in shown
    assert "a note" in shown


def test_elsewhere_a_line_tells_of_the_end() -> None:
    out = io.StringIO()
    with show_progress(OutputWrapper(out), 8, "neurons", lambda: "a note") as advance:
        advance(3)
        advance(5)
    (line,) = out.getvalue().splitlines()
    assert line.startswith("neurons: 8 of 8, ")
    assert line.endswith(" a second, a note")
