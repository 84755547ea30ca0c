"""CPU per call and calls per second, beside bare aiohttp and LiteLLM on the same upstream in the same run.

python -m tests.benchmarks.speed [--quick]
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import summed, write
from tests.services import postgresql_schema
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

IN_FLIGHT = (64, 256, 1024)
LATENCIES_MS = (20, 200)
CLIENTS = ("aiohttp", "tierwise", "litellm")
CPU_BAR, LITELLM_BAR = 3.0, 5.0

Cells = dict[tuple[int, int, str], list[dict[str, float]]]


def main() -> None:
    quick = "--quick" in sys.argv
    repeats = 1 if quick else 3
    cells: Cells = defaultdict(list)
    for latency in LATENCIES_MS:
        with start_upstream(_config(latency)) as upstream:
            for repeat in range(repeats):
                for in_flight in IN_FLIGHT:
                    for client in CLIENTS:
                        calls = _calls(client, in_flight, latency, quick)
                        cells[latency, in_flight, client].append(_measure(client, upstream, in_flight, calls))
                print(f"latency {latency} ms, round {repeat + 1} of {repeats} done", file=sys.stderr)
    figures = _figures(cells)
    figures["postgresql"] = _postgresql(quick)
    _print(figures)
    write("speed", figures)


def _config(latency: int) -> Any:
    return config_from(
        {"fixed_reply": '{"label":"billing"}', "no_meter": True, "free": True, "latency_ms": latency}
    )


def _calls(client: str, in_flight: int, latency: int, quick: bool) -> int:
    """Some seconds of work each: more for Tierwise, whose job has a beginning and an end; LiteLLM needs about ten
    times as long for a call."""
    seconds = (4 if client == "tierwise" else 2) if quick else (12 if client == "tierwise" else 6)
    most = 150 if client == "litellm" else 2500
    return max(2 * in_flight, int(min(most, in_flight / latency * 1000) * seconds))


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
    bar = {name: figures["cpu_us_per_call"][name]["64"]["median"] for name in CLIENTS}
    figures["ratios"] = {
        "tierwise_to_aiohttp": round(bar["tierwise"] / bar["aiohttp"], 2),
        "litellm_to_tierwise": round(bar["litellm"] / bar["tierwise"], 2),
        "at": f"64 in flight, {first} ms",
        "bars": {"tierwise_to_aiohttp": f"<= {CPU_BAR}", "litellm_to_tierwise": f">= {LITELLM_BAR}"},
    }
    return figures


def _tables(cells: Cells, latency: int) -> dict[str, Any]:
    units = {"cpu_us_per_call": "µs of CPU per call", "calls_per_s": "calls/s"}
    return {
        figure: {
            client: {
                str(in_flight): summed([one[figure] for one in cells[latency, in_flight, client]], unit)
                for in_flight in IN_FLIGHT
            }
            for client in CLIENTS
        }
        for figure, unit in units.items()
    }


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


def _print(figures: dict[str, Any]) -> None:
    for latency in LATENCIES_MS:
        print(f"\nupstream latency {latency} ms: median of repeats (lowest–highest)")
        print(f"{'':12}" + "".join(f"{f'{n} in flight':>34}" for n in IN_FLIGHT))
        for client in CLIENTS:
            shown = [_cell(figures, latency, client, str(in_flight)) for in_flight in IN_FLIGHT]
            print(f"{client:12}" + "".join(f"{cell:>34}" for cell in shown))
    ratios = figures["ratios"]
    bars = ratios["bars"]
    print(
        f"\nCPU per call at {ratios['at']}: {ratios['tierwise_to_aiohttp']}× bare aiohttp "
        f"(bar {bars['tierwise_to_aiohttp']}), {ratios['litellm_to_tierwise']}× less than LiteLLM "
        f"(bar {bars['litellm_to_tierwise']})"
    )
    pg = figures["postgresql"]
    print(f"on PostgreSQL: {pg['tierwise']} µs of ours and {pg['ledger_server']} µs of the server's a call")


def _cell(figures: dict[str, Any], latency: int, client: str, in_flight: str) -> str:
    tables = figures if latency == figures["latency_ms"] else figures[f"at_{latency}ms"]
    cpu = tables["cpu_us_per_call"][client][in_flight]
    rate = tables["calls_per_s"][client][in_flight]
    low, high = cpu["spread"]
    return f"{cpu['median']:.0f} µs ({low:.0f}–{high:.0f}), {rate['median']:,.0f}/s"


if __name__ == "__main__":
    main()
