"""The speed figures as a person reads them."""

from collections.abc import Sequence
from typing import Any

BARS = {
    "tierwise_to_aiohttp": "CPU per call, times bare aiohttp's",
    "litellm_to_tierwise": "LiteLLM's CPU per call, times ours",
    "tierwise_share_of_aiohttp_rate_at_1024_200ms": "calls/s, share of bare aiohttp's at 1,024 and 200 ms",
}


def show(
    figures: dict[str, Any], clients: Sequence[str], in_flight: Sequence[int], latencies: Sequence[int]
) -> None:
    for latency in latencies:
        tables = figures if latency == figures["latency_ms"] else figures[f"at_{latency}ms"]
        print(f"\nupstream latency {latency} ms: median of repeats (lowest–highest)")
        print(f"{'':16}" + "".join(f"{f'{count} in flight':>34}" for count in in_flight))
        for client in clients:
            shown = [_cell(tables, client, str(count)) for count in in_flight]
            print(f"{client:16}" + "".join(f"{cell:>34}" for cell in shown))
    print(f"–: {figures['left_out']}")
    parts = ", ".join(f"{name} {part['median']:.0f}" for name, part in figures["tierwise_parts"].items())
    print(
        f"\ntierwise at 64 in flight and 20 ms, µs of CPU per call by thread: {parts} (pool: taxonomy, parts)"
    )
    _bars(figures)
    postgresql = figures["postgresql"]
    print(
        f"on PostgreSQL: {postgresql['tierwise']} µs of ours and {postgresql['ledger_server']} µs of the server's "
        "a call"
    )


def _bars(figures: dict[str, Any]) -> None:
    ratios, two = figures["ratios"], figures["two_processes"]
    for name, what in BARS.items():
        verdict = "met" if ratios["met"][name] else "missed"
        print(f"{what}: {ratios[name]} (bar {ratios['bars'][name]}: {verdict})")
    if two["measured"]:
        print(
            f"two processes: {two['times']} times one (bar {two['bar']}: {'met' if two['met'] else 'missed'})"
        )
    else:
        print(f"two processes: {two['why']} (bar {two['bar']})")


def _cell(tables: dict[str, Any], client: str, in_flight: str) -> str:
    cpu = tables["cpu_us_per_call"][client].get(in_flight)
    if cpu is None:
        return "–"
    rate = tables["calls_per_s"][client][in_flight]
    low, high = cpu["spread"]
    return f"{cpu['median']:.0f} µs ({low:.0f}–{high:.0f}), {rate['median']:,.0f}/s"
