"""A closed job in one record: statuses, tiers, cost, accuracy against gold, confusion, escalations."""

from decimal import Decimal
from typing import Any

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.report.sql import Row, first, rows
from schemas.errors import JobNotClosed
from schemas.ids import JobId
from schemas.job import Allowance

OVER_ALLOWANCE = 3
OVER_HOLD = 4
NOT_CERTIFIED = 7


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    job: JobId
    generation: int
    queries: int
    statuses: dict[str, int]
    tiers: list[Row]
    categories: list[Row]
    routes: list[Row]
    cost_usd: Decimal
    presumed_usd: Decimal  # the part of the cost that stands for calls whose outcome is unknown
    cap_usd: Decimal
    forecast_usd: tuple[Decimal, Decimal] | None  # what the bill was to be, nine times in ten
    graded: int  # answers whose right answer is known
    correct: int
    classes: list[Row]
    confusion: list[Row]
    escalations: list[Row]
    dearest: list[Row]
    certificate: Row | None  # None: none was asked for
    reviewed: list[Row]  # who labelled the queries that ended for review; (nobody yet): those that wait
    stop: str | None
    seconds: float  # from submit to close

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.graded if self.graded else None

    @property
    def forecast_held(self) -> bool | None:
        if self.forecast_usd is None:
            return None
        low, high = self.forecast_usd
        return low <= self.cost_usd <= high

    def as_dict(self) -> dict[str, Any]:
        return {
            **msgspec.structs.asdict(self),
            "accuracy": self.accuracy,
            "forecast_held": self.forecast_held,
        }


def summarise(connection: DuckDBPyConnection, job: JobId, limit: int = 10) -> Summary:
    """Raises JobNotClosed where the job has no final tables yet."""
    row = first(connection, "job", job=job)
    if row is None:
        raise JobNotClosed(job=job, state="not closed yet, or not in this lake")
    low = row["forecast_low_usd"]
    graded = first(connection, "accuracy", job=job) or {"graded": 0, "correct": 0}
    return Summary(
        job=job,
        generation=row["generation"],
        queries=row["queries"],
        statuses={each["status"]: each["queries"] for each in rows(connection, "statuses", job=job)},
        tiers=rows(connection, "tiers", job=job),
        categories=rows(connection, "categories", job=job, limit=10 * limit),
        routes=rows(connection, "routes", job=job),
        cost_usd=row["spent_usd"],
        presumed_usd=row["presumed_usd"],
        cap_usd=row["cap_usd"],
        forecast_usd=None if low is None else (low, row["forecast_high_usd"]),
        graded=graded["graded"],
        correct=graded["correct"],
        classes=rows(connection, "classes", job=job, limit=limit),
        confusion=rows(connection, "confusion", job=job, limit=5 * limit),
        escalations=rows(connection, "escalations", job=job, limit=limit),
        dearest=rows(connection, "dearest", job=job, limit=limit),
        certificate=first(connection, "certificate", job=job),
        reviewed=rows(connection, "reviewed", job=job),
        stop=row["stop"],
        seconds=(row["closed_at"] - row["created_at"]).total_seconds(),
    )


def exit_code(summary: Summary, allowance: Allowance) -> int:
    """4 halted by a bill over its bound, 7 its quality target is out of reach, 3 when more rows than allowed have no
    answer, 7 no certificate for another reason, else 0."""
    if summary.stop == "over_hold":
        return OVER_HOLD
    if summary.stop == "infeasible":
        return NOT_CERTIFIED
    for status in ("deferred", "failed", "rejected", "review"):
        if summary.statuses.get(status, 0) > getattr(allowance, status) * summary.queries:
            return OVER_ALLOWANCE
    if summary.statuses.get("cancelled"):
        return OVER_ALLOWANCE
    return certified_code(summary.certificate)


def certified_code(certificate: Row | None) -> int:
    """A certificate that waits for people's labels is no failure."""
    return NOT_CERTIFIED if certificate and certificate["state"] == "withheld" else 0
