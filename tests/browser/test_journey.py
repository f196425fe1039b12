"""One visit from the overview to a better explanation, in Chromium, with a real web server and worker."""

from __future__ import annotations

import re

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from tests.browser.chromium import Browser
from tests.site import PASSWORD, Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEXT = "days of the week, especially Tuesday"
NEURON = "/tiny/layers/0/neurons/0/"


def test_a_visit_from_the_overview_to_a_better_explanation(browser: Browser, site: Site) -> None:
    browse_to_the_neuron(browser)
    overlay_simulated_on_real(browser)
    hover_a_token(browser)
    search(browser)
    flag(browser)
    review(browser, site.link)
    see_the_new_explanation_beside_the_old(browser)


def browse_to_the_neuron(browser: Browser) -> None:
    browser.open("/")
    browser.follow("Tiny", within="//table")
    browser.sees("2 layers of 4 neurons")
    browser.follow("0", within="//table")
    browser.is_at("/tiny/layers/0/")
    browser.sees(TEXT)
    browser.follow("0", within="//table")
    browser.is_at(NEURON)
    browser.sees("Neuron 0:0")


def overlay_simulated_on_real(browser: Browser) -> None:
    browser.follow("Overlaid")
    browser.is_at("view=overlay")
    assert browser.find_all("#simulation .excerpt .overlay b")
    browser.driver.refresh()
    browser.find("#simulation .excerpt .overlay b")
    browser.follow("Side by side")
    browser.until(lambda _: browser.address == NEURON, "the address keeps what is the default")
    assert browser.find_all("#simulation .excerpt .pair b")
    browser.driver.back()
    browser.is_at("view=overlay")
    browser.find("#simulation .excerpt .overlay b")


def hover_a_token(browser: Browser) -> None:
    def exact_value(driver: Chrome) -> str:
        """Point beside the token, then at it, and return what the page says there."""
        token = driver.find_element(By.CSS_SELECTOR, "#simulation .excerpt .overlay b")
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", token)
        ActionChains(driver).move_to_element_with_offset(token, 0, 60).move_to_element(token).perform()
        return driver.find_element(By.ID, "tip").text

    value = browser.until(exact_value, "no exact value")
    assert re.search(r"real −?\d+(\.\d+)?\nsimulated \d+(\.\d+)? of 10", value), value


def search(browser: Browser) -> None:
    browser.open("/")
    browser.find("#big-q").send_keys('"days of the week"')
    browser.press("Search", within="//main")
    browser.is_at("/search/", "days+of+the+week")
    browser.sees("1 explanation that matches")
    assert browser.find("main mark").text == "days of the week"
    browser.follow("0:0", within="//main")
    browser.is_at(NEURON)


def flag(browser: Browser) -> None:
    browser.follow("Flag this explanation")
    browser.is_at("/accounts/sign-in/")
    browser.fill("Username", "reader")
    browser.fill("Password", PASSWORD)
    browser.press("Sign in", within="//main")
    browser.sees("Flag an explanation")
    browser.choose("Too broad")
    browser.fill("Note", "It fires on other days too.")
    browser.press("Flag this explanation")
    browser.is_at(NEURON)
    browser.sees("Flagged as too broad; waiting for a decision.")
    browser.press("Sign out")
    browser.sees("Sign in")


def review(browser: Browser, link: str) -> None:
    browser.open(link)
    browser.press("Sign in as demo")
    browser.follow("Review")
    browser.sees("It fires on other days too.")
    row = f"//li[contains(., '{TEXT}')]"
    browser.click(f"{row}//button[normalize-space()='Claim']")
    browser.click(f"{row}//label[contains(., 'Retire it and re-explain')]")
    browser.find("ol.queue textarea").send_keys("Too broad indeed.")
    browser.click(f"{row}//button[normalize-space()='Decide']")
    browser.sees("the explanation is retired, and a new one is being made")


def see_the_new_explanation_beside_the_old(browser: Browser) -> None:
    browser.open("/jobs/")
    browser.click("//tr[contains(., '0:0')]//a[starts-with(normalize-space(), 'Job')]")
    # The page asks again by itself while the worker works.
    browser.sees("Before and after")
    browser.sees("Difference in score")
    before, new = browser.find_all("table.comparison tr:first-child td.text")
    assert TEXT in before.text
    assert "retired" in before.text
    assert new.text
    assert new.text != before.text
    browser.follow("Back to the neuron")
    browser.sees(new_text := new_explanation(browser))
    assert new_text != TEXT


def new_explanation(browser: Browser) -> str:
    """Return the text of the explanation that a job made."""
    return browser.find("#explanations tr:has(a[href^='/jobs/']) td.text").text.splitlines()[0]
