"""What is said of a batch that ended: one line with its counts, and one for each kind of trouble, however many calls
met it."""

import logging

import pyarrow as pa
import pyarrow.compute as pc

from schemas.money import format_usd, nano_to_usd
from schemas.records import Commit

log = logging.getLogger("tierwise.flow")


def say_committed(name: str, commit: Commit | None, seconds: float) -> None:
    """`name`: of the batch. None: a former holder had committed it."""
    if commit is None:
        log.info("batch %s, by a former holder: committed", name)
        return
    made, queries = commit.ledger, sum(commit.statuses.values())
    fields = {
        "queries": queries, "statuses": commit.statuses, "tiers": commit.tiers, "calls": made.calls,
        "presumed": made.presumed, "cost_usd": nano_to_usd(made.cost), "seconds": round(seconds, 3),
    }  # fmt: skip
    log.info(
        "batch %s, %s queries, %s calls, %s, %.1f s: committed",
        name, queries, made.calls, format_usd(made.cost), seconds, extra={"fields": fields},
    )  # fmt: skip


def say_trouble(tables: dict[str, pa.Table]) -> None:
    calls, votes = tables["calls"], tables["votes"]
    if presumed := pc.sum(calls["presumed"]).as_py():
        usd = pc.sum(calls.filter(calls["presumed"])["cost_usd"]).as_py()
        log.warning("%s calls of unknown outcome are charged in full: $%s", presumed, usd)
    silent = votes.filter(pc.is_null(votes["score"]))
    for judge in pc.unique(silent["judge"]).to_pylist():
        own = silent.filter(pc.equal(silent["judge"], judge))
        reason = own["reason"][0].as_py()
        log.warning("judge %s could not say anything of %s answers: %s", judge, own.num_rows, reason)
