"""How each step of a job grows from ten thousand queries to a million: seconds, CPU and peak memory, each step in
a process of its own; then what an analyst's query costs on the lake beside one ideally written file.

python -m tests.benchmarks.scale [--rows 10000,100000,1000000]

The upstream is in this process and answers at once, but it bills: every call is held, journalled and settled in
the SQLite ledger. This module imports nothing heavy: a child's peak memory begins with its parent's.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import summed, write

JOB = "scale"
ROWS = (10_000, 100_000, 1_000_000)
RATIO_BAR = 1.5
SQL = "SELECT status, tier, count(*) AS queries FROM {results} GROUP BY ALL"
Measured = dict[str, Any]  # seconds, cpu_s, peak_mb


def main() -> None:
    sizes = _sizes(sys.argv)
    figures: dict[str, Any] = {"sizes": {}, "bars": {"aggregate_to_ideal": f"<= {RATIO_BAR}"}}
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="tierwise-scale-") as folder:
            figures["sizes"][str(rows)] = _measure(Path(folder), rows)
    figures["growth"] = _growth(figures["sizes"], sizes)
    _print(figures, sizes)
    write("scale", figures)


def _sizes(arguments: Sequence[str]) -> list[int]:
    if "--rows" not in arguments:
        return list(ROWS)
    return [int(each) for each in arguments[arguments.index("--rows") + 1].split(",")]


def _measure(folder: Path, rows: int) -> dict[str, Any]:
    def step(name: str) -> Measured:
        print(f"{rows:,} rows: {name}", file=sys.stderr)
        return _step(name, folder, rows)

    def command(*arguments: str) -> Measured:
        print(f"{rows:,} rows: tierwise {arguments[0]}", file=sys.stderr)
        return _command(folder / "lake", *arguments)

    step("input")
    steps = {f"submit {kind}": step(f"submit-{kind}") for kind in ("parquet", "csv", "jsonl")}
    steps["work"] = step("work")
    steps["status, before the closing"] = command("status", JOB)
    steps["query, on live parts"] = command("query", SQL.format(results="results_live"))
    _copy(folder / "lake", folder / "lake-late")
    step("unsettle")
    steps["close, a call settled late"] = step("close-lake-late")
    shutil.rmtree(folder / "lake-late")
    steps["close"] = step("close")
    steps["status"] = command("status", JOB)
    steps["report, HTML"] = command("report", JOB, "-o", str(folder / "report.html"))
    steps["why"] = command("why", JOB, f"q{rows // 2}")
    steps["query"] = command("query", SQL.format(results="results"))
    asked = step("aggregates")
    return {
        "steps": {name: _rounded(found) for name, found in steps.items()},
        "calls": steps["work"]["calls"],
        "worker_rss_mb_by_rows": steps["work"]["rss_mb_by_rows"],
        "aggregates": {name: _compared(times) for name, times in asked["ms"].items()},
        "bytes": {**_lake_bytes(folder / "lake"), "ideal results": asked["ideal_bytes"]},
    }


def _step(name: str, folder: Path, rows: int) -> Measured:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale_steps", name, str(folder), str(rows)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: Measured = json.loads(done.stdout.splitlines()[-1])
    return found


def _command(lake: Path, *arguments: str) -> Measured:
    """The command as a person starts it, with the second or so that Python's imports take."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *arguments],
        env={**os.environ, "TIERWISE_LAKE": str(lake), "TIERWISE_LEDGER": ""},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"tierwise {' '.join(arguments)} ended with exit code {process.returncode}")
    return {
        "seconds": time.perf_counter() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
    }


def _copy(lake: Path, target: Path) -> None:
    """Objects of a lake are replaced, never changed, so names for the same bytes will do; not so the ledger."""
    shutil.copytree(lake, target, copy_function=os.link, ignore=shutil.ignore_patterns("_ledger"))
    shutil.copytree(lake / "_ledger", target / "_ledger")


def _rounded(found: Measured) -> Measured:
    return {name: round(found[name], 2) for name in ("seconds", "cpu_s", "peak_mb")}


def _compared(times: dict[str, list[float]]) -> dict[str, Any]:
    lake, ideal = (summed(times[place], "ms", 2) for place in ("lake", "ideal"))
    return {"lake": lake, "ideal": ideal, "ratio": round(lake["median"] / ideal["median"], 2)}


def _lake_bytes(lake: Path) -> dict[str, int]:
    sizes = {table.parent.name: 0 for table in lake.glob(f"*/job={JOB}")}
    for table in sizes:
        sizes[table] = sum(file.stat().st_size for file in (lake / table).rglob("*.parquet"))
    sizes["ledger"] = (lake / "_ledger" / "ledger.db").stat().st_size
    return sizes


def _growth(sizes: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Per step, by how much it grows from one size to the next."""
    return {
        name: {
            f"{less} to {more}": {
                figure: round(
                    sizes[str(more)]["steps"][name][figure] / sizes[str(less)]["steps"][name][figure], 2
                )
                for figure in ("seconds", "cpu_s", "peak_mb")
            }
            for less, more in pairwise(rows)
        }
        for name in sizes[str(rows[0])]["steps"]
    }


def _print(figures: dict[str, Any], rows: Sequence[int]) -> None:
    sizes = figures["sizes"]
    for figure, unit in (("seconds", "seconds"), ("cpu_s", "seconds of CPU"), ("peak_mb", "peak MB")):
        print(f"\n{unit} (growth from one size to the next)")
        print(f"{'':30}" + "".join(f"{f'{size:,}':>20}" for size in rows))
        for name, growth in figures["growth"].items():
            factors = ["", *(f" ({each[figure]:.1f}×)" for each in growth.values())]
            cells = [
                f"{sizes[str(size)]['steps'][name][figure]:,.1f}{factor}"
                for size, factor in zip(rows, factors, strict=True)
            ]
            print(f"{name:30}" + "".join(f"{cell:>20}" for cell in cells))
    print(f"\nDuckDB on the lake's view: median ms (÷ the same on one ideally written file; bar {RATIO_BAR})")
    for name in sizes[str(rows[0])]["aggregates"]:
        asked = [sizes[str(size)]["aggregates"][name] for size in rows]
        cells = [f"{each['lake']['median']:.1f} ({each['ratio']:.2f}×)" for each in asked]
        print(f"{name:30}" + "".join(f"{cell:>20}" for cell in cells))
    print("\nMB on disk")
    for name in sizes[str(rows[0])]["bytes"]:
        cells = [f"{sizes[str(size)]['bytes'][name] / 2**20:,.2f}" for size in rows]
        print(f"{name:30}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
