"""One measured client per process: `python -m tests.benchmarks.clients NAME URL IN_FLIGHT CALLS LEDGER` prints its
figures.

Tierwise does the whole of a job: taxonomy, plan, hold, journal, send, settle, parse, judge, parts, commit and close.
As `tierwise-1` and `tierwise-2` it does so in that many worker processes. The peers only send and read.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections import Counter

from tests.benchmarks.peers import PEERS, Measured


async def prepare(
    name: str, url: str, in_flight: int, calls: int, ledger: str, folder: str, parts: Counter[str]
) -> Measured:
    """`parts`: where the client's CPU goes, in seconds, if it says so."""
    if not name.startswith("tierwise"):
        return await PEERS[name](url, in_flight, calls)
    from pipeline.settings import Settings  # late: a peer's process holds nothing of ours
    from tests.benchmarks.ours import tierwise, tierwise_processes

    settings = Settings(lake=f"{folder}/lake", ledger=ledger or f"sqlite:///{folder}/ledger.db")
    if name == "tierwise":
        return await tierwise(url, in_flight, calls, settings, parts)
    return await tierwise_processes(int(name.partition("-")[2]), url, in_flight, calls, settings)


async def measure(name: str, url: str, in_flight: int, calls: int, ledger: str) -> dict[str, float]:
    parts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="tierwise-bench-") as folder:
        run = await prepare(name, url, in_flight, calls, ledger, folder, parts)
        before, began = cpu(), time.perf_counter()
        done = await run()
        seconds, used = time.perf_counter() - began, cpu() - before
    assert done == calls, f"{name}: {done} of {calls} answered"
    return {
        "cpu_us_per_call": used / calls * 1e6,
        "calls_per_s": calls / seconds,
        **{f"{part}_us_per_call": spent / calls * 1e6 for part, spent in parts.items()},
    }


def cpu() -> float:
    """User + system of this process, all threads, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    import uvloop

    name, url, in_flight, calls, ledger = sys.argv[1:6]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(name, url, int(in_flight), int(calls), ledger))))


if __name__ == "__main__":
    main()
