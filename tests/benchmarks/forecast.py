"""Whether the cost of a job falls into the interval that earlier jobs of its task gave, on recorded outcomes.

`python -m tests.benchmarks.forecast [--quick]` replays 204 jobs and writes build/figures/forecast.json. Each draws a
random order of a recorded set: two jobs of 30 % of its rows each are run and closed, then the rest is forecast at
submit, run, and compared with what it came to. Tiers answer and cost as recorded.
"""

import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from pipeline.wiring.services import close_services, open_services
from pipeline.wiring.work import close_work, open_work
from pipeline.work import Services
from tests.benchmarks.figures import write
from tests.benchmarks.short import SETS, Ladder
from tests.data import FOLDER
from tests.jobs import Recorded, recorded
from workers.inline import work_inline

PAST = (0.3, 0.6)  # where the first job ends, and the second


def main() -> None:
    seeds = range(2 if "--quick" in sys.argv else 34)
    sets: dict[str, Any] = {}
    for outcomes, dataset, ladder in SETS:
        if not (FOLDER / outcomes).exists():
            print(f"{outcomes} is not here: set TIERWISE_DATA to the folder that holds it", file=sys.stderr)
            continue
        jobs = list(asyncio.run(_replayed(FOLDER / outcomes, dataset, ladder, seeds)))
        sets[dataset] = _summed(jobs)
        print(f"{dataset:32} {_said(sets[dataset])}", flush=True)
        sets[dataset]["jobs"] = jobs
    every = _summed([job for each in sets.values() for job in each["jobs"]])
    print(f"{'all':32} {_said(every)}")
    write("forecast", {"sets": sets, "all": every})


async def _replayed(outcomes: Path, dataset: str, ladder: Ladder, seeds: range) -> list[dict[str, int]]:
    jobs = []
    with tempfile.TemporaryDirectory(prefix="tierwise-forecast-") as folder:
        source = recorded(outcomes, dataset, Path(folder), ladder.models)
        for seed in seeds:
            settings = Settings(lake=str(Path(folder) / f"lake-{seed}"))
            services = await open_services(settings)
            try:
                jobs.append(await _replay(services, source, _spec(source, outcomes, dataset, ladder), seed))
            finally:
                await close_services(services)
    return jobs


async def _replay(services: Services, source: Recorded, spec: dict[str, Any], seed: int) -> dict[str, int]:
    for documents in _parts(source, seed):
        path = documents.with_suffix(".yaml")
        path.write_text(yaml.safe_dump({**spec, "input": {**spec["input"], "path": str(documents)}}))
        pinned = await create_job(services, await read_spec(path))
        work = await open_work(services, pinned.job)
        await work_inline(work)
        await close_work(work)
    account = await services.ledger.account(pinned.account)
    assert account is not None
    assert pinned.forecast is not None
    low, high = pinned.forecast
    return {"queries": pinned.queries, "low": low, "high": high, "spent": account.spent}


def _parts(source: Recorded, seed: int) -> Iterator[Path]:
    table = pq.read_table(source.documents)
    order = list(range(table.num_rows))
    random.Random(seed).shuffle(order)
    ends = [0, *(round(share * len(order)) for share in PAST), len(order)]
    for number, (start, end) in enumerate(pairwise(ends)):
        path = source.documents.with_name(f"part-{seed}-{number}.parquet")
        pq.write_table(table.take(order[start:end]), path)
        yield path


def _spec(source: Recorded, outcomes: Path, dataset: str, ladder: Ladder) -> dict[str, Any]:
    stated = zip(
        ("low", "middle", "top"), ladder.models, ladder.prices, ladder.accept, ladder.trust, strict=True
    )
    return {
        "name": "forecast",
        "task": {"kind": "classify", "instructions": "Classify the text.", "labels": source.labels},
        "input": {"id": "query_id", "gold": "gold"},
        "tiers": [
            {
                "name": name, "provider": "recorded", "outcomes": str(outcomes), "dataset": dataset,
                "model": model, "price": price, "accept": accept, "trust": trust,
            }
            for name, model, price, accept, trust in stated
        ],
        "budget": {"usd": "100"},
        "history": "none",
    }  # fmt: skip


def _summed(jobs: list[dict[str, int]]) -> dict[str, Any]:
    halves = [(job["high"] - job["low"]) / 2 / job["spent"] for job in jobs]
    return {
        "replayed": len(jobs),
        "held": sum(job["low"] <= job["spent"] <= job["high"] for job in jobs) / len(jobs),
        "median_half_width": statistics.median(halves),
        "queries": statistics.median(job["queries"] for job in jobs),
    }


def _said(row: dict[str, Any]) -> str:
    return (
        f"{row['replayed']:>4} jobs of {row['queries']:.0f} queries: held {row['held']:.0%}, "
        f"median half-width {row['median_half_width']:.0%} of the cost"
    )


if __name__ == "__main__":
    main()
