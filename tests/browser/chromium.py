"""Where Chromium and its driver are, and how tests start them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

T = TypeVar("T")
SECONDS_TO_WAIT = 20
POLL = 0.05
EXPECTED = ("responded with a status of 404", "responded with a status of 410", "cannot be parsed, or is out of range")

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


class Browser:
    """A Chromium on our site, in the words of the person who uses it."""

    def __init__(self, driver: Chrome, base: str) -> None:
        self.driver = driver
        self.base = base

    def open(self, address: str) -> None:
        """Open an address of the site, or a whole one."""
        self.driver.get(address if address.startswith("http") else self.base + address)

    @property
    def address(self) -> str:
        """Where the browser is, without the site's own part."""
        return str(self.driver.current_url).removeprefix(self.base)

    @property
    def text(self) -> str:
        return self.find("body").text

    def find(self, css: str) -> WebElement:
        return self.until(lambda driver: driver.find_element(By.CSS_SELECTOR, css), f"there is no {css}")

    def find_all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def follow(self, text: str, within: str = "//body") -> None:
        """Click the link that reads so."""
        self.click(f"{within}//a[normalize-space()={quote(text)}]")

    def press(self, text: str, within: str = "//body") -> None:
        """Click the button that reads so, or is named so for screen readers."""
        self.click(f"{within}//button[normalize-space()={quote(text)} or @aria-label={quote(text)}]")

    def choose(self, text: str) -> None:
        """Choose the radio button whose label begins so."""
        self.click(f"//label[starts-with(normalize-space(), {quote(text)})]")

    def fill(self, label: str, text: str) -> WebElement:
        """Type into the field with this label and return it."""
        name = f"//label[normalize-space()={quote(label)}]/@for"
        field = self.until(lambda driver: driver.find_element(By.XPATH, f"//*[@id={name}]"), f"no field {label}")
        field.clear()
        field.send_keys(text)
        return field

    def click(self, path: str) -> None:
        """Click the first such element that can be seen; found again where htmx swaps it before the click."""

        def click_it(driver: Chrome) -> bool:
            element = next((e for e in driver.find_elements(By.XPATH, path) if e.is_displayed()), None)
            if element is not None:
                element.click()
            return element is not None

        self.until(click_it, f"cannot click {path}")

    def until(self, condition: Callable[[Chrome], T], otherwise: str) -> T:
        """Wait until the condition holds and return what it returns; fail with what the page says instead."""
        ignored = [NoSuchElementException, StaleElementReferenceException, ElementClickInterceptedException]

        def holds(driver: Chrome) -> T | None:
            try:
                return condition(driver)
            except WebDriverException as error:
                # How chromedriver sometimes says that an element is stale: the page changed while it was read.
                if "does not belong to the document" in (error.msg or ""):
                    return None
                raise

        try:
            found = WebDriverWait(self.driver, SECONDS_TO_WAIT, POLL, ignored).until(holds)
            assert found
            return found
        except TimeoutException:
            page = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"{otherwise}, at {self.address}:\n{page}") from None

    def sees(self, text: str) -> None:
        """Wait until the page shows the text."""
        self.until(lambda driver: text in driver.find_element(By.TAG_NAME, "body").text, f"no “{text}”")

    def patiently(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, for as long as a worker takes that first imports torch."""
        WebDriverWait(self.driver, 6 * SECONDS_TO_WAIT, 5 * POLL).until(lambda _: condition())

    def patiently_sees(self, text: str) -> None:
        self.patiently(lambda: text in self.text)

    def is_at(self, *parts: str) -> None:
        """Wait until the address has all these parts."""
        self.until(lambda _: all(part in self.address for part in parts), f"the address lacks one of {parts}")

    def sign_in(self, name: str, password: str) -> None:
        self.open("/accounts/sign-in/")
        self.fill("Username", name)
        self.fill("Password", password)
        self.press("Sign in", within="//main")
        self.sees("Sign out")

    def set_screen(self, width: int, height: int, *, dark: bool = False) -> None:
        """Show pages at this size, with the light or the dark colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def complaints(self) -> list[str]:
        """Return what the console has complained of since the last look: errors, blocked scripts and styles.

        Not that a page says what is not there (404, 410), or shows the malformed number that was typed.
        """
        entries = [entry for entry in self.driver.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]
        return [entry["message"] for entry in entries if not any(words in entry["message"] for words in EXPECTED)]


def quote(text: str) -> str:
    """Return the text as an XPath string; it may hold one kind of quotation mark."""
    return f'"{text}"' if "'" in text else f"'{text}'"
