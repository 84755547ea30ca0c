"""Sections that a chart leads: accuracy against cost, flow, spending, calibration."""

from collections.abc import Iterator, Sequence

from pipeline.report import charts
from pipeline.report.figures import Figures
from pipeline.report.frontier import Frontier, Point
from pipeline.report.layout import (
    Section,
    chances,
    counts,
    dollars,
    interval,
    listed,
    shares,
    stated,
    table,
    texts,
    usd,
)
from pipeline.report.share import wilson
from pipeline.report.sql import Row


def charted(figures: Figures) -> Iterator[Section]:
    yield from _frontier(figures.frontier)
    yield from _flow(figures)
    yield from _spending(figures)
    yield from _calibration(figures.calibration)


def _frontier(found: Frontier | None) -> Iterator[Section]:
    if found is None or not found.points:
        return
    held = {"gold": "gold", "human": "what people said"}.get(found.reference, f"what {found.reference} says")
    said = [f"{_named(point)} {point.accuracy.share:.1%} for {usd(point.usd_per_1000)}" for point in found.points
            if point.kind != "plan"]  # fmt: skip
    notes = [
        f"All tiers were asked of the same rows, drawn by chance; right is {held}. This run's cost is the whole bill, "
        "the audit with it."
        if found.drawn
        else f"Each tier is judged by {held} on the rows that came to it: beyond the first those are the harder ones, "
        "so these points do not say what it would do alone. An audit asks all tiers of the same rows."
    ]
    if any(point.kind == "plan" for point in found.points):
        notes.append(
            "The line: plans in the order they were tested, each judged on the audited rows that selected it."
        )
    priced = any(point.usd_per_1000 for point in found.points)
    rows: list[Row] = [
        {
            "kind": point.kind, "name": point.name, "queries": point.queries, "share": point.accuracy.share,
            "interval": interval(point.accuracy), "usd": point.usd_per_1000,
        }
        for point in found.points
    ]  # fmt: skip
    shown = table(
        "Points of the chart",
        rows,
        {
            "": ("kind", texts), "name": ("name", texts), "rows": ("queries", counts), "accuracy": ("share", shares),
            "95 %": ("interval", stated), "USD per 1,000": ("usd", dollars),
        },
        folded=priced,
    )  # fmt: skip
    yield Section(
        name="frontier",
        title="Accuracy against cost",
        finding=f"Per 1,000 queries: {'; '.join(said)}.",
        notes=notes,
        tables=[shown],
        chart=charts.frontier_chart(found) if priced else None,
    )


def _named(point: Point) -> str:
    return point.name if point.kind == "run" else f"{point.name} alone"


def _flow(figures: Figures) -> Iterator[Section]:
    flow, queries = figures.flow, figures.summary.queries
    if not flow:
        return
    stayed = [f"{row['tier']} answered {row['accepted'] / queries:.1%}" for row in flow if row["accepted"]]
    moved = sum(row["escalated"] for row in flow)
    unasked = queries - sum(row["entered"] for row in flow)
    yield Section(
        name="flow",
        title="Flow through the tiers",
        finding=f"Of {queries:,} queries {listed(stayed) or 'none was answered'}; {moved:,} times a query was sent on.",
        notes=[f"{unasked:,} queries asked no tier: rejected, or without money from the start."] if unasked else [],
        tables=[
            table(
                "Queries at each tier",
                flow,
                {
                    "tier": ("tier", texts), "asked": ("asked", counts), "of these first": ("entered", counts),
                    "accepted": ("accepted", counts), "escalated": ("escalated", counts), "ended": ("ended", counts),
                },
                folded=True,
            )
        ],
        chart=charts.flow_chart(flow),
    )  # fmt: skip


def _spending(figures: Figures) -> Iterator[Section]:
    spending, summary = figures.spending, figures.summary
    if not spending:
        return
    spent = {row["tier"] for row in spending}
    paid = [tier for tier in figures.ladder if tier in spent] + sorted(spent - set(figures.ladder))
    moments: dict[object, Row] = {}
    for row in spending:
        moments.setdefault(row["until"], {"until": row["until"]})[row["tier"]] = row["usd"]
    rows = [{**row, "total": sum(row[tier] for tier in paid)} for row in moments.values()]
    most = max(paid, key=lambda tier: rows[-1][tier])
    took = (spending[-1]["until"] - spending[0]["until"]).total_seconds()
    last = rows[-1]
    finding = (
        f"{usd(last['total'])} in {_duration(took)}; {last[most] / last['total']:.0%} of it on {most}. The cap was "
        f"{usd(summary.cap_usd)}."
    )
    columns = {tier: (tier, dollars) for tier in paid}
    yield Section(
        name="spending",
        title="Spend over time",
        finding=finding,
        tables=[
            table(
                "Dollars spent until (UTC)",
                [{**row, "until": f"{row['until']:%Y-%m-%d %H:%M:%S}"} for row in rows],
                {"until": ("until", texts), **columns, "all": ("total", dollars)},
                folded=True,
            )
        ],
        chart=charts.spending_chart(spending, paid, summary.cap_usd),
    )


def _calibration(found: Sequence[Row]) -> Iterator[Section]:
    if not found:
        return
    bins: list[Row] = []
    for row in found:
        share = wilson(row["correct"], row["queries"])
        bins.append({**row, "right": share.share, "low": share.low, "high": share.high})
    rows = sum(row["queries"] for row in bins)
    said = sum(row["said"] * row["queries"] for row in bins) / rows
    right = sum(row["correct"] for row in bins) / rows
    error = sum(abs(row["said"] - row["right"]) * row["queries"] for row in bins) / rows
    yield Section(
        name="calibration",
        title="Calibration",
        finding=f"P(correct) was {said:.2f} on average, and {right:.2f} of {rows:,} answers were right; by tenths the "
        f"two lie {error:.2f} apart.",
        tables=[
            table(
                "By tenths of P(correct)",
                bins,
                {"said": ("said", chances), "right": ("right", chances), "from": ("low", chances),
                 "to": ("high", chances), "queries": ("queries", counts)},
                folded=True,
            )
        ],
        chart=charts.calibration_chart(bins),
    )  # fmt: skip


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
