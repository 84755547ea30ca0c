"""The `tierwise` command in processes of its own, as a person or a scheduler starts it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Account, Ledger
from pipeline.ports.storage import Storage
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from pipeline.wiring.services import now_ms
from schemas.ids import AccountId, JobId

T = TypeVar("T")

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

    def lake(self) -> Storage:
        return open_storage(self.environment()["TIERWISE_LAKE"])

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What an analyst reads in the lake; in this process, since starting a command takes its time."""
        with patched(self.settings), connect(self.lake()) as connection:
            answer = connection.execute(sql)
            names = [column[0] for column in answer.description or []]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def ledger_url(self) -> str:
        return self.settings.get(
            "TIERWISE_LEDGER", f"sqlite:///{self.folder / 'lake' / '_ledger' / 'ledger.db'}"
        )

    def money(self, job: str) -> Account:
        """The job's account."""

        async def read(ledger: Ledger) -> Account | None:
            return await ledger.account(AccountId(f"job/{job}"))

        found = self._ask(read)
        assert found is not None
        return found

    def wait_closed(self, job: str, timeout: float = 120) -> Account:
        """The job's account once it is closed."""

        async def wait(ledger: Ledger) -> Account | None:
            async with asyncio.timeout(timeout):
                while (row := await ledger.job(JobId(job))) is None or row.state != "closed":
                    await asyncio.sleep(0.1)  # another process closes it
            return await ledger.account(row.account)

        found = self._ask(wait)
        assert found is not None
        return found

    def _ask(self, question: Callable[[Ledger], Awaitable[T]]) -> T:
        async def ask() -> T:
            ledger = open_ledger(self.ledger_url(), clock=now_ms)
            try:
                return await question(ledger)
            finally:
                await ledger.close()

        return asyncio.run(ask())


@contextmanager
def patched(settings: dict[str, str]) -> Iterator[None]:
    """The settings as environment variables of this process."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def workers(place: Tierwise, processes: int, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Worker processes, stopped at the end; their log lies in the place's folder."""
    running: list[subprocess.Popen[str]] = []
    with (place.folder / "workers.log").open("a") as log:
        for _ in range(processes):
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "jobs.cli", "worker", "--threads", "4", *options],
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
                    process.wait(timeout=60)
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
