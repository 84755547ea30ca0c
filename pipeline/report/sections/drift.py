"""The section on the previous run of the same name or task."""

from collections.abc import Iterator, Sequence

from pipeline.report.drift import Change, Drift
from pipeline.report.layout import (
    Section,
    Table,
    counts,
    listed,
    shares,
    stated,
    table,
    texts,
    usd,
)
from pipeline.report.sql import Row

NAMES = 12  # of a mix
_WHAT = {
    "accuracy": "accuracy of the answered",
    "usd_per_query": "USD per query",
    "tier": "tiers that answer",
    "label": "labels",
    "category": "routing categories",
}


def drift(found: Drift | None) -> Iterator[Section]:
    if found is None:
        return
    moved = [_WHAT[change.what] for change in found.changes if change.drifted]
    rows: list[Row] = [
        {
            "what": _WHAT[change.what], "before": _figure(change, change.before), "now": _figure(change, change.now),
            "change": f"{change.change:+.1%}" if change.before is not None else f"{change.change:.1%} moved",
            "p": "" if change.p is None else f"{change.p:.2g}", "verdict": _verdict(change),
        }
        for change in found.changes
    ]  # fmt: skip
    forms = {"what": texts, "before": stated, "now": stated, "change": stated, "p": stated, "verdict": texts}
    compared = table("Compared", rows, {title: (title, form) for title, form in forms.items()})
    yield Section(
        name="drift",
        title="Against the previous run",
        finding=f"{'Unlike' if moved else 'Like'} {found.job} ({found.closed_at:%Y-%m-%d %H:%M} UTC)"
        + (f": {listed(moved)} changed." if moved else ": nothing changed beyond chance."),
        notes=["At most one false alarm in a hundred reports; of cost no test is made."],
        tables=[compared, *(_mix(name, mix) for name, mix in found.mixes.items())],
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
