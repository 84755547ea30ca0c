"""The report in a real browser, opened from the file: it loads nothing, runs nothing, and everyone can read it."""

import asyncio
import json
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.browser.looks import SHOTS, emulate, faint, problems, violations
from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise
from tests.reporting import HOSTILE, closed

CHARTS = ("frontier", "flow", "spending", "calibration")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the second of two nights, a document and a label of which are hostile."""
    place = Tierwise(folder=tmp_path_factory.mktemp("report"))
    asyncio.run(closed(place.lake(), "night-1", 600, seed=5))
    asyncio.run(closed(place.lake(), "night-2", 600, easy=500))
    tierwise(place, "report", "night-2", "-o", "report.html")
    return place.folder / "report.html"


@pytest.fixture
def browser(chrome: Chrome) -> Chrome:
    """As a person's is when it starts."""
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    emulate(chrome, "light")
    chrome.get_log("browser")
    chrome.get_log("performance")
    return chrome


def resize(driver: Chrome, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def shoot(driver: Chrome, name: str, width: int) -> None:
    """The whole page, as long as it is."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    resize(driver, width, int(driver.execute_script("return document.documentElement.scrollHeight")))
    assert driver.save_screenshot(str(SHOTS / f"{name}.png"))


def asked_for(driver: Chrome) -> set[str]:
    """The addresses of all requests."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return {
        each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everyone(browser: Chrome, report: Path, scheme: str) -> None:
    # Given the page in one of the two themes
    emulate(browser, scheme)
    resize(browser, 1280, 900)
    browser.get(report.as_uri())
    # Then the console is silent and nothing but the file was read
    assert problems(browser) == []
    assert asked_for(browser) == {report.as_uri()}
    shoot(browser, f"report-{scheme}", 1280)
    # And with everything unfolded, axe finds nothing and no text is faint
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    assert violations(browser) == []
    assert faint(browser) == []


def test_it_fits_a_telephone(browser: Chrome, report: Path) -> None:
    resize(browser, 360, 800)
    browser.get(report.as_uri())
    # Then the page itself never scrolls sideways, unfolded or not; wide tables do, each by itself
    for unfold in (False, True):
        if unfold:
            browser.execute_script(
                "document.querySelectorAll('details').forEach((each) => { each.open = true })"
            )
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= browser.execute_script("return window.innerWidth")
    assert violations(browser) == []
    browser.get(report.as_uri())
    shoot(browser, "report-narrow", 360)


def test_charts_say_what_they_show(browser: Chrome, report: Path) -> None:
    browser.get(report.as_uri())
    for name in CHARTS:
        # Then a picture's text alternative is its finding, with figures
        said = browser.execute_script(
            "const s = document.getElementById(arguments[0]), p = s.querySelector('figure svg');"
            "return [p.getAttribute('role'), p.getAttribute('aria-label'), s.querySelector('.finding').textContent,"
            " s.querySelectorAll('details tbody tr').length, s.querySelectorAll('figure svg path').length]",
            name,
        )
        assert said[:2] == ["img", said[2]]
        assert any(letter.isdigit() for letter in said[1])
        # And its numbers stand in a table
        assert said[3] >= 3
        assert said[4] >= 3


def test_charts_take_the_colours_of_the_theme(browser: Chrome, report: Path) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        emulate(browser, scheme)
        browser.get(report.as_uri())
        colours[scheme] = browser.execute_script(
            "return [...document.querySelectorAll('figure svg [fill^=var]')].map((e) => getComputedStyle(e).fill)"
        )
    assert len(colours["light"]) == len(colours["dark"]) > 20
    assert all(one != other for one, other in zip(colours["light"], colours["dark"], strict=True))


def test_what_data_says_is_never_run(browser: Chrome, report: Path, tmp_path: Path) -> None:
    # Given a label that is markup; then it is text
    browser.get(report.as_uri())
    assert browser.title == "Report of night-2"
    assert HOSTILE in browser.execute_script("return document.getElementById('classes').textContent")
    assert browser.execute_script("return document.querySelectorAll('img, script').length") == 0
    # Given markup that got through all the same; then the page's own policy neither runs nor loads it
    broken = tmp_path / "broken.html"
    evil = f"{HOSTILE}<img src='https://example.invalid/x'><link rel=stylesheet href='https://example.invalid/y'>"
    broken.write_text(
        report.read_text(encoding="utf-8").replace("</main>", f"{evil}</main>"), encoding="utf-8"
    )
    browser.get_log("performance")
    browser.get(broken.as_uri())
    assert browser.title == "Report of night-2"
    blocked = " ".join(problems(browser))
    assert "violates the following Content Security Policy" in blocked
    assert not any(address.startswith("http") for address in answered(browser))


def answered(driver: Chrome) -> set[str]:
    """The addresses that gave something back."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return {
        each["params"]["response"]["url"] for each in events if each["method"] == "Network.responseReceived"
    }
