"""Trying a text in Chromium, on a tiny random model that a real worker opens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.site import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TEXT = "The cat sat <b>here</b> on Tuesday."
SCREENS = [(1400, 900), (390, 844)]


@pytest.fixture(autouse=True)
def _has_subject(subject_folder: Path | None) -> None:
    if subject_folder is None:
        pytest.skip("torch and transformers not installed: pip install -e '.[models]'")


def type_text(browser: Browser, button: str) -> None:
    browser.find("#id_text").send_keys(TEXT)
    browser.press(button)


def test_a_text_is_tried_kept_and_shared_without_leaving_the_neurons_page(
    browser: Browser, start_browser: Callable[..., Browser]
) -> None:
    browser.sign_in("reader", PASSWORD)
    browser.open("/tiny/layers/0/neurons/1/")
    type_text(browser, "Try it")
    browser.patiently_sees("Highest on this text")
    browser.is_at("/tiny/layers/0/neurons/1/")
    browser.press("Keep and share")
    browser.sees("The text is kept.")
    address = browser.address
    assert address.startswith("/tries/")
    for size in SCREENS:
        browser.set_screen(*size)
        browser.open(address)
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    other = start_browser()
    other.open("/tiny/layers/0/neurons/1/")
    other.sees("Texts that people kept")
    other.open(address)
    other.sees("Tried by reader")


def test_it_works_without_javascript(start_browser: Callable[..., Browser]) -> None:
    browser = start_browser(javascript=False)
    browser.sign_in("reader", PASSWORD)
    browser.open("/tiny/fire/")
    type_text(browser, "Which neurons fire?")
    browser.is_at("/tries/")

    def is_done() -> bool:
        if "neurons compared" in browser.text:
            return True
        browser.driver.refresh()
        return False

    browser.patiently(is_done)
    browser.sees("more have no recorded positive maximum")
    for size in SCREENS:
        browser.set_screen(*size)
        assert browser.find("table.fired").size["width"] <= size[0]
