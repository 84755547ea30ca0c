"""One measured client per process: `python -m tests.benchmarks.clients NAME URL IN_FLIGHT CALLS` prints its figures.

Every client asks the same upstream for the same documents. Tierwise does the whole of a job: taxonomy, plan,
hold, journal, send, settle, parse, judge, parts, commit and close. The peers only send and read.
"""

import asyncio
import csv
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml

from tests.jobs import write_documents

LABELS = ["billing", "refund", "shipping", "account_access", "technical_issue", "other"]
MODEL = "bench"
Measured = Callable[[], Awaitable[int]]  # runs the calls; returns how many answers it got


def documents(count: int) -> list[str]:
    """The support messages over and over, each made unique: some match a rule of the taxonomy, some none."""
    with open("jobs/examples/support/messages.csv", encoding="utf-8", newline="") as file:
        messages = [row["text"] for row in csv.DictReader(file)]
    return [f"{messages[number % len(messages)]} (message {number})" for number in range(count)]


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
        "taxonomy": str(Path("jobs/examples/support/taxonomy.yaml").absolute()),
        "budget": {"usd": 100},
    }  # fmt: skip


async def tierwise(url: str, in_flight: int, calls: int, folder: Path, ledger: str) -> Measured:
    from pipeline.settings import Settings
    from pipeline.submit import create_job, read_spec
    from pipeline.wiring import close_services, open_services, open_work
    from schemas.ids import JobId
    from workers.inline import work_inline
    from workers.process import tune

    write_documents(folder / "documents.parquet", documents(calls))
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(spec(url, in_flight, folder / "documents.parquet")))
    services = await open_services(Settings(lake=str(folder / "lake"), ledger=ledger))
    await create_job(services, await read_spec(path), JobId("bench"))
    work = await open_work(services, JobId("bench"))
    tune()

    async def run() -> int:
        done = 0

        def count(status: str, tier: str) -> None:
            nonlocal done
            done += status == "answered"

        await work_inline(work, in_flight=3, progress=count)
        await close_services(services)
        return done

    return run


async def bare_aiohttp(url: str, in_flight: int, calls: int) -> Measured:
    """The same bodies, built and read as JSON, over one session; nothing else."""
    import aiohttp
    import msgspec

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )
    system = "Sort the message. " + " ".join(LABELS) * 20
    texts = iter(documents(calls))
    headers = {"Content-Type": "application/json"}
    target = f"{url}/chat/completions"

    async def worker() -> int:
        done = 0
        for text in texts:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
            body = msgspec.json.encode({"model": MODEL, "messages": messages, "max_completion_tokens": 40})
            async with session.post(target, data=body, headers=headers) as response:
                reply = msgspec.json.decode(await response.read())
                done += bool(reply["choices"][0]["message"]["content"])
        return done

    async def run() -> int:
        done = sum(await asyncio.gather(*(worker() for _ in range(in_flight))))
        await session.close()
        return done

    return run


async def litellm(url: str, in_flight: int, calls: int) -> Measured:
    import litellm as peer

    peer.suppress_debug_info = True
    peer.telemetry = False
    system = "Sort the message. " + " ".join(LABELS) * 20
    texts = iter(documents(calls))

    async def worker() -> int:
        done = 0
        for text in texts:
            reply = await peer.acompletion(
                model=f"openai/{MODEL}", api_base=url, api_key="none", max_completion_tokens=40, num_retries=0,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": text}],
            )  # fmt: skip
            done += bool(reply.choices[0].message.content)
        return done

    async def run() -> int:
        return sum(await asyncio.gather(*(worker() for _ in range(in_flight))))

    return run


async def measure(name: str, url: str, in_flight: int, calls: int, ledger: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tierwise-bench-") as folder:
        place = Path(folder)
        match name:
            case "tierwise":
                made = await tierwise(
                    url, in_flight, calls, place, ledger or f"sqlite:///{place / 'ledger.db'}"
                )
            case "aiohttp":
                made = await bare_aiohttp(url, in_flight, calls)
            case _:
                made = await litellm(url, in_flight, calls)
        before, began = _cpu(), time.perf_counter()
        done = await made()
        seconds, cpu = time.perf_counter() - began, _cpu() - before
        assert done == calls, f"{name}: {done} of {calls} answered"
        return {"cpu_us_per_call": cpu / calls * 1e6, "calls_per_s": calls / seconds}


def _cpu() -> float:
    """User + system of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    import uvloop

    name, url, in_flight, calls, ledger = sys.argv[1:6]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(name, url, int(in_flight), int(calls), ledger))))


if __name__ == "__main__":
    main()
