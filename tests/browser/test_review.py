"""The review page in a real browser: everything by keys alone, nothing lost, nothing that a document says is run."""

import asyncio
import json
import signal
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pipeline.storage.final import write_final
from tests.browser.conftest import PATIENCE_S, Page, reviewing, served
from tests.browser.looks import SHOTS, emulate, faint, problems, violations
from tests.contract.storage.rows import filled
from tests.end_to_end.command import Tierwise
from tests.reviewing import CLASSIFY, EXTRACT, FREE, MULTI, queued

EVIL = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>\u202e {{7*7}}"
TEXTS = ["The invoice of May was charged twice.", EVIL, "Nobody answers the phone.", "Where is my parcel?"]
ANSWERS = [("billing", "billing"), ("=account", "other"), ("outage", "=account"), ("other", "other")]


def given(place: Tierwise, columns: str = "query_id, label") -> list[tuple[Any, ...]]:
    rows = place.rows(f"SELECT {columns} FROM feedback ORDER BY given_at, query_id")
    return [tuple(row.values()) for row in rows]


def test_a_queue_is_reviewed_by_keys_alone(place: Tierwise, page: Page) -> None:
    # Given a job with four queries that wait
    job = asyncio.run(queued(place.lake(), CLASSIFY, TEXTS, ANSWERS))
    with reviewing(place, job) as (process, url):
        page.open(url)
        assert (page.left(), page.text("query"), page.chosen()) == (4, "q1", ["billing"])
        assert "confidence 0.55 below the label's 0.90 · cost so far $0.000123" in page.text("about")
        assert "small" in page.text("candidates")
        assert "confidence 0.40" in page.text("candidates")
        # When the first is taken as it is, then it is stored before the next one shows
        page.press(Keys.ENTER)
        page.wait_for("q2")
        assert given(place) == [("q1", "billing")]
        # And a document is text, whatever it says; nothing but the page's own parts was loaded
        assert page.text("document") == EVIL
        assert page.driver.title.startswith("3 left")
        # When one is chosen by its number, another by arrows, one is skipped
        page.press("3")
        assert page.chosen() == ["=account"]
        page.press(Keys.ENTER)
        page.wait_for("q3")
        page.press("s")
        page.wait_for("q4")
        assert "1 skipped" in page.text("progress")
        page.press(Keys.ARROW_UP, Keys.ARROW_UP)
        assert page.chosen() == ["outage"]
        page.press(Keys.ENTER)
        page.wait_for("q3")
        # When the last is undone, then it is back with what was said, and nothing stands for it
        page.press("u")
        page.wait_for("q4")
        assert page.chosen() == ["outage"]
        assert place.rows("SELECT query_id FROM reviewed") == [{"query_id": "q1"}, {"query_id": "q2"}]
        page.press("4", Keys.ENTER)
        page.wait_for("q3")
        # When there is help, then it opens and closes by keys, and keys do nothing behind it
        page.press("?")
        page.wait(lambda: page.driver.execute_script("return document.getElementById('help').open"))
        page.press("s", Keys.ESCAPE)
        assert page.text("query") == "q3"
        # When the last is taken, then nothing is left
        page.press("2", Keys.ENTER)
        page.wait(lambda: page.left() == 0)
        assert page.focus() == "done-title"
        assert problems(page.driver) == []
        assert outside(page.driver, url) == []
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    stored = place.rows("SELECT query_id, label, reviewer, selected_by, score, status FROM reviewed")
    assert [tuple(row.values()) for row in stored] == [
        (f"q{number}", label, "anna", "review", 0.5 + number / 100, "review")
        for number, label in enumerate(("billing", "=account", "outage", "other"), 1)
    ]
    assert [label for _, label in given(place)] == ["billing", "=account", "outage", None, "other", "outage"]


def test_what_was_said_survives_the_death_of_the_command(place: Tierwise, page: Page) -> None:
    job = asyncio.run(queued(place.lake(), CLASSIFY, TEXTS, ANSWERS))
    with reviewing(place, job) as (process, url):
        page.open(url).press(Keys.ENTER)
        page.wait_for("q2")
        process.kill()
        process.wait()
        # When the next one is taken, then the page says that it was not stored
        page.press(Keys.ENTER)
        page.wait(lambda: "Not stored" in page.text("problem"))
        assert page.text("query") == "q2"
    # And another goes on from there
    with reviewing(place, job, reviewer="ben") as (_, url):
        assert page.open(url).left() == 3
        assert page.text("query") == "q2"


def test_one_of_many_labels_is_found_by_typing(place: Tierwise, page: Page) -> None:
    names = [f"topic {number:03d}" for number in range(150)]
    task = {"kind": "classify", "labels": names}
    job = asyncio.run(queued(place.lake(), task, TEXTS[:2], [(names[70], names[140])] * 2))
    with served(place, job) as url:
        page.open(url)
        # Then what the tiers proposed comes first, with numbers
        assert page.chosen() == [names[140]]
        page.press("1")
        assert page.chosen() == [names[70]]
        page.press("/", "c 12")
        assert page.focus() == "filter"
        assert page.chosen() == [names[12]]
        page.press(Keys.ARROW_DOWN)
        assert page.chosen() == [names[112]]
        page.press("zzz", Keys.ENTER)
        assert page.text("problem") == "No label like that."
        page.press(Keys.ESCAPE, "/", "99", Keys.ENTER)
        page.wait_for("q2")
    assert given(place) == [("q1", names[99])]


def test_several_labels_at_once(place: Tierwise, page: Page) -> None:
    job = asyncio.run(queued(place.lake(), MULTI, TEXTS[:2], [(["billing"], ["billing", "outage"])] * 2))
    with served(place, job) as url:
        page.open(url)
        assert page.chosen() == ["billing", "outage"]
        page.press("1", "3", Keys.ENTER)
        page.wait_for("q2")
        page.press("0", Keys.ENTER)
        page.wait(lambda: page.left() == 0)
    assert given(place) == [("q1", '["outage", "praise"]'), ("q2", "[]")]


def test_an_object_is_edited_and_checked_against_its_schema(place: Tierwise, page: Page) -> None:
    two = [({"total": 12.5}, {"total": 13, "currency": "EUR"})] * 2
    job = asyncio.run(queued(place.lake(), EXTRACT, TEXTS[:2], two))
    with served(place, job) as url:
        page.open(url)
        assert '"currency": "EUR"' in page.value("editor")
        # When what is written does not follow the schema, then it says where and stores nothing
        page.press("e", Keys.END)
        page.press_with_control("a")
        page.press('{"total": "much"}')
        page.press_with_control(Keys.ENTER)
        page.wait(lambda: "schema at $.total" in page.text("problem"))
        # Nor what is no JSON, though it begins with some
        page.press_with_control("a")
        page.press('{"total": 1} {"total": 2}')
        page.press_with_control(Keys.ENTER)
        page.wait(lambda: "this is no JSON" in page.text("problem"))
        assert given(place) == []
        # When it is a tier's answer, loaded by its number, then it is kept
        page.press(Keys.ESCAPE, "1", Keys.ENTER)
        page.wait_for("q2")
        page.press("e")
        page.press_with_control("a")
        page.press('{"total": 7}')
        page.press_with_control(Keys.ENTER)
        page.wait(lambda: page.left() == 0)
    assert given(place) == [("q1", '{"total": 12.5}'), ("q2", '{"total": 7}')]


def test_an_answer_is_written(place: Tierwise, page: Page) -> None:
    job = asyncio.run(queued(place.lake(), FREE, TEXTS[:1], [("42", "about 42")]))
    with served(place, job) as url:
        page.open(url).press("e")
        page.press_with_control("a")
        page.press("forty-two")
        page.press_with_control(Keys.ENTER)
        page.wait(lambda: page.left() == 0)
    assert given(place) == [("q1", "forty-two")]


def test_it_can_be_read_in_light_and_dark_and_by_a_screen_reader(place: Tierwise, page: Page) -> None:
    job = asyncio.run(queued(place.lake(), CLASSIFY, TEXTS, ANSWERS))
    SHOTS.mkdir(parents=True, exist_ok=True)
    with served(place, job) as url:
        for scheme in ("light", "dark"):
            emulate(page.driver, scheme)
            page.open(url).press("?")
            assert faint(page.driver) == [], scheme
            assert violations(page.driver) == [], scheme
            page.press(Keys.ESCAPE)
            assert faint(page.driver) == [], scheme
            assert violations(page.driver) == [], scheme
            assert page.driver.save_screenshot(str(SHOTS / f"review-{scheme}.png"))
        assert nameless(page.driver) == []
        # Tab reaches every control and comes out again
        reached = set()
        for _ in range(12):
            page.press(Keys.TAB)
            reached.add(page.focus())
        assert {"document", "options", "take", "skip", "undo", "ask"} <= reached
    emulate(page.driver, "light")


def outside(driver: Chrome, url: str) -> list[str]:
    """Requests to anywhere but the page's own server."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [
        each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"
    ]
    server = "/".join(url.split("/")[:3])
    assert any(each.startswith(server) for each in asked)
    return [each for each in asked if not each.startswith((server, "data:"))]


def nameless(driver: Chrome) -> list[str]:
    """Controls that a screen reader has no name for."""
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "textbox", "combobox", "listbox", "option", "checkbox", "region", "dialog", "table"}
    controls = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in roles]
    assert controls
    return [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")]


def test_of_a_drawn_query_the_page_shows_no_answer(place: Tierwise, page: Page) -> None:
    job = asyncio.run(queued(place.lake(), CLASSIFY, TEXTS, ANSWERS))
    drawn = filled("certificates", ["-"], job=job, drawn=["q1"])
    asyncio.run(write_final(place.lake(), "certificates", job, drawn))
    with served(place, job) as url:
        page.open(url)
        tiers = page.driver.find_element(By.ID, "tiers")
        assert (page.text("query"), page.chosen(), tiers.is_displayed()) == ("q1", [], False)
        assert page.text("about") == "drawn for the certificate: what the tiers said is not shown"
        assert page.left() == 4
        # A label has to be chosen; the next query shows all there is
        page.press(Keys.ENTER)
        assert "Choose a label first." in page.text("problem")
        page.press("2", Keys.ENTER)
        page.wait_for("q2")
        assert "small" in tiers.text
        assert given(place, "query_id, label, selected_by, score") == [("q1", "outage", "audit", None)]
        assert problems(page.driver) == []
