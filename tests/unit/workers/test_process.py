"""What a worker process keeps of the jobs it has worked on."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.settings import Settings
from schemas.ids import JobId
from workers import process
from workers.process import KEPT, Process


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Jobs opened and closed, in order; opening one takes a moment."""
    seen: dict[str, list[Any]] = {"opened": [], "closed": []}

    async def open_work(services: Any, job: str) -> Any:
        seen["opened"].append(job)
        await asyncio.sleep(0)
        return SimpleNamespace(job=job)

    async def close_work(work: Any) -> None:
        seen["closed"].append(work.job)

    monkeypatch.setattr(process, "open_work", open_work)
    monkeypatch.setattr(process, "close_work", close_work)
    return seen


async def _use(worker: Process, name: str) -> None:
    async with worker.work(JobId(name)):
        await asyncio.sleep(0)


def test_jobs_long_done_are_let_go(tmp_path: Path, opened: dict[str, list[Any]]) -> None:
    worker = Process(Settings(lake=str(tmp_path)))
    names = [f"job-{number}" for number in range(KEPT + 3)]

    async def use_all() -> None:
        async with worker.work(JobId("long")):  # in use all the while
            for name in [*names, names[-1]]:
                await asyncio.gather(_use(worker, name), _use(worker, name))

    worker.run(use_all())
    worker.stop()
    assert opened["opened"] == ["long", *names]
    assert opened["closed"] == [*names[:3], names[3]]
