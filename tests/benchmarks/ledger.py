"""Holds and settled calls a second through group commit, CPU of each, and the driver alone beside them.

python -m tests.benchmarks.ledger [--quick]

A hold counts once its caller has the answer, so once it is durable (SQLite synchronous=FULL, PostgreSQL
synchronous_commit=on). `floor`: the driver alone writing what a hold (and its settlement) must leave, in groups
of the same size and with the same durability, deciding nothing.
"""

import asyncio
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.ledger.sql.ledger import SqlLedger
from pipeline.ports.ledger import Held, Intent, Settlement
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano, QueryId, TierName
from schemas.money import Usage
from schemas.records import Lease, Pin
from tests.benchmarks.figures import summed
from tests.benchmarks.floors import GROUP, floor_of
from tests.services import postgresql_schema

DATABASES = ("sqlite", "postgresql")
CALLERS = (64, 256, 1024, 4096)
HOLDS_BAR, CPU_BAR = 20_000, 45.0
BODY = json.dumps({"id": "x" * 40, "choices": [{"message": {"content": "y" * 700}}], "usage": {}}).encode()
UNITS = {
    "per_s": "calls/s", "cpu_us": "µs of CPU per call", "server_cpu_us": "µs of CPU per call",
    "floor_per_s": "calls/s", "floor_cpu_us": "µs of CPU per call",
}  # fmt: skip


def ledger_figures(quick: bool) -> dict[str, Any]:
    """{database: {"holds" | "pairs": {callers: {figure: median and spread}}}}, and the bars."""
    repeats = 1 if quick else 3
    figures: dict[str, Any] = {database: {kind: {} for kind in ("holds", "pairs")} for database in DATABASES}
    for database in DATABASES:
        for callers in CALLERS:
            for kind, cells in figures[database].items():
                calls = min(40_000, 200 * callers) // (4 if quick else 1)
                found = [_apart(database, kind, callers, calls) for _ in range(repeats)]
                cells[str(callers)] = {
                    name: summed([one[name] for one in found], unit) for name, unit in UNITS.items()
                }
            print(f"ledger: {database}, {callers} callers done", file=sys.stderr)
        calls = 2_000 if quick else 10_000
        paced = [_apart(database, "paced", 64, calls) for _ in range(repeats)]
        figures[database]["paced_cpu_us"] = summed([one["cpu_us"] for one in paced], "µs of CPU per call")
    return {**figures, "bars": _bars(figures)}


def _bars(figures: dict[str, Any]) -> dict[str, Any]:
    best = {
        database: max(cell["per_s"]["median"] for cell in figures[database]["holds"].values())
        for database in DATABASES
    }
    paced = figures["sqlite"]["paced_cpu_us"]["median"]
    return {
        "holds_per_s": {"bar": HOLDS_BAR, "processes": 1, **best, "met": min(best.values()) >= HOLDS_BAR},
        "cpu_us_per_call": {
            "bar": CPU_BAR, "at": "SQLite, 64 in flight, 20 ms", "found": paced, "met": paced <= CPU_BAR,
        },
    }  # fmt: skip


def print_ledger(figures: dict[str, Any]) -> None:
    print("\nledger, one process: median (lowest–highest); CPU ours + the database server's")
    for database in DATABASES:
        for kind, title in (("holds", "holds"), ("pairs", "hold + settle")):
            for callers, cell in figures[database][kind].items():
                rate, floor = cell["per_s"], cell["floor_per_s"]
                low, high = rate["spread"]
                print(
                    f"{database:11}{title:14}{callers:>5} callers {rate['median']:>9,.0f}/s "
                    f"({low:,.0f}–{high:,.0f}){cell['cpu_us']['median']:>7.1f} + "
                    f"{cell['server_cpu_us']['median']:.1f} µs   driver alone {floor['median']:,.0f}/s "
                    f"{cell['floor_cpu_us']['median']:.1f} µs: {rate['median'] / floor['median']:.2f}×"
                )
        paced = figures[database]["paced_cpu_us"]
        print(f"{database:11}64 in flight, 20 ms upstream: {paced['median']} µs of CPU a call")
    holds, cpu = figures["bars"]["holds_per_s"], figures["bars"]["cpu_us_per_call"]
    print(
        f"bar: {holds['bar']:,} holds/s: SQLite {holds['sqlite']:,.0f}, PostgreSQL "
        f"{holds['postgresql']:,.0f}: {_said(holds)}; {cpu['bar']} µs at {cpu['at']}: {cpu['found']}: {_said(cpu)}"
    )


def _said(bar: dict[str, Any]) -> str:
    return "met" if bar["met"] else "missed"


def _apart(database: str, kind: str, callers: int, calls: int) -> dict[str, float]:
    """In a process of its own, so that no run inherits the memory of another."""
    command = [sys.executable, "-m", "tests.benchmarks.ledger", database, kind, str(callers), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{database}, {kind}, {callers} callers failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def _place(database: str) -> Iterator[str]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory(prefix="tierwise-bench-") as folder:
            yield f"sqlite:///{folder}/ledger.db"
    else:
        with postgresql_schema() as url:
            yield f"{url}&application_name=tierwise-bench-{random.getrandbits(32):x}"


def measure(database: str, kind: str, callers: int, calls: int) -> dict[str, float]:
    import uvloop

    from workers.process import tune

    with _place(database) as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if kind == "paced":
            alone = runner.run(_run(None, callers, calls, kind, tune))
            return {"cpu_us": runner.run(_run(url, callers, calls, kind, tune))["cpu_us"] - alone["cpu_us"]}
        return {
            **runner.run(_run(url, callers, calls, kind, tune)),
            **floor_of(database, url, min(callers, GROUP), calls, settled=kind == "pairs", body=BODY),
        }


async def _run(url: str | None, callers: int, calls: int, kind: str, tune: Any) -> dict[str, float]:
    """`url` None: the same callers without a ledger."""
    ledger = SqlLedger(url) if url else None
    lease = await _open(ledger) if ledger else None
    turns = iter([(CallId(f"{number:032x}"), _hash(number)) for number in range(calls)])
    dice = random.Random(callers)
    tune()

    async def caller() -> None:
        for call_id, request_hash in turns:
            if ledger and lease:
                assert isinstance(await ledger.hold(_intent(lease, call_id, request_hash)), Held)
            if kind == "paced":
                await asyncio.sleep(dice.uniform(0.015, 0.025))
            if ledger and kind != "holds":
                await ledger.settle(_settlement(call_id))

    server = _server_cpu(url)
    cpu, began = _cpu(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds, used = time.perf_counter() - began, _cpu() - cpu
    found = {
        "per_s": calls / seconds,
        "cpu_us": used / calls * 1e6,
        "server_cpu_us": (_server_cpu(url) - server) / calls * 1e6,
    }
    if ledger:
        await ledger.close()
    return found


async def _open(ledger: SqlLedger) -> Lease:
    account, job = AccountId("bench"), JobId("bench")
    await ledger.open_account(account, Nano(10**15))
    await ledger.create_job(job, name="bench", account=account, batches=1, now=1)
    lease = await ledger.lease_batch(
        job, Generation(1), BatchIndex(0), owner="bench", pin=Pin(policy_version="1"), now=1, ttl_ms=10**12
    )
    assert isinstance(lease, Lease)
    return lease


def _hash(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _intent(lease: Lease, call_id: CallId, request_hash: bytes) -> Intent:
    return Intent(
        call_id=call_id, lease=lease, account=AccountId("bench"), query_id=QueryId(call_id[-8:]),
        tier=TierName("small"), model="small-2026", request_hash=request_hash, amount=Nano(1000), attempt=1,
    )  # fmt: skip


def _settlement(call_id: CallId) -> Settlement:
    return Settlement(
        call_id=call_id, outcome="ok", cost=Nano(500), body=BODY, usage=Usage(input=100, output=5),
        finish_reason="stop", latency_ms=20, sent_at=1_700_000_000_000,
    )  # fmt: skip


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _server_cpu(url: str | None) -> float:
    """Seconds of CPU of the server's processes that serve this ledger; 0 where it is not on this machine."""
    if url is None or not url.startswith("postgresql"):
        return 0.0
    import psycopg

    address, _, name = url.partition("?")
    with psycopg.connect(address) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
        pids = [row[0] for row in connection.execute(query, (name.rpartition("=")[2],))]
    stats = [Path(f"/proc/{pid}/stat") for pid in pids]
    fields = [stat.read_text().rpartition(") ")[2].split() for stat in stats if stat.exists()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / 100


def main() -> None:
    if len(sys.argv) == 5:
        database, kind, callers, calls = sys.argv[1:]
        print(json.dumps(measure(database, kind, int(callers), int(calls))))
        return
    print_ledger(ledger_figures("--quick" in sys.argv))


if __name__ == "__main__":
    main()
