"""All that the report of a closed job says, computed once; every form of it is made from these figures."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.report.drift import Drift, compare_with_previous
from pipeline.report.frontier import Frontier, calibration, frontier, read_truth
from pipeline.report.share import Share, wilson
from pipeline.report.sql import Row, first, rows
from pipeline.report.summary import Summary, summarise
from pipeline.report.trace import Trace, read_traces
from schemas.ids import JobId
from schemas.manifest import Manifest
from schemas.money import NANO_PER_USD, Price, Usage

MOMENTS = 60  # of spending
TRACED = 5  # of the slowest and of the dearest queries
REASONS = 20


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """How right the answers are, as far as it is known."""

    accuracy: Share
    reference: str  # gold, human, or a tier's name
    estimated: bool  # from an audit; else counted on every row whose gold is known


class Top(msgspec.Struct, frozen=True, kw_only=True):
    """What the same queries would have cost on the top tier alone."""

    tier: str
    usd: Decimal
    queries: int  # that were asked of any tier
    basis: Literal["audit", "answer", "tokens"]  # its calls for drawn rows, for others, or others' tokens
    seen: int  # queries that asked it so


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    summary: Summary
    name: str  # the spec's
    ladder: list[str]  # the spec's tiers, the cheapest first
    created_at: datetime
    closed_at: datetime
    measured: Measured | None
    top: Top | None  # None: it costs nothing, or nobody knows
    frontier: Frontier | None  # None: nobody knows what is right
    flow: list[Row]
    spending: list[Row]
    calibration: list[Row]
    slowest: list[Trace]
    dearest: list[Trace]
    drift: Drift | None  # None: it is the first of its name and task
    ended: list[Row]
    released: Row | None  # what the provider's invoice has given back since

    def as_dict(self) -> dict[str, Any]:
        """The summary's keys and these; traces apart, since `dearest` is a list of the summary's."""
        own = msgspec.structs.asdict(self)
        summary: Summary = own.pop("summary")
        traces = {name: own.pop(name) for name in ("dearest", "slowest")}
        return {**summary.as_dict(), **own, "traces": traces}


def read_figures(connection: DuckDBPyConnection, job: JobId, manifest: Manifest | None = None) -> Figures:
    """`manifest`: which tiers were asked at which prices; without it the spec's tiers, none priced by tokens.
    Raises JobNotClosed where the job has no final tables yet."""
    summary = summarise(connection, job)
    row = first(connection, "job", job=job)
    assert row is not None  # else there is no summary
    spec = json.loads(row["spec"])
    measured = _measured(summary)
    longest = rows(connection, "slowest", job=job, limit=TRACED)
    slowest = [each["query_id"] for each in longest if each["latency_ms"]]
    dearest = [each["query_id"] for each in summary.dearest[:TRACED] if each["cost_usd"]]
    traces = {each.result["query_id"]: each for each in read_traces(connection, job, slowest + dearest)}
    found, bins = _accuracy_and_cost(connection, summary, measured)
    return Figures(
        summary=summary,
        name=row["name"],
        ladder=[tier["name"] for tier in spec["tiers"]],
        created_at=row["created_at"],
        closed_at=row["closed_at"],
        measured=measured,
        top=_top(connection, job, spec, manifest),
        frontier=found,
        flow=rows(connection, "flow", job=job),
        spending=rows(connection, "spending", job=job, limit=MOMENTS),
        calibration=bins,
        slowest=[traces[each] for each in slowest],
        dearest=[traces[each] for each in dearest],
        drift=compare_with_previous(connection, job, spec["task"]["kind"] == "classify"),
        ended=rows(connection, "ended", job=job, limit=REASONS),
        released=first(connection, "released", job=job),
    )


def _measured(summary: Summary) -> Measured | None:
    """Gold where there is any, since it covers what it covers for certain; else the audit's estimate."""
    if summary.graded:
        return Measured(accuracy=wilson(summary.correct, summary.graded), reference="gold", estimated=False)
    return _estimated(summary.certificate)


def _estimated(certificate: Row | None) -> Measured | None:
    if certificate is None or certificate["accuracy"] is None:
        return None
    low, high = certificate["accuracy_low"], certificate["accuracy_high"]
    share = Share(share=certificate["accuracy"], low=low, high=high, rows=certificate["audited"])
    return Measured(accuracy=share, reference=certificate["reference"], estimated=True)


def _accuracy_and_cost(
    connection: DuckDBPyConnection, summary: Summary, measured: Measured | None
) -> tuple[Frontier | None, list[Row]]:
    """The frontier by the certificate's own reference, calibration by gold where there is any: more rows have it."""
    certificate = summary.certificate
    held = certificate["reference"] if certificate is not None else "gold"
    run = measured if measured and measured.reference == held else _estimated(certificate)
    if measured is None and certificate is None:
        return None, []
    usd = summary.cost_usd / summary.queries if summary.queries else Decimal(0)
    read_truth(connection, summary.job, held)
    point = (run.accuracy, usd) if run else None
    found = frontier(connection, summary.job, held, certificate, point)
    if summary.graded and held != "gold":
        read_truth(connection, summary.job, "gold")
    return found, calibration(connection, summary.job)


def _top(
    connection: DuckDBPyConnection, job: JobId, spec: dict[str, Any], manifest: Manifest | None
) -> Top | None:
    aside = manifest.aside if manifest else {}
    tier = next(each["name"] for each in reversed(spec["tiers"]) if each["name"] not in aside)
    row = first(connection, "top", job=job, tier=tier)
    assert row is not None  # it counts
    for basis in ("audit", "answer"):
        seen = row["audited" if basis == "audit" else "asked"]
        usd = row["audited_usd" if basis == "audit" else "asked_usd"]
        if seen and usd:
            return Top(
                tier=tier,
                usd=round(usd / seen * row["queries"], 9),
                queries=row["queries"],
                basis=basis,
                seen=seen,
            )
    price = manifest.prices.get(tier) if manifest else None
    if row["asked"] or price is None or not row["input_tokens"]:
        return None
    return Top(tier=tier, usd=_priced(price, row), queries=row["queries"], basis="tokens", seen=0)


def _priced(price: Price, row: Row) -> Decimal:
    """All the queries at this price, each of as many tokens as an answer took on average."""
    queries = row["queries"]
    usage = Usage(input=round(row["input_tokens"] * queries), output=round(row["output_tokens"] * queries))
    requests = price.request * (queries - 1) // price.denominator  # the first is in the cost
    return Decimal(price.cost(usage) + requests) / NANO_PER_USD
