"""One step of the scale benchmark in a process of its own: `python -m tests.benchmarks.scale_steps STEP FOLDER ROWS`.

Prints its figures as JSON, with the peak of this process's resident memory.
"""

import asyncio
import csv
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.close import close_generation
from pipeline.flow import take_batch
from pipeline.providers.endpoint import Endpoint
from pipeline.providers.http import HttpClient
from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from pipeline.wiring.services import close_services, open_services
from pipeline.wiring.work import open_work
from pipeline.work import Services
from schemas.ids import AccountId, BatchIndex, Generation, JobId
from schemas.records import Reply
from tests.benchmarks.ours import spec
from tests.benchmarks.peers import LABELS

JOB, ONE = JobId("scale"), Generation(1)
IN_FLIGHT = 4  # batches
Figures = dict[str, Any]


class Upstream(HttpClient):
    """Answers at once, in this process, and bills: one in ten answers of a tier is wrong; one in sixteen of the
    small tier's names no label, so the large one is asked."""

    _number = re.compile(rb"\(message (\d+)\)")

    async def post(self, endpoint: Endpoint, body: bytes, key: str) -> Reply:
        found = self._number.search(body)
        assert found is not None
        number = int(found[1])
        label = LABELS[(number + (number % 10 == 0)) % len(LABELS)]
        if number % 16 == 3 and b'"model":"small"' in body:
            label = "unsure"
        return Reply(status=200, body=_REPLY % label.encode(), latency_ms=1)

    async def close(self) -> None:
        """Nothing is open."""


_REPLY = (
    b'{"id":"c","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":'
    b'{"role":"assistant","content":"{\\"label\\":\\"%s\\"}"}}],'
    b'"usage":{"prompt_tokens":120,"completion_tokens":8,"total_tokens":128}}'
)


def make_input(folder: Path, rows: int) -> None:
    """The same rows as Parquet, CSV and JSON lines, a piece at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in ("id", "text", "gold", "region")])
    with (
        pq.ParquetWriter(folder / "documents.parquet", schema) as parquet,
        open(folder / "documents.csv", "w", encoding="utf-8", newline="") as csv_file,
        open(folder / "documents.jsonl", "w", encoding="utf-8") as lines,
    ):
        writer = csv.DictWriter(csv_file, schema.names)
        writer.writeheader()
        for piece in _pieces(rows, 20_000):
            parquet.write_table(pa.Table.from_pylist(piece, schema))
            writer.writerows(piece)
            lines.writelines(json.dumps(row) + "\n" for row in piece)


def _pieces(rows: int, size: int) -> Iterator[list[dict[str, str]]]:
    with open("jobs/examples/support/messages.csv", encoding="utf-8", newline="") as file:
        messages = [row["text"] for row in csv.DictReader(file)]
    for start in range(0, rows, size):
        yield [
            {
                "id": f"q{number}",
                "text": f"{messages[number % len(messages)]} (message {number})",
                "gold": LABELS[number % len(LABELS)],
                "region": f"region {number % 23}",
            }
            for number in range(start, min(rows, start + size))
        ]


def _spec(folder: Path, kind: str) -> Path:
    """Two billed tiers, the taxonomy of the demo, batches of a thousand."""
    made = spec("http://127.0.0.1:1/v1", 256, folder / f"documents.{kind}")
    (tier,) = made["tiers"]
    large = {"name": "large", "model": "large", "accept": 0.0, "price": {"input": "2", "output": "8"}}
    made["tiers"] = [{**tier, "name": "small", "model": "small", "accept": 0.6}, {**tier, **large}]
    made["input"]["gold"] = "gold"
    made["budget"]["usd"] = 100_000
    path = folder / f"job-{kind}.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


async def _services(lake: Path) -> Services:
    return replace(await open_services(Settings(lake=str(lake), ledger="")), http=Upstream())


async def submit(folder: Path, rows: int, kind: str) -> Figures:
    services = await _services(folder / ("lake" if kind == "parquet" else f"lake-{kind}"))
    prepared = await read_spec(_spec(folder, kind))
    pinned = await create_job(services, prepared, JOB)
    await close_services(services)
    assert pinned.queries == rows
    return {"batches": pinned.batches}


async def work(folder: Path, rows: int) -> Figures:
    """What a worker process does with every batch of the job; the closing is another step."""
    from workers.process import tune

    services = await _services(folder / "lake")
    opened = await open_work(services, JOB)
    tune()
    done, curve = 0, {}

    def count(status: str, tier: str) -> None:
        nonlocal done
        done += status == "answered"
        if done % max(1, rows // 10) == 0:
            curve[done] = round(_resident("VmRSS"))

    async def taker(batches: Iterator[BatchIndex]) -> None:
        for batch in batches:
            await take_batch(opened, ONE, batch, count)

    ready = iter(await services.ledger.open_batches(JOB, services.clock()))
    log = folder / "lake" / "_ledger" / "ledger.db-wal"
    await asyncio.gather(*(taker(ready) for _ in range(IN_FLIGHT)))
    wal = log.stat().st_size if log.exists() else 0
    calls = sum(batch.calls for batch in (await services.ledger.totals(JOB, ONE)).values())
    account = await services.ledger.account(AccountId(f"job/{JOB}"))
    await close_services(services)
    assert done == rows, f"{done} of {rows} answered"
    assert account is not None
    assert account.spent > 0 == account.held
    return {"calls": calls, "wal_mb": round(wal / 2**20, 1), "rss_mb_by_rows": curve}


async def close(folder: Path, rows: int, lake: str = "lake") -> Figures:
    services = await _services(folder / lake)
    closed = await close_generation(await open_work(services, JOB), ONE)
    await close_services(services)
    assert closed
    return {}


async def unsettle(folder: Path, rows: int) -> Figures:
    """As a late reply would: the ledger moves on after the parts were written, so closing must reconcile."""
    import sqlite3

    path = folder / "lake-late" / "_ledger" / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE calls SET cost = cost - 1 WHERE call_id = (SELECT min(call_id) FROM calls)"
        )
        connection.execute("UPDATE accounts SET spent = spent - 1")
    return {}


AGGREGATES = {
    "count by status and tier": "SELECT status, tier, count(*) FROM {results} GROUP BY ALL",
    "cost by category": "SELECT category, sum(cost_usd) FROM {results} GROUP BY ALL",
    "one query": "SELECT * FROM {results} WHERE query_id = 'q{middle}'",
}


async def aggregates(folder: Path, rows: int, repeats: int = 9) -> Figures:
    """Milliseconds of each, on the analyst's view and on one ideally written file, turn by turn."""
    import duckdb

    ideal = folder / "ideal.parquet"
    taken: dict[str, dict[str, list[float]]] = {name: {"lake": [], "ideal": []} for name in AGGREGATES}
    with duckdb.connect(str(folder / "lake" / "tierwise.duckdb"), read_only=True) as connection:
        connection.execute(
            f"COPY (FROM results ORDER BY batch, query_id) TO '{ideal}' (FORMAT parquet, COMPRESSION zstd)"
        )
        for repeat in range(repeats + 1):
            for name, sql in AGGREGATES.items():
                for place, table in (("lake", "results"), ("ideal", f"read_parquet('{ideal}')")):
                    began = time.perf_counter()
                    found = connection.execute(sql.format(results=table, middle=rows // 2)).fetchall()
                    assert found
                    if repeat:  # the first round reads from a cold cache
                        taken[name][place].append((time.perf_counter() - began) * 1000)
    return {"ms": taken, "ideal_bytes": ideal.stat().st_size}


async def main() -> Figures:
    step, folder, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    name, _, kind = step.partition("-")
    steps: dict[str, Callable[..., Awaitable[Figures]]] = {
        "submit": submit, "work": work, "close": close, "unsettle": unsettle, "aggregates": aggregates,
    }  # fmt: skip
    began, used = time.perf_counter(), time.process_time()
    if name == "input":
        make_input(folder, rows)
        found: Figures = {}
    else:
        found = await steps[name](folder, rows, *([kind] if kind else []))
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return {"seconds": seconds, "cpu_s": cpu, "peak_mb": _resident("VmHWM"), **found}


def _resident(name: str) -> float:
    """MB of this process; a peak (VmHWM) since it began."""
    with open(f"/proc/{os.getpid()}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(main())))
