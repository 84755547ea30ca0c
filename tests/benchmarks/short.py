"""Accuracy when money is short: best gain against first come, on recorded outcomes, real jobs over HTTP.

python -m tests.benchmarks.short [--quick]

Each job is first run with an ample cap, which tells what it needs; then under shares of that, in several orders of its
file. Accuracy is over all rows: a deferred row keeps its best answer so far, a row without any counts as wrong.
"""

import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from pipeline.settings import Settings
from pipeline.submit.job import create_job
from pipeline.submit.spec import read_spec
from pipeline.wiring.services import close_services, open_services
from pipeline.wiring.work import open_work
from schemas.ids import AccountId, JobId
from tests.benchmarks.figures import write
from tests.data import FOLDER
from tests.jobs import LADDER, PRICES, Recorded, ladder_spec, recorded
from tests.upstream.client import start_upstream
from tests.upstream.config import config_from
from workers.inline import work_inline

SHARES = (0.25, 0.5, 0.75)
BATCH, IN_FLIGHT = 50, 8  # rows, calls of a tier: few beside the rows of a job, as in one of many thousands
RULES = ("first_come", "best_gain")
JOB = JobId("short")
TEXTCLASS, CASCADES = "outcomes_textclass_en.parquet", "outcomes_cascades9_train.parquet"


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Three tiers, cheapest first: models, USD per million tokens, and what a person would state of them."""

    models: tuple[str, ...]
    prices: tuple[dict[str, str], ...]
    accept: tuple[float, ...]
    trust: tuple[float, ...]

    def tiers(self, like: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        stated = zip(like, self.models, self.prices, self.accept, self.trust, strict=True)
        return [
            {
                **tier,
                "max_concurrency": IN_FLIGHT,
                "model": model,
                "price": price,
                "accept": accept,
                "trust": trust,
            }
            for tier, model, price, accept, trust in stated
        ]


# No confidence was recorded: agreement with the tier before decides.
LABELS = Ladder(
    models=tuple(LADDER.values()),
    prices=tuple(PRICES[model] for model in LADDER.values()),
    accept=(0.9, 0.8, 0.0),
    trust=(0.6, 0.65, 0.7),
)
# Confidence was recorded; the prices are those of the recorded costs.
CHOICES = Ladder(
    models=("llama3.2-3b", "llama3.1-70b", "llama3.1-405b"),
    prices=tuple({"input": usd, "output": usd} for usd in ("0.1", "0.9", "3")),
    accept=(0.9, 0.9, 0.0),
    trust=(0.6, 0.7, 0.8),
)
SETS = (
    (TEXTCLASS, "textclass/policy_en", LABELS),
    (TEXTCLASS, "textclass/sust_finance_en", LABELS),
    (TEXTCLASS, "textclass/technology_en", LABELS),
    (TEXTCLASS, "textclass/env_claims_en", LABELS),
    (CASCADES, "cascades/mmlu", CHOICES),
    (CASCADES, "cascades/medmcqa", CHOICES),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    accuracy: float  # over all rows
    answered: float  # share of rows with any answer
    deferred: int
    spent: int  # nano-dollars
    answers: dict[str, Any]


def main() -> None:
    quick = "--quick" in sys.argv
    seeds = range(2 if quick else 5)
    sets: dict[str, Any] = {}
    for outcomes, dataset, ladder in SETS[:1] if quick else SETS:
        if not (FOLDER / outcomes).exists():
            print(f"{outcomes} is not here: set TIERWISE_DATA to the folder that holds it", file=sys.stderr)
            continue
        sets[dataset] = _measure(FOLDER / outcomes, dataset, ladder, seeds)
        _print(dataset, sets[dataset])
    write("short", {"seeds": len(seeds), "shares": list(SHARES), "sets": sets})


def _measure(outcomes: Path, dataset: str, ladder: Ladder, seeds: Sequence[int]) -> dict[str, Any]:
    config = config_from(
        {
            "outcomes": str(outcomes), "dataset": [dataset], "models": list(ladder.models),
            "prices": dict(zip(ladder.models, ladder.prices, strict=True)), "no_meter": True,
        }
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tierwise-short-") as folder, start_upstream(config) as upstream:
        source = recorded(outcomes, dataset, Path(folder), ladder.models)
        ample = {rule: _run(source, upstream.url, ladder, rule, 20 * 10**9, 0) for rule in RULES}
        need = ample["first_come"].spent
        rows: dict[str, Any] = {}
        for share in SHARES:
            runs = {
                rule: [_run(source, upstream.url, ladder, rule, int(need * share), seed) for seed in seeds]
                for rule in RULES
            }
            rows[f"{share:.0%}"] = _compared(runs)
    same = ample["first_come"].answers == ample["best_gain"].answers
    return {
        "queries": source.rows,
        "needed_usd": need / 1e9,
        "ample": {
            "accuracy": round(ample["best_gain"].accuracy, 4),
            "same_answers": same,
            "same_cost": ample["first_come"].spent == ample["best_gain"].spent,
        },
        "at": rows,
    }


def _compared(runs: dict[str, list[Run]]) -> dict[str, Any]:
    first, best = runs["first_come"], runs["best_gain"]
    gained = [b.accuracy - a.accuracy for a, b in zip(first, best, strict=True)]
    return {
        **{rule: _summed(runs[rule]) for rule in RULES},
        "gained": {
            "mean": round(statistics.mean(gained), 4),
            "spread": [round(min(gained), 4), round(max(gained), 4)],
            "stdev": round(statistics.stdev(gained), 4) if len(gained) > 1 else 0.0,
        },
    }


def _summed(runs: Sequence[Run]) -> dict[str, float]:
    return {
        "accuracy": round(statistics.mean(run.accuracy for run in runs), 4),
        "any_answer": round(statistics.mean(run.answered for run in runs), 4),
        "deferred": round(statistics.mean(run.deferred for run in runs), 1),
        "spent_usd": round(statistics.mean(run.spent for run in runs) / 1e9, 6),
    }


def _run(source: Recorded, url: str, ladder: Ladder, rule: str, cap: int, seed: int) -> Run:
    import uvloop

    with tempfile.TemporaryDirectory(prefix="tierwise-short-") as name:
        folder = Path(name)
        shuffled = _shuffled(source, seed, folder)
        budget = {"usd": str(Decimal(cap).scaleb(-9)), "when_short": rule}
        spec = ladder_spec(shuffled, url, name="short", budget=budget)
        spec["tiers"] = ladder.tiers(spec["tiers"])
        spec["input"]["batch"] = {"rows": BATCH}
        path = folder / "job.yaml"
        path.write_text(yaml.safe_dump(spec))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            spent = runner.run(_work(path, folder))
        return _read(folder, spent, source)


def _shuffled(source: Recorded, seed: int, folder: Path) -> Recorded:
    table = pq.read_table(source.documents)
    order = list(range(table.num_rows))
    random.Random(seed).shuffle(order)
    path = folder / "documents.parquet"
    pq.write_table(table.take(order), path)
    return replace(source, documents=path)


async def _work(path: Path, folder: Path) -> int:
    """Nano-dollars that the job came to."""
    services = await open_services(
        Settings(lake=str(folder / "lake"), ledger=f"sqlite:///{folder / 'ledger.db'}")
    )
    try:
        await create_job(services, await read_spec(path), JOB)
        row = await work_inline(await open_work(services, JOB), in_flight=2)
        account = await services.ledger.account(AccountId(row.account))
    finally:
        await close_services(services)
    assert account is not None
    assert account.spent <= account.cap
    return int(account.spent)


def _read(folder: Path, spent: int, source: Recorded) -> Run:
    gold = pq.read_table(source.documents).to_pydict()
    right = dict(zip(gold["query_id"], gold["gold"], strict=True))
    found = pq.read_table(folder / "lake" / "results" / f"job={JOB}" / "data.parquet", partitioning=None)
    results = found.select(["query_id", "answer", "status"]).to_pylist()
    assert len(results) == len(right)
    answers = {row["query_id"]: row["answer"] for row in results}
    return Run(
        accuracy=sum(right[query] == answer for query, answer in answers.items()) / len(right),
        answered=sum(answer is not None for answer in answers.values()) / len(right),
        deferred=sum(row["status"] == "deferred" for row in results),
        spent=spent,
        answers=answers,
    )


def _print(dataset: str, found: dict[str, Any]) -> None:
    ample = found["ample"]
    print(
        f"\n{dataset}: {found['queries']} queries need ${found['needed_usd']:.6f}, accuracy {ample['accuracy']:.4f}; "
        f"with an ample cap the rules give the same answers: {ample['same_answers']}, cost: {ample['same_cost']}"
    )
    print(
        f"{'money':>6}  {'rule':10}  {'accuracy':>8}  {'any answer':>10}  {'deferred':>8}  {'spent':>10}  gained"
    )
    for share, row in found["at"].items():
        for rule in RULES:
            one, gained = row[rule], row["gained"]
            low, high = gained["spread"]
            more = "" if rule == "first_come" else f"{gained['mean']:+.4f} ({low:+.4f} to {high:+.4f})"
            print(
                f"{share:>6}  {rule:10}  {one['accuracy']:8.4f}  {one['any_answer']:10.4f}  {one['deferred']:8.1f}  "
                f"${one['spent_usd']:.6f}  {more}"
            )


if __name__ == "__main__":
    main()
