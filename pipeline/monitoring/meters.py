"""What a process counts of its own work. Per call nothing is counted here: calls come in at the commit of their batch,
from the Arrow tables that are written anyway."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.money import TOKEN_CLASSES

Key = tuple[str, ...]  # a metric's name, then the values of its labels

CALL_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0)
BATCH_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 900.0)
COMMIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
GROUP = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
LAG_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COMPLETE = pa.array(["ok", "truncated", "malformed", "refused"])
_SUMS = [("cost_usd", "sum"), *((f"{name}_tokens", "sum") for name in TOKEN_CLASSES)]


class Metric(msgspec.Struct, frozen=True):
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


# Of one worker command; `process` numbers its processes from 0. No label holds the id of a job, a batch or a query.
METRICS = {
    "tierwise_process_up": Metric("gauge", ("process",), "Whether the process lives and its event loop turns."),
    "tierwise_batches_running": Metric("gauge", ("process",), "Batches under a lease of this process."),
    "tierwise_calls_in_flight": Metric("gauge", ("process", "tier", "model"), "Calls on the wire."),
    "tierwise_calls_queued": Metric("gauge", ("process", "tier", "model"), "Calls that wait for their turn."),
    "tierwise_concurrency_window": Metric(
        "gauge", ("process", "tier", "model"), "Calls that may be on the wire at once, as learned so far."
    ),
    "tierwise_tier_down": Metric(
        "gauge", ("process", "tier", "model"), "Open jobs for which the tier is parked: 0 is up."
    ),
    "tierwise_event_loop_lag_seconds": Metric(
        "histogram", ("process",), "How late the event loop wakes a timer.", LAG_S
    ),
    "tierwise_replies_total": Metric(
        "counter",
        ("tier", "model", "reply"),
        "What tiers said, as it comes: answered, rate_limited (429), failed (5xx, timeout, cut), rejected (other 4xx).",
    ),
    "tierwise_calls_total": Metric(
        "counter", ("tier", "model", "purpose", "outcome"), "Calls of committed batches, each counted once."
    ),
    "tierwise_call_seconds": Metric(
        "histogram", ("tier", "model"), "From send to complete reply, of calls of committed batches.", CALL_S
    ),
    "tierwise_tokens_total": Metric(
        "counter", ("tier", "model", "purpose", "class"), "Tokens billed by committed batches."
    ),
    "tierwise_spend_dollars_total": Metric(
        "counter", ("tier", "model", "purpose"), "Money spent by committed batches, presumed calls included."
    ),
    "tierwise_results_total": Metric(
        "counter", ("status", "tier", "tiers_asked"), "Queries of committed batches, by how many tiers they asked."
    ),
    "tierwise_judge_failures_total": Metric(
        "counter", ("judge",), "Answers of committed batches on which a judge could not say anything."
    ),
    "tierwise_batches_total": Metric(
        "counter", ("outcome",), "Messages taken up: committed, redelivered, leased (elsewhere), yielded, lost …"
    ),
    "tierwise_batch_seconds": Metric("histogram", (), "From lease to commit.", BATCH_S),
    "tierwise_certificates_total": Metric(
        "counter", ("verdict",), "Certificates of closed jobs: certified or withheld."
    ),
    "tierwise_ledger_commit_seconds": Metric(
        "histogram", (), "One group of holds and settlements, until it is durable.", COMMIT_S
    ),
    "tierwise_ledger_group_operations": Metric(
        "histogram", (), "Holds and settlements that shared a transaction.", GROUP
    ),
}  # fmt: skip


class Histogram(msgspec.Struct):
    """Counts by bucket; the last one holds what is above all bounds."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def of(cls, bounds: Sequence[float]) -> "Histogram":
        return cls(tuple(bounds), [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Readings(msgspec.Struct):
    """What a process has counted so far."""

    counters: dict[Key, float] = {}
    gauges: dict[Key, float] = {}
    histograms: dict[Key, Histogram] = {}
    at: float = 0.0  # Unix seconds


class Meters:
    """Of one process and one event loop."""

    def __init__(self) -> None:
        self.counters: Counter[Key] = Counter()
        self.histograms: dict[Key, Histogram] = {}
        self.running = 0  # batches

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        self.counters[name, *labels] += by  # type: ignore[assignment]

    def histogram(self, name: str, *labels: str) -> Histogram:
        key = (name, *labels)
        if key not in self.histograms:
            self.histograms[key] = Histogram.of(METRICS[name].buckets)
        return self.histograms[key]

    def commit(self, tables: Mapping[str, pa.Table]) -> None:
        """A batch that this process has committed: whoever commits counts all its calls, those of former holders
        included, so that over all workers each call counts once."""
        self._calls(tables["calls"])
        self._latencies(tables["calls"])
        asked = pc.list_value_length(tables["results"]["tiers_asked"])
        results = tables["results"].select(["status", "tier"]).append_column("asked", asked)
        for row in _grouped(results, ["status", "tier", "asked"]):
            labels = (row["status"], row["tier"] or "", str(row["asked"]))
            self.count("tierwise_results_total", *labels, by=row["count_all"])
        votes = tables["votes"]
        for row in _grouped(votes.filter(pc.is_null(votes["score"])), ["judge"]):
            self.count("tierwise_judge_failures_total", row["judge"], by=row["count_all"])

    def _calls(self, calls: pa.Table) -> None:
        for row in _grouped(calls, ["tier", "model", "purpose", "outcome"], *_SUMS):
            tier, model, purpose = labels = row["tier"], row["model"], row["purpose"]
            self.count("tierwise_calls_total", *labels, row["outcome"], by=row["count_all"])
            if spent := float(row["cost_usd_sum"]):
                self.count("tierwise_spend_dollars_total", *labels, by=spent)
            for name in TOKEN_CLASSES:
                if tokens := row[f"{name}_tokens_sum"]:
                    self.count("tierwise_tokens_total", tier, model, purpose, name, by=tokens)

    def _latencies(self, calls: pa.Table) -> None:
        billed = pc.and_(pc.equal(calls["lane"], "realtime"), pc.is_in(calls["outcome"], COMPLETE))
        calls = calls.select(["tier", "model", "latency_ms"]).filter(billed)
        buckets = np.searchsorted(CALL_S, calls["latency_ms"].to_numpy() / 1000)
        calls = calls.append_column("bucket", pa.array(buckets))
        for row in _grouped(calls, ["tier", "model", "bucket"], ("latency_ms", "sum")):
            histogram = self.histogram("tierwise_call_seconds", row["tier"], row["model"])
            histogram.counts[row["bucket"]] += row["count_all"]
            histogram.total += row["latency_ms_sum"] / 1000


def _grouped(table: pa.Table, by: list[str], *sums: tuple[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        table.group_by(by, use_threads=False).aggregate([([], "count_all"), *sums]).to_pylist()
    )
    return found
