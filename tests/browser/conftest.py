"""Headless Chromium on the review page of a command that runs apart; skipped by name where there is no browser."""

import asyncio
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from pipeline.labels import Labels
from pipeline.review.desk import Desk
from pipeline.review.queue import read_queue
from pipeline.review.server import serving
from pipeline.storage.views import connect
from pipeline.wiring.services import now_ms
from schemas import lake, manifest
from schemas.ids import JobId
from tests.end_to_end.command import Tierwise

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--window-size=1280,800",
)  # fmt: skip
PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    if missing := [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]:
        pytest.skip(f"no {' and no '.join(missing)} on the PATH: infra/browser.sh installs them")
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def place(tmp_path: Path) -> Tierwise:
    """A folder with a local lake and a SQLite ledger in it."""
    return Tierwise(folder=tmp_path)


@contextmanager
def reviewing(
    place: Tierwise, job: str, reviewer: str = "anna"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`tierwise review serve` and its page's address; ended as a person ends it, if it still runs."""
    process = place.start("review", "serve", job, "--reviewer", reviewer, "--json")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        yield process, json.loads(line)["url"]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


@contextmanager
def served(place: Tierwise, job: JobId) -> Iterator[str]:
    """The same page from a thread of this process, since a command takes its time to start; its address."""
    address: Queue[tuple[str, Callable[[], None]]] = Queue()

    async def serve() -> None:
        storage, stop = place.lake(), asyncio.Event()
        task = manifest.decode(await storage.read(lake.manifest(job))).job_spec().task
        with connect(storage) as connection:
            queue, labels = read_queue(connection, job), Labels(storage, job)
            desk = Desk(connection, labels, job, task, queue, "anna", now_ms)
            async with serving(desk, 0) as url:
                loop = asyncio.get_running_loop()
                address.put((url, lambda: loop.call_soon_threadsafe(stop.set)))
                await stop.wait()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(lambda: asyncio.run(serve()))
        url, stop = address.get(timeout=PATIENCE_S)
        try:
            yield url
        finally:
            stop()
            done.result(timeout=PATIENCE_S)


@dataclass(frozen=True)
class Page:
    """The page as a person at the keyboard has it."""

    driver: Chrome

    def open(self, url: str) -> "Page":
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(url)
        self.wait(lambda: "left" in self.text("progress"))
        return self

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_with_control(self, key: str) -> None:
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL).perform()

    def text(self, name: str) -> str:
        said = self.driver.execute_script("return document.getElementById(arguments[0]).textContent", name)
        return str(said)

    def value(self, name: str) -> str:
        return str(self.driver.execute_script("return document.getElementById(arguments[0]).value", name))

    def chosen(self) -> list[str]:
        found = self.driver.execute_script(
            "return [...document.querySelectorAll('#options [aria-selected=true] .text')].map((e) => e.firstChild.data)"
        )
        return list(found)

    def focus(self) -> str:
        return str(self.driver.execute_script("return document.activeElement.id"))

    def left(self) -> int:
        return int(self.text("progress").split()[0])

    def wait(self, ready: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not ready():
            assert time.monotonic() < end, self.driver.page_source[-3000:]
            time.sleep(0.02)

    def wait_for(self, query_id: str) -> None:
        self.wait(lambda: self.text("query") == query_id)


@pytest.fixture
def page(chrome: Chrome) -> Page:
    return Page(chrome)
