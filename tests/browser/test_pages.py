"""Every page, wide and narrow, light and dark, with and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.chromium import Browser
from tests.site import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LAYER = "/tiny/layers/0/"
NEURON = "/tiny/layers/0/neurons/0/"
PAGES = {
    "overview": "/",
    "overview after a failed jump": "/go/?model=tiny&neuron=9:9",
    "model": "/tiny/",
    "layer": LAYER,
    "layer, sorted and filtered": f"{LAYER}?sort=score&text=day",
    "layer, nothing found": f"{LAYER}?text=zzz",
    "layer, malformed filter": f"{LAYER}?min_score=high",
    "neuron": NEURON,
    "neuron, overlaid": f"{NEURON}?view=overlay",
    "neuron, all excerpts": f"{NEURON}excerpts/",
    "neuron without a score": "/tiny/layers/0/neurons/1/",
    "neuron without an explanation": "/tiny/layers/0/neurons/2/",
    "neuron with a retired explanation": "/tiny/layers/0/neurons/3/",
    "neuron full of hostile text": "/tiny/layers/1/neurons/0/?view=overlay",
    "search": "/search/",
    "search, found": "/search/?q=days+week",
    "search, hostile text": "/search/?q=alert",
    "search, nothing found": "/search/?q=zzzz",
    "search, malformed": "/search/?q=%22days&min_score=high",
    "sign in": "/accounts/sign-in/",
    "used link": "/accounts/link/MQ/used/",
    "flag": "/explanations/1/flag/",
    "review": "/review/",
    "flag's history": "/review/1/",
    "jobs": "/jobs/",
    "job": "/jobs/1/",
    "re-explain": f"{NEURON}re-explain/",
}
SCREENS = [(1400, 1000), (390, 844)]


def page_width(browser: Browser) -> int:
    """Return how wide the page is. Not beside window.innerWidth, since phones zoom out until that is as wide."""
    return int(browser.driver.execute_script("return document.scrollingElement.scrollWidth"))


@pytest.mark.parametrize("screen", SCREENS, ids=["wide", "narrow"])
def test_every_page_fits_and_the_console_is_silent(browser: Browser, screen: tuple[int, int]) -> None:
    browser.sign_in("admin", PASSWORD)
    problems: list[str] = []
    for name, address in PAGES.items():
        browser.set_screen(*screen)
        browser.open(address)
        for colours in ("light", "dark"):
            browser.set_screen(*screen, dark=colours == "dark")
            if (wide := page_width(browser)) > screen[0]:
                problems.append(f"{name}, {colours}: {wide} pixels wide")
            problems += [f"{name}, {colours}: {complaint}" for complaint in browser.complaints()]
    assert not problems, "\n".join(problems)


def test_charts_are_drawn(browser: Browser) -> None:
    browser.open("/tiny/")
    assert browser.find(".js-plotly-plot .main-svg").size["height"] > 50


def test_search_and_flag_work_without_javascript(start_browser: Callable[..., Browser]) -> None:
    browser = start_browser(javascript=False)
    browser.sign_in("reader", PASSWORD)
    browser.find("#quick-q").send_keys("French")
    browser.press("Search", within="//header")
    browser.is_at("/search/", "q=French")
    browser.follow("0:1", within="//main")
    browser.follow("Flag this explanation")
    browser.choose("Vague")
    browser.press("Flag this explanation")
    browser.is_at("/tiny/layers/0/neurons/1/")
    browser.sees("Flagged as vague; waiting for a decision.")


def test_the_layer_page_sorts_and_filters_without_javascript(start_browser: Callable[..., Browser]) -> None:
    browser = start_browser(javascript=False)
    browser.open(LAYER)
    browser.fill("Explanation contains", "French")
    browser.press("Filter")
    browser.is_at("text=French")
    assert [row.text for row in browser.find_all("tbody th")] == ["1"]
