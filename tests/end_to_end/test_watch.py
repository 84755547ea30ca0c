"""`status --watch` beside a job that another process works on: a screen, lines, JSON; leaving it, and its end."""

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream
from tests.upstream.config import UpstreamConfig
from tests.upstream.fixture import StartUpstream

ROWS = 160
PRICES = {"small": {"input": "0.1", "output": "0.4"}, "large": {"input": "2", "output": "8"}}
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def upstream(upstreams: StartUpstream) -> Upstream:
    return upstreams(
        UpstreamConfig(
            rule="echo-label", labels=("a", "b"), accuracy={"small": 1.0, "large": 1.0}, prices=PRICES
        )
    )


def spec_of(place: Tierwise, url: str) -> str:
    source = write_documents(
        place.folder / "d.parquet", [f"{row} says {'ab'[row % 2]}" for row in range(ROWS)]
    )
    tiers = model_tiers(url, PRICES, ["small", "large"], max_concurrency=4)
    tiers[0]["accept"] = 0.99
    spec = {
        "name": "mails",
        "task": {"kind": "classify", "labels": ["a", "b"]},
        "input": {"path": str(source), "id": "id", "batch": {"rows": 40}},
        "tiers": tiers,
        "budget": {"usd": "1"},
    }
    return write_spec(place, spec)


@contextmanager
def running(place: Tierwise, upstream: Upstream) -> Iterator[subprocess.Popen[str]]:
    """The job `mails`, worked on by a process of its own; its upstream is quick once the block ends."""
    upstream.control(latency_ms=2000)
    process = place.start("run", spec_of(place, upstream.url), "--job", "mails", "--json")
    try:
        while not (place.folder / "lake/_jobs/mails/manifest.json").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        while tierwise(place, "status", "mails", code=None).code:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        yield process
    finally:
        upstream.control(latency_ms=0)
        process.communicate(timeout=120)


class Terminal:
    """A command on a pseudo-terminal of so many columns and lines."""

    def __init__(self, place: Tierwise, columns: int, lines: int, *arguments: str) -> None:
        self._master, slave = os.openpty()
        self.resize(columns, lines)
        environment = {**place.environment(), "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *arguments],
            cwd=place.folder, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.raw = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, pattern: str, times: int = 1, timeout: float = 90) -> list[str]:
        """What the screen has shown that matches, so many different ones of it."""
        end = time.monotonic() + timeout
        while len(found := list(dict.fromkeys(re.findall(pattern, self.text)))) < times:
            assert time.monotonic() < end, self.text[-3000:]
            assert self._read(), self.text[-3000:]
        return found

    @property
    def text(self) -> str:
        return CODES.sub("", self.raw)

    def _read(self) -> bool:
        """False: nothing more will come."""
        if not select.select([self._master], [], [], 1)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(timeout=30)


@pytest.mark.timeout(280)
def test_a_screen_that_is_left_while_the_job_goes_on(place: Tierwise, upstream: Upstream) -> None:
    # Given a job at a slow upstream, watched on a terminal
    with running(place, upstream) as process:
        screen = Terminal(place, 120, 40, "status", "mails", "--watch")
        # Then the queries that ended grow, and so does the money
        done = screen.wait_for(rf"([\d,]+) of {ROWS} ", times=3)
        assert [int(each) for each in done] == sorted(map(int, done))
        spent = screen.wait_for(r"job/mails +\$(\d\.\d+)", times=2)
        assert [float(each) for each in spent] == sorted(map(float, spent))
        screen.wait_for(r"small +\d+ +\d+ +\d+")
        screen.wait_for(r"workers: 1 \(")
        # When the terminal gets narrow, then no line is longer than it is
        screen.resize(50, 30)
        screen.wait_for(r"job/mails: spent")
        # When it is left
        screen.process.send_signal(signal.SIGINT)
        code = screen.end()
        # Then the terminal is as it was, it says how to come back, and the job goes on to its end
        assert code == 0
        assert screen.raw.count("\x1b[?1049h") == screen.raw.count("\x1b[?1049l") == 1
        assert "mails goes on; come back with: tierwise status mails --watch" in screen.text
        assert "Traceback" not in screen.text
        assert process.poll() is None
    assert process.returncode == 0
    assert tierwise(place, "report", "mails", "--json").json()["statuses"] == {"answered": ROWS}


@pytest.mark.timeout(280)
def test_lines_and_objects_until_the_job_ends(place: Tierwise, upstream: Upstream) -> None:
    # Given a job that is watched by a machine
    with running(place, upstream) as process:
        watching = place.start("status", "mails", "--watch", "--json")
        assert watching.stdout is not None
        views = []
        for line in watching.stdout:
            views.append(json.loads(line))
            # Then at each moment what is settled was billed
            assert views[-1]["spent_nano"] <= upstream.meter_total_nano()
            if len(views) == 4:
                upstream.control(latency_ms=0)
        assert watching.wait(timeout=60) == 0
        watching.communicate()
        assert process.wait(timeout=60) == 0
    # And in the end all of it is there, to the nano-dollar
    last = views[-1]
    assert last["state"] == "closed"
    assert last["done"] == last["queries"] == ROWS
    assert last["spent_nano"] == upstream.meter_total_nano() > views[0]["spent_nano"]
    assert last["ladder"][0]["asked"] == ROWS
    assert last["ladder"][0]["answered"] + last["ladder"][1]["answered"] == ROWS
    assert [view["done"] for view in views] == sorted(view["done"] for view in views)
    # And who watches a closed job without a terminal gets a line and the summary, free of control codes
    said = tierwise(place, "status", "mails", "--watch").out
    assert "mails closed · 160 of 160 queries" in said
    assert "Answers per tier" in said
    assert "\x1b" not in said
    assert "mails closed" not in tierwise(place, "status", "--watch").out  # only what is open is told


def test_watching_ends_with_the_exit_code_of_the_job(place: Tierwise) -> None:
    # Given a job that ended with more rejected rows than it allows
    source = place.folder / "rows.csv"
    source.write_text("id,text\n1,yes\n2,\n")
    spec = {
        "name": "short",
        "task": {"kind": "classify", "labels": ["yes", "no"]},
        "input": {"path": str(source), "id": "id"},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": {"yes": ["yes"], "no": ["no"]}}],
        "budget": {"usd": "0"},
    }
    tierwise(place, "run", write_spec(place, spec), "--job", "short", code=3)
    # Then whoever watched it learns the same
    tierwise(place, "status", "short", "--watch", code=3)
    [line] = tierwise(place, "status", "short", "--watch", "--json", code=3).out.splitlines()
    assert json.loads(line)["statuses"] == {"answered": 1, "rejected": 1}
    tierwise(place, "status", "nobody", "--watch", code=2)
