"""What a cap buys when many worker processes spend it at once, judged by the provider's meter.

python -m tests.faults.cap [--quick]
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.figures import write
from tests.faults.books import Outcome, judge
from tests.faults.scenario import PRICES, SCENARIOS, Scenario, write_specs
from tests.faults.stage import Database, Stage, stage, watch

PROCESSES: dict[Database, int] = {"PostgreSQL": 8, "SQLite": 4}
COLUMNS = {
    "scenario": "scenario",
    "ledger": "ledger",
    "workers": "workers",
    "queries": "queries",
    "cap_usd": "cap $",
    "kills": "kills",
    "paid": "paid on the meter",
    "answered": "answered",
    "deferred": "deferred",
    "presumed": "presumed",
    "metered_usd": "metered $",
    "recorded_usd": "recorded $",
    "seconds": "s",
}


def main() -> int:
    quick = "--quick" in sys.argv
    found = [each for database in PROCESSES for each in campaign(database, quick=quick)]
    print_table(found)
    write("cap", {"scenarios": [asdict(each) for each in found]})
    return int(any(each.broken for each in found))


def campaign(database: Database, *, quick: bool) -> Iterator[Outcome]:
    processes = PROCESSES[database]
    with (
        tempfile.TemporaryDirectory(prefix="tierwise-cap-") as folder,
        stage(database, processes, Path(folder), PRICES) as on,
    ):
        for scenario in SCENARIOS:
            outcome = play(on, scenario.short() if quick else scenario)
            print(f"{database}: {scenario.name}: {outcome.seconds} s", file=sys.stderr)
            yield outcome


def play(on: Stage, scenario: Scenario, seed: int = 7) -> Outcome:
    """Submit, kill at seeded random points of the spending, and judge once all its jobs are closed."""
    jobs = scenario.ids
    on.upstream.control(latency_ms=800 if scenario.kills else 100)
    specs = write_specs(on, scenario)
    rng = random.Random(seed)
    marks = sorted(rng.sample(range(1, scenario.calls * 4 // 5), scenario.kills))
    metered_of = {f"job/{job}": [job] for job in jobs} | {scenario.account: jobs}
    started = time.monotonic()
    with watch(on, metered_of) as watching:
        on.submit(specs)
        kills = on.kill(jobs, marks, rng)
        for job in jobs:
            on.place.wait_closed(job, timeout=250)
        seconds = round(time.monotonic() - started, 1)
    return judge(on, scenario, kills, seconds, watching.broken())


def print_table(found: Sequence[Outcome]) -> None:
    print("| " + " | ".join(COLUMNS.values()) + " |")
    print("|" + "|".join("---" if name in ("scenario", "ledger") else "--:" for name in COLUMNS) + "|")
    for each in found:
        cells = {name: getattr(each, name) for name in COLUMNS}
        shown = [f"{cell:.2f}" if name.endswith("usd") else str(cell) for name, cell in cells.items()]
        print("| " + " | ".join(shown) + " |")
    for each in found:
        for broken in each.broken[:5]:
            print(f"BROKEN: {each.ledger}, {each.scenario}: {broken}")


if __name__ == "__main__":
    sys.exit(main())
