"""CPU per call and calls per second, beside bare aiohttp, LiteLLM, its Router and the openai SDK, on the same upstream
in the same run.

python -m tests.benchmarks.speed [--quick]
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import summed, write
from tests.benchmarks.ledger import ledger_figures, print_ledger
from tests.benchmarks.table import show
from tests.services import postgresql_schema
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

IN_FLIGHT = (64, 256, 1024)
LATENCIES_MS = (20, 200)
CLIENTS = ("aiohttp", "tierwise", "litellm", "litellm_router", "openai")
SLOW = {"litellm": 600, "litellm_router": 600, "openai": 300}  # calls of some milliseconds each
LEFT_OUT = (
    "SDKs of milliseconds a call are asked at 64 in flight only: more takes minutes and tells nothing new"
)
BARRED = {(20, 64), (200, 1024)}  # latency and calls in flight of the cells that a bar speaks of
CORES = 4  # for two worker processes beside the upstream
PARTS = ("loop", "ledger", "pool")
UNITS = {"cpu_us_per_call": "µs of CPU per call", "calls_per_s": "calls/s"}

Cells = dict[tuple[int, int, str], list[dict[str, float]]]


def main() -> None:
    quick = "--quick" in sys.argv
    cells: Cells = defaultdict(list)
    processes: dict[int, list[float]] = defaultdict(list)
    for latency in LATENCIES_MS:
        with start_upstream(_config(latency)) as upstream:
            for repeat in range(1 if quick else 5):
                _round(cells, upstream, latency, repeat, quick)
                print(f"latency {latency} ms, round {repeat + 1} done", file=sys.stderr)
            if latency == 20 and _cores() >= CORES:
                _scale_out(processes, upstream, quick)
    figures = _figures(cells)
    figures["two_processes"] = _two(processes)
    figures["postgresql"] = _postgresql(quick)
    figures["ledger"] = ledger_figures(quick)
    show(figures, CLIENTS, IN_FLIGHT, LATENCIES_MS)
    print_ledger(figures["ledger"])
    write("speed", figures)


def _round(cells: Cells, upstream: Upstream, latency: int, repeat: int, quick: bool) -> None:
    """Every client once, one after the other; what no bar speaks of takes part in the first three rounds."""
    for in_flight in IN_FLIGHT:
        barred = (latency, in_flight) in BARRED
        for client in CLIENTS:
            if (client in SLOW and in_flight > IN_FLIGHT[0]) or (repeat >= 3 and not barred):
                continue
            calls = _calls(client, in_flight, latency, barred, quick)
            cells[latency, in_flight, client].append(_measure(client, upstream, in_flight, calls))


def _config(latency: int) -> Any:
    return config_from(
        {"fixed_reply": '{"label":"billing"}', "no_meter": True, "free": True, "latency_ms": latency}
    )


def _calls(client: str, in_flight: int, latency: int, barred: bool, quick: bool) -> int:
    """Some seconds of work each: more for Tierwise, whose job has a beginning and an end."""
    if client in SLOW:
        return SLOW[client] // (2 if quick else 1)
    seconds = (8 if client == "tierwise" else 4) if barred and not quick else 3
    return max(2 * in_flight, int(min(2500, in_flight / latency * 1000) * seconds))


def _measure(
    client: str, upstream: Upstream, in_flight: int, calls: int, ledger: str = ""
) -> dict[str, float]:
    arguments = [client, upstream.url, str(in_flight), str(calls), ledger]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.clients", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{client} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _figures(cells: Cells) -> dict[str, Any]:
    """`cpu_us_per_call` and `calls_per_s` as {client: {in_flight: value}} at 20 ms; at 200 ms under `at_200ms`."""
    first, *others = LATENCIES_MS
    figures: dict[str, Any] = {"latency_ms": first, **_tables(cells, first)}
    for latency in others:
        figures[f"at_{latency}ms"] = _tables(cells, latency)
    figures["left_out"] = LEFT_OUT
    ours = cells[20, 64, "tierwise"]
    figures["tierwise_parts"] = {
        part: summed([one[f"{part}_us_per_call"] for one in ours], UNITS["cpu_us_per_call"]) for part in PARTS
    }
    figures["ratios"] = _ratios(figures)
    return figures


def _tables(cells: Cells, latency: int) -> dict[str, Any]:
    return {
        figure: {
            client: {
                str(in_flight): summed([one[figure] for one in found], unit)
                for in_flight in IN_FLIGHT
                if (found := cells.get((latency, in_flight, client)))
            }
            for client in CLIENTS
        }
        for figure, unit in UNITS.items()
    }


def _ratios(figures: dict[str, Any]) -> dict[str, Any]:
    cpu = {client: figures["cpu_us_per_call"][client]["64"]["median"] for client in CLIENTS}
    rate = {client: figures["at_200ms"]["calls_per_s"][client] for client in ("aiohttp", "tierwise")}
    share = rate["tierwise"]["1024"]["median"] / rate["aiohttp"]["1024"]["median"]
    found = {
        "tierwise_to_aiohttp": round(cpu["tierwise"] / cpu["aiohttp"], 2),
        "litellm_to_tierwise": round(cpu["litellm"] / cpu["tierwise"], 2),
        "tierwise_share_of_aiohttp_rate_at_1024_200ms": round(share, 3),
    }
    met = {
        "tierwise_to_aiohttp": found["tierwise_to_aiohttp"] <= 1.75,
        "litellm_to_tierwise": found["litellm_to_tierwise"] >= 7,
        "tierwise_share_of_aiohttp_rate_at_1024_200ms": share >= 0.55,
    }
    bars = {
        "tierwise_to_aiohttp": "<= 1.75",
        "litellm_to_tierwise": ">= 7",
        "tierwise_share_of_aiohttp_rate_at_1024_200ms": ">= 0.55",
    }
    return {**found, "at": "64 in flight, 20 ms", "bars": bars, "met": met}


def _scale_out(processes: dict[int, list[float]], upstream: Upstream, quick: bool) -> None:
    for _ in range(1 if quick else 5):
        for count in (1, 2):
            found = _measure(f"tierwise-{count}", upstream, 256, 10_000 if quick else 30_000)
            processes[count].append(found["calls_per_s"])


def _two(processes: dict[int, list[float]]) -> dict[str, Any]:
    if not processes:
        return {"measured": False, "why": f"not measurable: {_cores()} cores", "bar": ">= 1.8"}
    one, two = (summed(processes[count], UNITS["calls_per_s"]) for count in (1, 2))
    times = round(two["median"] / one["median"], 2)
    return {
        "measured": True, "calls_per_s": {"1": one, "2": two}, "times": times, "bar": ">= 1.8",
        "met": times >= 1.8,
    }  # fmt: skip


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _postgresql(quick: bool) -> dict[str, Any]:
    """The same job on a PostgreSQL ledger, the server's CPU beside ours."""
    calls = 2000 if quick else 8000
    with start_upstream(_config(20)) as upstream, postgresql_schema() as ledger:
        before = _server_cpu()
        ours = _measure("tierwise", upstream, 64, calls, ledger)
        server = (_server_cpu() - before) / calls * 1e6
    return {
        "in_flight": 64, "latency_ms": 20, "unit": "µs of CPU per call",
        "tierwise": round(ours["cpu_us_per_call"], 1), "ledger_server": round(server, 1),
    }  # fmt: skip


def _server_cpu() -> float:
    """Seconds of CPU of every PostgreSQL process of this machine, those that ended included with their parent."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = stat.read_text().partition(") ")
        except OSError:
            continue
        if "postgres" in head:
            fields = rest.split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / 100


if __name__ == "__main__":
    main()
