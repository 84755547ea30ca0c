"""Accuracy against cost: each tier alone, the plans that were tested, and the run itself."""

import json
from decimal import Decimal
from importlib.resources import files
from typing import Literal

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.report.share import Share, wilson
from pipeline.report.sql import Row, rows_of
from pipeline.storage.sql import named
from pipeline.storage.views import ask
from schemas.ids import JobId

PLANS = 24  # of a chain, at most

Kind = Literal["tier", "plan", "run"]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    name: str
    queries: int  # that the accuracy was seen on
    accuracy: Share
    usd_per_1000: float


class Frontier(msgspec.Struct, frozen=True, kw_only=True):
    reference: str  # what is right: gold, human, or what this tier says
    drawn: (
        bool  # all tiers were asked of the same rows, drawn by chance; else each of the rows that came to it
    )
    points: list[Point]  # the run last


def read_truth(connection: DuckDBPyConnection, job: JobId, reference: str) -> None:
    """Makes the table of right answers that `points_of_tiers` and `calibration` read."""
    ask(connection, _statement("truth"), {"job": job, "reference": reference})


def calibration(connection: DuckDBPyConnection, job: JobId) -> list[Row]:
    return rows_of(connection, _statement("calibration"), {"job": job})


def frontier(
    connection: DuckDBPyConnection,
    job: JobId,
    reference: str,
    certificate: Row | None,
    run: tuple[Share, Decimal] | None,
) -> Frontier:
    """From the truth that was read. `run`: its accuracy by the same reference, and its USD per query."""
    drawn = rows_of(connection, _statement("audited"), {"job": job})
    tiers = drawn or rows_of(connection, _statement("asked"), {"job": job})
    points = [
        Point(
            kind="tier", name=row["tier"], queries=row["queries"], usd_per_1000=row["usd_per_1000"],
            accuracy=wilson(row["correct"], row["queries"]),
        )
        for row in tiers
    ]  # fmt: skip
    if certificate is not None and certificate["reference"] == reference:
        points += _plans(json.loads(certificate["chain"] or "[]"))
    if run is not None:
        accuracy, usd = run
        points.append(
            Point(
                kind="run", name="this run", queries=accuracy.rows, accuracy=accuracy,
                usd_per_1000=float(1000 * usd),
            )
        )  # fmt: skip
    return Frontier(reference=reference, drawn=bool(drawn), points=points)


def _plans(chain: list[Row]) -> list[Point]:
    """Evenly spaced, the surest and the last tested among them."""
    step = max(1, -(-len(chain) // PLANS))
    kept = [*chain[:-1:step], *chain[-1:]]
    return [
        Point(
            kind="plan", name=plan_text(test["tiers"], test["accept"]), queries=test["audited"],
            usd_per_1000=1000 * test["usd_per_row"], accuracy=wilson(test["agreeing"], test["audited"]),
        )
        for test in kept
    ]  # fmt: skip


def plan_text(tiers: list[str], accept: list[float]) -> str:
    """small ≥ .90 > large; a tier that is asked and never believed alone stands without a bar."""
    *first, last = zip(tiers, accept, strict=True)
    stated = [f"{tier} ≥ {bar:.2f}" if bar <= 1 else tier for tier, bar in first]
    return " > ".join([*stated, last[0]])


def _statement(name: str) -> str:
    return named(files("pipeline.report").joinpath("truth.sql").read_text(encoding="utf-8"))[name]
