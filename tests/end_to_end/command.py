"""The `tierwise` command in processes of its own, as a person or a scheduler starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Tierwise:
    """One place: a working folder and its settings."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TIERWISE_")}
        lake = {"TIERWISE_LAKE": str(self.folder / "lake")}
        return {**kept, "PYTHONPATH": str(ROOT), "TIERWISE_FORBID_REMOTE": "1", **lake, **self.settings}

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *arguments],
            cwd=self.folder, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
        )  # fmt: skip

    def run(self, *arguments: str, code: int = 0, timeout: float = 180) -> str:
        """What it prints; fails with its errors when the exit code is another."""
        process = self.start(*arguments)
        try:
            printed, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, errors = process.communicate()
            raise AssertionError(f"{arguments} did not end: {errors[-3000:]}") from None
        assert process.returncode == code, (
            f"exit {process.returncode}, not {code}: {printed[-2000:]}{errors[-3000:]}"
        )
        return printed

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("query", sql)
        return found

    def wait_closed(self, job: str, timeout: float = 120) -> dict[str, Any]:
        """Status of the job once it is closed."""
        end = time.monotonic() + timeout
        while True:
            said: dict[str, Any] = self.json("status", job)
            if said["state"] == "closed":
                return said
            assert time.monotonic() < end, f"not closed in {timeout} s: {said}"
            time.sleep(0.3)


@contextmanager
def workers(place: Tierwise, processes: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Worker processes, stopped at the end; their log lies in the place's folder."""
    running: list[subprocess.Popen[str]] = []
    with (place.folder / "workers.log").open("a") as log:
        for _ in range(processes):
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "jobs.cli", "worker", "--threads", "4"],
                    cwd=place.folder, env=place.environment(), stdout=log, stderr=log, text=True,
                )
            )  # fmt: skip
        try:
            yield running
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], timeout: float = 60) -> None:
    """kill -9 as soon as the condition holds."""
    end = time.monotonic() + timeout
    while not ready():
        assert process.poll() is None, f"it ended by itself: {process.communicate()}"
        assert time.monotonic() < end, "the moment to kill it never came"
        time.sleep(0.01)
    process.kill()
    process.communicate()
