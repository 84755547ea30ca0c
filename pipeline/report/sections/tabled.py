"""Sections of tables: tiers, categories, labels, reasons, single queries, reviews."""

from collections.abc import Iterator, Sequence

from pipeline.report.figures import Figures
from pipeline.report.layout import (
    Section,
    Table,
    chances,
    counts,
    dollars,
    interval,
    listed,
    shares,
    short,
    stated,
    table,
    texts,
    usd,
)
from pipeline.report.share import wilson
from pipeline.report.sql import Row
from pipeline.report.summary import Summary
from pipeline.report.trace import Trace, steps

CLASSES = 5  # the worst
_RIGHT = {"right": ("share", shares), "95 %": ("interval", stated)}


def tabled(figures: Figures) -> Iterator[Section]:
    yield from _tiers(figures.summary, figures.ladder)
    yield from _categories(figures.summary)
    yield from _classes(figures.summary)
    yield from _disbelief(figures.summary)
    yield from _ended(figures)
    yield from _traces("dearest", "Dearest queries", figures.dearest)
    yield from _traces("slowest", "Slowest queries", figures.slowest)
    yield from _reviewed(figures.summary)


def _tiers(summary: Summary, ladder: Sequence[str]) -> Iterator[Section]:
    if not summary.tiers:
        return
    place = {tier: number for number, tier in enumerate(ladder)}
    rows = [_graded(row) for row in sorted(summary.tiers, key=lambda row: place.get(row["tier"], len(place)))]
    most = max(rows, key=lambda row: row["answered"])
    routes = table(
        "By what chose the tiers",
        [_graded(row) for row in summary.routes],
        {"route": ("route", texts), "queries": ("queries", counts), **_RIGHT, "cost": ("cost_usd", dollars)},
    )
    yield Section(
        name="tiers",
        title="Tiers",
        finding=f"{most['tier']} gave most of the answers, {most['answered']:,}."
        if most["answered"]
        else "No tier gave an answer that stands.",
        tables=[
            table(
                "What was asked, what stands, what it cost",
                rows,
                {
                    "tier": ("tier", texts), "asked": ("asked", counts), "answers": ("answered", counts), **_RIGHT,
                    "calls": ("calls", counts), "cost": ("cost_usd", dollars),
                },
            ),
            *([routes] if len(summary.routes) > 1 else []),
        ],
    )  # fmt: skip


def _categories(summary: Summary) -> Iterator[Section]:
    found = summary.categories
    if len(found) < 2:
        return
    rows = [_graded(row) | {"usd": 1000 * row["cost_usd"] / row["queries"]} for row in found]
    most = rows[0]
    part = most["queries"] / summary.queries
    finding = f"{most['category']} is the largest of {len(rows)}: {part:.0%} of the queries."
    graded = [row for row in rows if row["share"] is not None]
    if len(graded) > 1:
        worst = min(graded, key=lambda row: row["share"])
        finding += f" The least accurate is {worst['category']}, {worst['share']:.1%} of {worst['graded']:,}."
    yield Section(
        name="categories",
        title="Routing categories",
        finding=finding,
        tables=[
            table(
                "By category, the largest first",
                rows,
                {
                    "category": ("category", texts), "queries": ("queries", counts), **_RIGHT,
                    "cost": ("cost_usd", dollars), "cost of 1,000": ("usd", dollars),
                },
            )
        ],
    )  # fmt: skip


def _classes(summary: Summary) -> Iterator[Section]:
    if not summary.confusion:
        return
    rows = [
        {
            **row,
            "share": row["correct"] / row["queries"],
            "wrong": ", ".join(
                f"{each['answer']} ×{each['queries']}"
                for each in summary.confusion
                if each["gold"] == row["gold"]
            ),
        }
        for row in summary.classes[:CLASSES]
    ]
    yield Section(
        name="classes",
        title="Labels that go wrong",
        finding=f"{short(str(rows[0]['gold']))} is right on {rows[0]['correct']:,} of {rows[0]['queries']:,}.",
        tables=[
            table(
                "The worst by gold",
                rows,
                {"gold": ("gold", texts), "queries": ("queries", counts), "right": ("share", shares),
                 "mistaken for": ("wrong", texts)},
            )
        ],
    )  # fmt: skip


def _disbelief(summary: Summary) -> Iterator[Section]:
    rows = summary.escalations
    if rows:
        yield Section(
            name="escalations",
            title="Why tiers were not believed",
            finding=f"Most often {rows[0]['tier']}: {short(rows[0]['reason'])}, {rows[0]['times']:,} times.",
            tables=[
                table(
                    "Answers that were not accepted",
                    rows,
                    {"tier": ("tier", texts), "reason": ("reason", texts), "times": ("times", counts)},
                )
            ],
        )


def _ended(figures: Figures) -> Iterator[Section]:
    rest = {name: count for name, count in figures.summary.statuses.items() if name != "answered"}
    if not rest:
        return
    counted = [f"{count:,} {name}" for name, count in rest.items()]
    shown = sum(row["queries"] for row in figures.ended)
    missing = sum(rest.values()) - shown
    yield Section(
        name="ended",
        title="Not answered, and why",
        finding=f"{listed(counted)} of {figures.summary.queries:,} queries.",
        notes=[f"{missing:,} more for other reasons."] if missing else [],
        tables=[
            table(
                "By reason",
                [{**row, "examples": ", ".join(map(short, row["examples"]))} for row in figures.ended],
                {"status": ("status", texts), "reason": ("reason", texts), "queries": ("queries", counts),
                 "such as": ("examples", texts)},
            )
        ],
    )  # fmt: skip


def _traces(name: str, title: str, traces: Sequence[Trace]) -> Iterator[Section]:
    """Without the documents: a report is passed on, and `tierwise why` shows them."""
    if not traces:
        return
    first = traces[0].result
    led = usd(first["cost_usd"]) if name == "dearest" else f"{first['latency_ms'] or 0:,} ms"
    yield Section(
        name=name,
        title=title,
        finding=f"{short(first['query_id'])} leads with {led}.",
        notes=[f"Documents are not in a report; see: tierwise why {first['job']} {short(first['query_id'])}"],
        tables=[_trace(each) for each in traces],
    )


def _trace(trace: Trace) -> Table:
    row = trace.result
    answer = "no answer" if row["answer"] is None else f"“{short(row['answer'])}”"
    return table(
        f"{short(row['query_id'])}: {row['status']}, {answer}, {usd(row['cost_usd'])}, {row['latency_ms'] or 0:,} ms",
        steps(trace),
        {
            "tier": ("tier", texts), "answer": ("answer", texts), "P(correct)": ("confidence", chances),
            "judges": ("judges", texts), "cost": ("cost_usd", dollars), "verdict": ("verdict", texts),
        },
        folded=True,
    )  # fmt: skip


def _reviewed(summary: Summary) -> Iterator[Section]:
    if not summary.reviewed:
        return
    waiting = sum(row["queries"] for row in summary.reviewed if row["latest"] is None)
    rows = [{**row, "agree": None if row["latest"] is None else row["agree"]} for row in summary.reviewed]
    yield Section(
        name="reviewed",
        title="Sent to review",
        finding=f"{sum(row['queries'] for row in rows):,} queries were sent to review, {waiting:,} wait.",
        tables=[
            table(
                "By reviewer",
                rows,
                {"reviewed by": ("reviewer", texts), "queries": ("queries", counts), "as answered": ("agree", counts)},
            )
        ],
    )  # fmt: skip


def _graded(row: Row) -> Row:
    """With its share of right answers, where any is graded."""
    found = wilson(row["correct"], row["graded"]) if row["graded"] else None
    return row | {"share": found and found.share, "interval": interval(found) if found else ""}
