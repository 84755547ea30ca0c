"""The figures of a job as sections, in the order in which they are read."""

from collections.abc import Iterator, Sequence

from pipeline.report import charts
from pipeline.report.certificate import details, tables
from pipeline.report.certificate import headline as promise
from pipeline.report.drift import Change, Drift
from pipeline.report.figures import Figures
from pipeline.report.frontier import Frontier, Point
from pipeline.report.layout import (
    Section,
    Table,
    chances,
    counts,
    dollars,
    listed,
    shares,
    short,
    stated,
    table,
    texts,
    usd,
)
from pipeline.report.share import Share, wilson
from pipeline.report.sql import Row
from pipeline.report.summary import Summary
from pipeline.report.trace import Trace, steps

CLASSES = 5  # the worst
NAMES = 12  # of a mix
_WHAT = {
    "accuracy": "accuracy of the answered",
    "usd_per_query": "USD per query",
    "tier": "tiers that answer",
    "label": "labels",
    "category": "routing categories",
}
_RIGHT = {"right": ("share", shares), "95 %": ("interval", stated)}


def sections(figures: Figures) -> list[Section]:
    """Those that this job has."""
    return [
        *_certificate(figures.summary),
        *_frontier(figures.frontier),
        *_flow(figures),
        *_spending(figures),
        *_calibration(figures.calibration),
        *_tiers(figures.summary),
        *_categories(figures.summary),
        *_classes(figures.summary),
        *_disbelief(figures.summary),
        *_ended(figures),
        *_traces("dearest", "Dearest queries", figures.dearest),
        *_traces("slowest", "Slowest queries", figures.slowest),
        *_drift(figures.drift),
        *_reviewed(figures.summary),
    ]


def _certificate(summary: Summary) -> Iterator[Section]:
    row = summary.certificate
    if row is None:
        return
    yield Section(
        name="certificate",
        title="Certificate" if row["target"] is not None else "Audit",
        finding=promise(row),
        notes=details(row),
        tables=[_plain(title, found) for title, found in tables(row)],
    )


def _plain(title: str, found: Sequence[Row]) -> Table:
    """Rows as they are: text first, shares after it."""
    forms = {name: (name, counts if name in ("graded", "population") else shares) for name in found[0]}
    first = next(iter(found[0]))
    return table(title, found, {**forms, first: (first, texts)}, folded=len(found) > NAMES)


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
            "interval": _interval(point.accuracy), "usd": point.usd_per_1000,
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


def _tiers(summary: Summary) -> Iterator[Section]:
    if not summary.tiers:
        return
    rows = [_graded(row) for row in summary.tiers]
    most = max(rows, key=lambda row: row["answered"])
    routes = table(
        "By what chose the tiers",
        [_graded(row) for row in summary.routes],
        {"route": ("route", texts), "queries": ("queries", counts), **_RIGHT, "cost": ("cost_usd", dollars)},
    )
    yield Section(
        name="tiers",
        title="Tiers",
        finding=f"{most['tier']} gave most of the answers, {most['answered']:,}.",
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


def _spending(figures: Figures) -> Iterator[Section]:
    spending, summary = figures.spending, figures.summary
    if not spending:
        return
    tiers = {row["tier"]: row["cost_usd"] for row in summary.tiers}
    paid = [tier for tier in tiers if any(row["tier"] == tier for row in spending)]
    paid += sorted({row["tier"] for row in spending} - set(paid))
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


def _drift(drift: Drift | None) -> Iterator[Section]:
    if drift is None:
        return
    moved = [_WHAT[change.what] for change in drift.changes if change.drifted]
    rows: list[Row] = [
        {
            "what": _WHAT[change.what], "before": _figure(change, change.before), "now": _figure(change, change.now),
            "change": f"{change.change:+.1%}" if change.before is not None else f"{change.change:.1%} moved",
            "p": "" if change.p is None else f"{change.p:.2g}", "verdict": _verdict(change),
        }
        for change in drift.changes
    ]  # fmt: skip
    forms = {"what": texts, "before": stated, "now": stated, "change": stated, "p": stated, "verdict": texts}
    compared = table("Compared", rows, {title: (title, form) for title, form in forms.items()})
    yield Section(
        name="drift",
        title="Against the previous run",
        finding=f"{'Unlike' if moved else 'Like'} {drift.job} ({drift.closed_at:%Y-%m-%d %H:%M} UTC)"
        + (f": {listed(moved)} changed." if moved else ": nothing changed beyond chance."),
        notes=["At most one false alarm in a hundred reports; of cost no test is made."],
        tables=[compared, *(_mix(name, found) for name, found in drift.mixes.items())],
    )


def _figure(change: Change, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if change.what == "accuracy" else usd(value)


def _verdict(change: Change) -> str:
    if change.p is None:
        return ""
    return "changed" if change.drifted else "as before"


def _mix(name: str, found: Sequence[Row]) -> Table:
    before, now = sum(row["before"] for row in found) or 1, sum(row["now"] for row in found) or 1
    rows = [{**row, "was": row["before"] / before, "is": row["now"] / now} for row in found]
    rows.sort(key=lambda row: -abs(row["is"] - row["was"]))
    return table(
        f"{_WHAT[name][0].upper()}{_WHAT[name][1:]}, the most changed first",
        rows[:NAMES],
        {name: ("name", texts), "before": ("before", counts), "now": ("now", counts),
         "share before": ("was", shares), "share now": ("is", shares)},
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
    return row | {"share": found and found.share, "interval": _interval(found) if found else ""}


def _interval(share: Share) -> str:
    return f"{100 * share.low:.1f}–{share.high:.1%}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
