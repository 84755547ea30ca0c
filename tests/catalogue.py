"""The names of all that a worker may expose."""

from pipeline.monitoring.meters import METRICS
from pipeline.ports.ledger import Account, Overview, Pacing, Standing
from schemas.ids import AccountId, JobId, Nano
from workers.vitals import families_of


def catalogue() -> dict[str, set[str]]:
    """Every sample's name that a worker may expose, with its labels."""
    found = {"tierwise_queue_messages": set[str]()}
    for name, metric in METRICS.items():
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {name + end: set(metric.labels) for end in ends}
    job = Standing(
        job=JobId("j"), created_at=1, batches=1, committed=1, leased=1, attempts=1, overdue_at=1, held_at=1
    )  # fmt: skip
    money = {name: Nano(1) for name in ("cap", "spent", "held", "presumed")}
    account = Account(account=AccountId("a"), parents=(), **money)
    seen = Overview(clock=1, states={}, stops={}, jobs=[job], accounts=[account], upstreams={"u": Pacing()})
    for family in families_of(seen, 1):
        found |= {sample.name: set(sample.labels) for sample in family.samples}
    return found
