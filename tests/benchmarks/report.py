"""The report of a job of a million rows: `python -m tests.benchmarks.report`. Bars: under 5 MB, open in under 3 s.

Two such jobs are written into a lake, so that the second is compared with the first; the page is made by the command,
in a process of its own, and opened in headless Chromium, the cache cold.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.storage import open_storage
from tests.benchmarks.figures import write
from tests.browser.conftest import chromium
from tests.reporting import closed

MOST_MB, MOST_S = 5.0, 3.0
_LOADED = "const [n] = performance.getEntriesByType('navigation'); return [n.domContentLoadedEventEnd, n.loadEventEnd]"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tierwise-report-") as name:
        folder = Path(name)
        asyncio.run(make_lake(folder / "lake", given.rows))
        page = folder / "report.html"
        seconds, cpu = make_report(folder, page)
        opened = open_page(folder, page, given.repeats)
        size = page.stat().st_size / 2**20
    figures = {
        "rows": given.rows, "report_s": round(seconds, 1), "report_cpu_s": round(cpu, 1), "page_mb": round(size, 2),
        "opened_s": [round(each, 2) for each in opened],
    }  # fmt: skip
    middle = statistics.median(opened)
    print(f"`tierwise report -o report.html` of {given.rows:,} rows: {seconds:.1f} s, {cpu:.1f} s of CPU")
    print(f"page: {size:.2f} MB (bar: {MOST_MB:g}); loaded in {middle:.2f} s (bar: {MOST_S:g})")
    write("report", figures)
    sys.exit(size >= MOST_MB or middle >= MOST_S)


async def make_lake(lake: Path, rows: int) -> None:
    storage = open_storage(str(lake))
    await closed(storage, "night-1", rows, seed=5)
    await closed(storage, "night-2", rows, easy=500)


def make_report(folder: Path, page: Path) -> tuple[float, float]:
    """Seconds on the clock and of CPU."""
    began, used = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "jobs.cli", "report", "night-2", "-o", str(page)]
    subprocess.run(
        command,
        check=True,
        env={**os.environ, "TIERWISE_LAKE": str(folder / "lake")},
        stdout=subprocess.DEVNULL,
    )
    ended = os.times()
    cpu = ended.children_user - used.children_user + ended.children_system - used.children_system
    return time.perf_counter() - began, cpu


def open_page(folder: Path, page: Path, repeats: int) -> list[float]:
    """Seconds from the start of each navigation to the end of the page's load event."""
    with chromium(folder / "profile") as driver:
        driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        found = []
        for _ in range(repeats):
            driver.get("about:blank")
            driver.get(page.as_uri())
            content, loaded = driver.execute_script(_LOADED)
            assert 0 < content <= loaded
            found.append(loaded / 1000)
    return found


if __name__ == "__main__":
    main()
