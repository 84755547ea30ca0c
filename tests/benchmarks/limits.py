"""How much of an upstream's hard limit four workers use, and how many of their requests are refused with 429.

python -m tests.benchmarks.limits [--quick]

Four worker processes on RabbitMQ and PostgreSQL; the upstream refuses what is over its limit (a token bucket of one
second). `stated`: the spec says the limit. `unstated`: it does not, and the workers learn it from the 429s. The steady
window leaves out the first ten seconds and what comes after 95 % of the answers.
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import summed, write
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.faults.herd import Herd, brokered
from tests.jobs import write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

LIMITS = (50, 200)  # requests a second
WORKERS, LATENCY_MS, SECONDS, RAMP_S = 4, 50, 45, 10
JOB = "limits"
Sample = tuple[float, int, int]  # seconds, replies 200, replies 429


def main() -> None:
    quick = "--quick" in sys.argv
    figures: dict[str, Any] = {"workers": WORKERS, "latency_ms": LATENCY_MS, "burst_s": 1}
    for limit in LIMITS[: 1 if quick else None]:
        for kind in ("stated", "unstated"):
            runs = [run(limit, kind == "stated") for _ in range(1 if quick else 3)]
            figures[f"{kind}_{limit}"] = {
                name: summed([one[name] for one in runs], unit, 2) for name, unit in UNITS.items()
            }
            _print(limit, kind, figures[f"{kind}_{limit}"])
    write("limits", figures)


UNITS = {
    "answered_per_s": "requests answered 200 a second, steady",
    "share_of_limit": "%, steady",
    "share_of_429": "% of the requests, steady",
    "share_of_429_whole_job": "% of the requests",
}


def run(limit: int, stated: bool) -> dict[str, float]:
    queries = limit * SECONDS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        place = stack.enter_context(brokered(folder))
        upstream = stack.enter_context(start_upstream(_config(limit)))
        place.run(
            "submit", write_spec(place, spec(place, upstream.url, limit, queries, stated)), "--job", JOB
        )
        herd = Herd(place)
        stack.callback(herd.stop)
        herd.start(WORKERS)
        samples = _watch(upstream, queries)
        place.wait_closed(JOB)
    return _figures(samples, limit)


def _config(limit: int) -> Any:
    return config_from(
        {
            "fixed_reply": "a",
            "no_meter": True,
            "free": True,
            "latency_ms": LATENCY_MS,
            "rate_limit_rps": limit,
        }
    )


def spec(place: Tierwise, url: str, limit: int, queries: int, stated: bool) -> dict[str, Any]:
    documents = place.folder / "documents.parquet"
    write_documents(documents, [f"document {number}" for number in range(queries)])
    tier: dict[str, Any] = {
        "name": "t", "provider": "openai", "model": "m", "base_url": url, "api_key_env": None,
        "price": {"input": "1", "output": "1"}, "structured": "none",
    }  # fmt: skip
    if stated:
        tier["limits"] = {"requests_per_minute": 60 * limit}
    return {
        "version": 1,
        "name": JOB,
        "task": {"kind": "classify", "labels": ["a", "b"]},
        "input": {"path": str(documents), "id": "id", "batch": {"rows": max(50, limit)}},
        "tiers": [tier],
        "budget": {"usd": "20"},
    }


def _watch(upstream: Upstream, queries: int) -> list[Sample]:
    samples: list[Sample] = []
    until = time.monotonic() + 6 * SECONDS
    while not samples or samples[-1][1] < queries:
        stats = upstream.stats().by_status
        samples.append((time.monotonic(), stats.get("200", 0), stats.get("429", 0)))
        if time.monotonic() > until:
            raise SystemExit(f"{samples[-1][1]} of {queries} answered after {6 * SECONDS} s")
        time.sleep(0.2)
    return samples


def _figures(samples: list[Sample], limit: int) -> dict[str, float]:
    began = next(at for at, answered, _ in samples if answered)
    most = samples[-1][1]
    steady = [each for each in samples if each[0] >= began + RAMP_S and each[1] <= 0.95 * most]
    (start, answered_before, refused_before), (end, answered, refused) = steady[0], steady[-1]
    rate = (answered - answered_before) / (end - start)
    limited = refused - refused_before
    return {
        "answered_per_s": rate,
        "share_of_limit": 100 * rate / limit,
        "share_of_429": 100 * limited / (limited + answered - answered_before),
        "share_of_429_whole_job": 100 * samples[-1][2] / (samples[-1][2] + most),
    }


def _print(limit: int, kind: str, found: dict[str, Any]) -> None:
    def cell(name: str) -> str:
        low, high = found[name]["spread"]
        return f"{found[name]['median']:.1f} ({low:.1f}–{high:.1f})"

    print(
        f"limit {limit}/s, {kind}: {cell('answered_per_s')} answered a second, {cell('share_of_limit')} % of the "
        f"limit; {cell('share_of_429')} % of requests 429 (whole job: {cell('share_of_429_whole_job')} %)",
        flush=True,
    )


if __name__ == "__main__":
    main()
