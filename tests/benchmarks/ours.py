"""Tierwise under measurement: a whole job, in this process or in several worker processes.

`python -m tests.benchmarks.ours LAKE LEDGER` is one of those workers.
"""

import asyncio
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from pipeline.wiring.services import close_services, open_services
from pipeline.wiring.work import open_work
from schemas.ids import JobId
from tests.benchmarks.peers import LABELS, MODEL, Measured, documents
from tests.jobs import write_documents
from workers.inline import work_inline
from workers.process import tune

JOB = JobId("bench")


def spec(url: str, in_flight: int, path: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "bench",
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {"path": str(path), "id": "id", "text": "text"},
        "tiers": [
            {
                "name": "model", "provider": "openai", "model": MODEL, "base_url": url, "api_key_env": None,
                "price": {"input": "0.1", "output": "0.4"}, "max_concurrency": in_flight, "logprobs": False,
            }
        ],
        "history": "none",  # the ledger is used again
        "taxonomy": str(Path("jobs/examples/support/taxonomy.yaml").absolute()),
        "budget": {"usd": 100},
    }  # fmt: skip


async def tierwise(url: str, in_flight: int, calls: int, settings: Settings, parts: Counter[str]) -> Measured:
    await submit(url, in_flight, calls, settings)
    services = await open_services(settings)
    work = await open_work(services, JOB)
    tune()

    async def run() -> int:
        done = 0

        def count(status: str, tier: str) -> None:
            nonlocal done
            done += status == "answered"

        parts.subtract(thread_seconds())
        await work_inline(work, in_flight=3, progress=count)
        parts.update(thread_seconds())
        await close_services(services)
        return done

    return run


async def submit(url: str, in_flight: int, calls: int, settings: Settings) -> None:
    folder = Path(settings.lake).parent
    write_documents(folder / "documents.parquet", documents(calls))
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(spec(url, in_flight, folder / "documents.parquet")))
    services = await open_services(settings)
    await create_job(services, await read_spec(path), JOB)
    await close_services(services)


async def tierwise_processes(
    processes: int, url: str, in_flight: int, calls: int, settings: Settings
) -> Measured:
    """`in_flight` calls in each process. Starting them is not measured."""
    await submit(url, in_flight, calls, settings)
    command = [sys.executable, "-m", "tests.benchmarks.ours", settings.lake, settings.ledger_url()]
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    workers = [await asyncio.create_subprocess_exec(*command, **pipes) for _ in range(processes)]
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"

    async def run() -> int:
        ended = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))
        return sum(int(out) for out, _ in ended)

    return run


async def worker(settings: Settings) -> None:
    """Joins the job when told to; prints how many answers it got."""
    services = await open_services(settings)
    work = await open_work(services, JOB)
    tune()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    statuses: Counter[str] = Counter()
    await work_inline(work, in_flight=3, progress=lambda status, tier: statuses.update([status]))
    await close_services(services)
    print(statuses["answered"])


def thread_seconds() -> Counter[str]:
    """CPU so far of this process's Python threads, by what they do."""
    seconds: Counter[str] = Counter()
    for thread in threading.enumerate():
        part = "ledger" if "ledger" in thread.name else "loop" if thread.name == "MainThread" else "pool"
        schedstat = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
        seconds[part] += int(schedstat.split()[0]) / 1e9
    return seconds


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker(Settings(lake=sys.argv[1], ledger=sys.argv[2])))
