"""Where Chromium and its driver are, and how tests start them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = [
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
]
NO_JAVASCRIPT = {"profile.managed_default_content_settings.javascript": 2}


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def missing_browser() -> str:
    """Return what the browser tests lack; empty where they can run."""
    if find_chromium() is None:
        return "there is no Chromium here (on Debian: apt-get install chromium chromium-driver)"
    if shutil.which("chromedriver") is None:
        return "there is no chromedriver here (on Debian: apt-get install chromium-driver)"
    return ""


@contextmanager
def open_chromium(profile: Path, *, javascript: bool = True) -> Iterator[Chrome]:
    """Start a headless Chromium with a fresh profile in this folder; stop it at the end."""
    options = Options()
    options.binary_location = find_chromium() or ""
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    if not javascript:
        options.add_experimental_option("prefs", NO_JAVASCRIPT)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def set_screen(driver: Chrome, width: int, height: int, *, dark: bool = False) -> None:
    """Show pages at this size, with the light or the dark colours."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
