"""What a job will cost, from what earlier jobs of its task came to: a prediction interval for the whole bill."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import sqrt
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.ports.storage import Storage
from pipeline.storage.views import connect
from schemas.ids import JobId, Nano, TierName
from schemas.job import JobSpec
from schemas.money import FREE, TOKEN_CLASSES, Price

COVERAGE = 0.9
MOST_JOBS = 5  # the latest ones
LEAST_QUERIES = 50
_RATES = (*TOKEN_CLASSES, "request")


class Documents(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job's documents before any is asked about."""

    count: int
    bytes: int  # of all of them, UTF-8
    sample: Sequence[str]  # texts, to see how many were answered before


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`low` to `high` holds the bill in nine of ten jobs like the earlier ones."""

    low: Nano
    expected: Nano
    high: Nano
    jobs: int
    queries: int  # of those jobs

    def holds(self, spent: Nano) -> bool:
        return self.low <= spent <= self.high


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What queries of earlier jobs came to; arrays of one length."""

    job: NDArray[np.int64]  # 0, 1, …
    bytes: NDArray[np.float64]
    nano: NDArray[np.float64]


def forecast(
    storage: Storage,
    spec: JobSpec,
    prices: Mapping[TierName, Price],
    prompt_hash: str,
    documents: Documents,
) -> Forecast | None:
    """None: fewer than 50 queries of closed jobs with this task and ladder. Blocking. Raises LakeUnreachable."""
    with connect(storage) as connection:
        known = connection.execute(
            "SELECT job, spec FROM jobs WHERE prompt_hash = ? ORDER BY closed_at DESC", [prompt_hash]
        ).fetchall()
        ours = _ladder(_written(spec))
        jobs = [JobId(job) for job, written in known if _ladder(json.loads(written)) == ours]
        if not jobs:
            return None
        connection.register("paid", _paid(prices))
        sql = files("pipeline").joinpath("forecast.sql").read_text(encoding="utf-8")
        rows = connection.execute(sql, {"jobs": jobs[:MOST_JOBS]}).fetchnumpy()
        if len(rows["nano"]) < LEAST_QUERIES:
            return None
        new = documents.count
        if spec.history.reuse == "exact" and spec.promise is None and documents.sample:
            connection.register("asked", pa.table({"text": list(documents.sample)}))
            new = round(new * (1 - _answered_before(connection, jobs)))
    job = np.unique(rows["job"].astype(str), return_inverse=True)[1]
    spent = Spent(job=job, bytes=rows["bytes"].astype(np.float64), nano=rows["nano"])
    length = documents.bytes / max(documents.count, 1)
    drawn = min(spec.quality.drawn, new) if spec.quality else 0
    if not drawn:
        return predict(spent, new, length)
    audited = rows["audited"].astype(bool)
    if min(audited.sum(), (~audited).sum()) < LEAST_QUERIES:
        return None
    return _together(
        predict(_of(spent, audited), drawn, length), predict(_of(spent, ~audited), new - drawn, length)
    )


def _of(spent: Spent, rows: NDArray[np.bool_]) -> Spent:
    job = np.unique(spent.job[rows], return_inverse=True)[1]
    return Spent(job=job, bytes=spent.bytes[rows], nano=spent.nano[rows])


def _together(one: Forecast, other: Forecast) -> Forecast:
    """The bill of two kinds of queries, whose errors have nothing to do with each other."""
    expected = one.expected + other.expected
    half = sqrt((one.high - one.expected) ** 2 + (other.high - other.expected) ** 2)
    return Forecast(
        low=Nano(round(max(expected - half, 0))),
        expected=Nano(expected),
        high=Nano(round(expected + half)),
        jobs=max(one.jobs, other.jobs),
        queries=one.queries + other.queries,
    )


def predict(spent: Spent, count: int, mean_bytes: float) -> Forecast:
    """The total of `count` new queries: a line through cost and length, the scatter around it, the doubt about the
    line, and what jobs differ by beyond chance (the method of moments; with one job only, nothing is known of it)."""
    known = len(spent.nano)
    centre = float(spent.bytes.mean())
    spread = float(((spent.bytes - centre) ** 2).sum())
    slope = float(((spent.bytes - centre) * spent.nano).sum()) / spread if spread else 0.0
    residual = spent.nano - spent.nano.mean() - slope * (spent.bytes - centre)
    scatter = float((residual**2).sum()) / max(known - 2, 1)
    line = scatter / known + (scatter * (mean_bytes - centre) ** 2 / spread if spread else 0.0)
    jobs = int(spent.job.max()) + 1
    variance = count * scatter + count**2 * (line + _between(spent.job, residual, scatter) * (1 + 1 / jobs))
    expected = count * max(float(spent.nano.mean()) + slope * (mean_bytes - centre), 0.0)
    half = NormalDist().inv_cdf((1 + COVERAGE) / 2) * sqrt(variance)
    return Forecast(
        low=Nano(round(max(expected - half, 0))),
        expected=Nano(round(expected)),
        high=Nano(round(expected + half)),
        jobs=jobs,
        queries=known,
    )


def _between(job: NDArray[np.int64], residual: NDArray[np.float64], scatter: float) -> float:
    """Variance of the jobs' means beyond that of their queries (DerSimonian and Laird, 1986, unweighted)."""
    sizes = np.bincount(job)
    if len(sizes) < 2:
        return 0.0
    means = np.bincount(job, residual) / sizes
    excess = float((sizes * means**2).sum()) - (len(sizes) - 1) * scatter
    return max(0.0, excess / float(sizes.sum() - (sizes**2).sum() / sizes.sum()))


def _answered_before(connection: Any, jobs: Sequence[JobId]) -> float:
    """Share of the sampled texts that closed jobs of the task answered: their replies cost nothing again."""
    row = connection.execute(
        "SELECT avg((text IN (SELECT text FROM documents WHERE list_contains($jobs, job)))::INT) FROM asked",
        {"jobs": list(jobs)},
    ).fetchone()
    return float(row[0])


def _written(spec: JobSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


def _ladder(written: Mapping[str, Any]) -> Any:
    """What decides which tiers a query is asked at. Prices are not in it: tokens are priced anew."""
    tiers = [
        {name: tier.get(name) for name in ("name", "provider", "model", "accept", "trust")}
        for tier in written["tiers"]
    ]
    return tiers, written["policy"], written.get("quality"), written.get("judges")


def _paid(prices: Mapping[TierName, Price]) -> pa.Table:
    """Nano-dollars a token (and a request) of each tier that has a price."""
    priced = {tier: price for tier, price in prices.items() if price != FREE}
    columns: dict[str, pa.Array] = {"tier": pa.array(list(priced), pa.string())}
    for name in _RATES:
        rates = [getattr(price, name) / price.denominator for price in priced.values()]
        columns[name] = pa.array(rates, pa.float64())
    return pa.table(columns)
