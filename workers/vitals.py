"""The ledger as Prometheus sees it: money of open jobs, their batches and leases, upstreams, jobs in all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from pipeline.ports.ledger import JobState, Overview, StopReason
from schemas.secrets import hide

Rows = Mapping[Any, float]  # values of the labels, as a tuple
NANO = 1e-9


def families_of(seen: Overview | None, now: int) -> Iterator[Family]:
    """`now`: Unix ms here, in the middle of the reading. None: the ledger is out of reach."""
    yield _gauge("tierwise_ledger_up", "Whether the ledger answers.", (), {(): float(seen is not None)})
    if seen is None:
        return
    skew = "How far this machine's clock is ahead of the ledger's; leases are told by clocks."
    yield _gauge("tierwise_ledger_clock_skew_seconds", skew, (), {(): (now - seen.clock) / 1000})
    yield from _accounts(seen)
    yield from _jobs(seen, now)
    yield from _upstreams(seen, now)


def _accounts(seen: Overview) -> Iterator[Family]:
    for name, help in {
        "cap": "The most it may spend.",
        "spent": "Settled and presumed.",
        "held": "Set aside for calls in flight.",
        "presumed": "The part of spent that stands for calls of unknown outcome.",
    }.items():
        rows = {(each.account,): getattr(each, name) * NANO for each in seen.accounts}
        yield _gauge(f"tierwise_account_{name}_dollars", help, ("account",), rows)


def _jobs(seen: Overview, now: int) -> Iterator[Family]:
    states = {(state,): float(seen.states.get(state, 0)) for state in get_args(JobState)}
    yield _gauge("tierwise_jobs", "All jobs of the ledger.", ("state",), states)
    stops = {(stop,): float(seen.stops.get(stop, 0)) for stop in get_args(StopReason)}
    yield _gauge("tierwise_jobs_stopped", "Jobs that stand stopped.", ("reason",), stops)
    for name, help, values in (
        ("age_seconds", "Since it was submitted.", [_since(each.created_at, now) for each in seen.jobs]),
        ("batches", "Of its generation.", [each.batches for each in seen.jobs]),
        ("batches_committed", "Of its generation.", [each.committed for each in seen.jobs]),
        ("batches_leased", "That somebody works on.", [each.leased for each in seen.jobs]),
        (
            "leases_without_progress",
            "The most that one of its open batches had in a row.",
            [each.attempts for each in seen.jobs],
        ),
        (
            "lease_overdue_seconds",
            "Since a lease ran out whose batch nobody took up.",
            [_since(each.overdue_at, now) for each in seen.jobs],
        ),
        (
            "oldest_hold_seconds",
            "Since the oldest money still held was set aside.",
            [_since(each.held_at, now) for each in seen.jobs],
        ),
    ):
        rows = {(each.job,): float(value) for each, value in zip(seen.jobs, values, strict=True)}
        yield _gauge(f"tierwise_job_{name}", f"Of each job that is not closed. {help}", ("job_id",), rows)


def _upstreams(seen: Overview, now: int) -> Iterator[Family]:
    labels, each = ("upstream",), {(hide(name),): pacing for name, pacing in seen.upstreams.items()}
    parked = {key: _since(pacing.parked_at, now) for key, pacing in each.items()}
    yield _gauge("tierwise_upstream_parked_seconds", "Since nobody asks it any more; 0: up.", labels, parked)
    rates = {key: pacing.rate / 60 for key, pacing in each.items()}
    yield _gauge(
        "tierwise_upstream_rate_calls_per_second", "Learned from 429s; 0: none known.", labels, rates
    )
    limited = CounterMetricFamily("tierwise_upstream_rate_limited", "429s to all processes.", labels=labels)
    for key, pacing in each.items():
        limited.add_metric(key, pacing.limited)
    yield limited


def _since(at: int, now: int) -> float:
    return max(0.0, (now - at) / 1000) if at else 0.0


def _gauge(name: str, help: str, labels: Sequence[str], rows: Rows) -> Family:
    family = GaugeMetricFamily(name, help, labels=labels)
    for key, value in rows.items():
        family.add_metric(key, value)
    return family
