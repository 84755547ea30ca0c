"""A closed job beside the one of the same name or task that closed before it."""

from datetime import datetime
from typing import Literal

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.learning.drift import ALPHA, LEAST_REWARD, LEAST_SHARES, compare_mixes, compare_shares
from pipeline.report.sql import Row, first, rows
from schemas.ids import JobId

MIXES = ("tier", "label", "category")
NAMES = 50  # of a mix, the most frequent
What = Literal["accuracy", "usd_per_query", "tier", "label", "category"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    what: What
    before: float | None  # null: a mix has no one figure
    now: float | None
    change: float  # of accuracy; of cost, relative; of a mix, the part that moved
    p: float | None  # that chance alone does this; null: not tested
    drifted: bool


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    job: JobId  # the earlier one
    closed_at: datetime
    changes: list[Change]
    mixes: dict[str, list[Row]]  # by tier, label, category: name, before, now (queries)


def compare_with_previous(connection: DuckDBPyConnection, job: JobId, classes: bool) -> Drift | None:
    """None: it is the first of its kind. `classes`: answers are labels of a finite set."""
    earlier = first(connection, "previous", job=job)
    if earlier is None:
        return None
    both = {"before": earlier["job"], "after": job}
    before, now = rows(connection, "diff_totals", **both)
    found = rows(connection, "mixes", **both, classes=classes, limit=NAMES)
    mixes = {
        mix: [{key: row[key] for key in ("name", "before", "now")} for row in found if row["mix"] == mix]
        for mix in MIXES
    }
    shown = {mix: counts for mix, counts in mixes.items() if len(counts) > 1}
    level = ALPHA / (1 + len(shown))  # Bonferroni's correction
    return Drift(
        job=JobId(earlier["job"]),
        closed_at=earlier["closed_at"],
        changes=[
            *_accuracy(before, now, level),
            *_cost(before, now),
            *(_mix(mix, counts, level) for mix, counts in shown.items()),
        ],
        mixes=shown,
    )


def _accuracy(before: Row, now: Row, level: float) -> list[Change]:
    if not before["graded"] or not now["graded"]:
        return []
    was, is_ = before["correct"] / before["graded"], now["correct"] / now["graded"]
    change, p = compare_shares(before["graded"], now["graded"], before["correct"], now["correct"])
    drifted = p < level and abs(change) >= LEAST_REWARD
    return [Change(what="accuracy", before=was, now=is_, change=change, p=p, drifted=drifted)]


def _cost(before: Row, now: Row) -> list[Change]:
    if not before["usd_per_query"] or now["usd_per_query"] is None:  # it has no query
        return []
    was, is_ = float(before["usd_per_query"]), float(now["usd_per_query"])
    return [Change(what="usd_per_query", before=was, now=is_, change=is_ / was - 1, p=None, drifted=False)]


def _mix(mix: str, counts: list[Row], level: float) -> Change:
    change, p = compare_mixes([(row["before"], row["now"]) for row in counts])
    what: What = mix  # type: ignore[assignment]
    return Change(
        what=what, before=None, now=None, change=change, p=p, drifted=p < level and change >= LEAST_SHARES
    )
