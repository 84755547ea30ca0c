"""`python -m tests.faults.campaign --seed N [--kills 200]`: break workers and services while jobs run.

Campaign A has money to spare: every row must end answered. Campaign B has not: rows are answered or deferred. Both
run on PostgreSQL and S3 with several workers, A on RabbitMQ, B on Redis with a visibility timeout shorter than any
batch. Campaign C is a smaller one with money to spare, on SQLite and a local lake, whose disks fill up. Faults come
in a seeded order, spread evenly over the requests of the job.
"""

import argparse
import math
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from schemas.ids import JobId
from tests.benchmarks.figures import write
from tests.end_to_end.command import Tierwise
from tests.faults.disk import small_disk
from tests.faults.herd import Herd, watch
from tests.faults.judge import Verdict, judge
from tests.faults.private import Postgres, RabbitMQ, Redis, Service, private
from tests.faults.reports import reports, upstream_of
from tests.faults.trouble import DOOMED_AT_ONCE, LATENCY_MS, Trouble
from tests.faults.worker import POINTS
from tests.s3server.server import CREDENTIALS, start_s3_server
from tests.upstream.client import start_upstream

USD_EACH = 0.0001  # of the tight campaign: some four fifths of what a query costs without faults
USD_IN_FLIGHT = 0.0004  # and some four fifths of what a kill presumes, for each slot of a tier
DISK_MIB = 128
PATIENCE_S = 300.0  # between two faults, and from the last one to the end
JUMPS_S = (3600.0, -1800.0, 90.0, -90.0)
PAUSES = ("after hold", "after response")  # between hold and send, between send and settle
Fault = Callable[[Trouble], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One of the three, at one size."""

    name: str
    queries: int
    kills: int
    others: int  # of each other kind of fault
    broker: type[RabbitMQ] | type[Redis] = RabbitMQ
    cap_usd: str = "100"
    statuses: frozenset[str] = frozenset({"answered"})  # that rows may end in
    disks: bool = False  # SQLite and a local lake, on small disks
    batch: int = 25
    threads: int = 2
    lease_s: float = 5.0
    slots: int = 8  # of each tier, in each worker
    settings: Mapping[str, str] = field(default_factory=dict)


def ample(queries: int, kills: int, others: int, **more: Any) -> Campaign:
    return Campaign(name="A", queries=queries, kills=kills, others=others, **more)


def tight(queries: int, kills: int, others: int, **more: Any) -> Campaign:
    enough = Campaign(name="B", broker=Redis, queries=queries, kills=kills, others=others, **more)
    return replace(
        enough,
        cap_usd=f"{queries * USD_EACH + kills * enough.slots * USD_IN_FLIGHT:.4f}",
        statuses=frozenset({"answered", "deferred"}),
        settings={"VISIBILITY_SECONDS": "1"},
    )


def full_disks(queries: int, kills: int, others: int, **more: Any) -> Campaign:
    return Campaign(
        name="C", broker=Redis, queries=queries, kills=kills, others=others,
        settings={"VISIBILITY_SECONDS": "60"}, disks=True, **more,
    )  # fmt: skip


def plan(campaign: Campaign, seed: int) -> list[Fault]:
    """What happens, in order: kills at random and at each point in turn, and the others."""
    kinds: list[Fault] = [
        Trouble.kill_somewhere,
        *(partial(Trouble.kill_at, point=point) for point in POINTS),
    ]
    faults = [kinds[number % len(kinds)] for number in range(campaign.kills)]
    for number in range(campaign.others):
        if campaign.disks:
            faults += [Trouble.fill_lake, Trouble.fill_ledger]
            continue
        faults += [
            Trouble.pause_somewhere,
            *(partial(Trouble.kill_at, point=point, stop=True) for point in PAUSES),
            Trouble.break_broker,
            Trouble.break_postgres,
            Trouble.s3_refuses,
            Trouble.s3_crawls,
            Trouble.publish_thrice,
            partial(Trouble.jump, seconds=JUMPS_S[number % len(JUMPS_S)]),
        ]
    random.Random(f"{campaign.name}/{seed}").shuffle(faults)
    return faults


def fight(campaign: Campaign, seed: int, folder: Path, tell: Tell = lambda said: None) -> tuple[Verdict, str]:
    """Run it to its end; the verdict and the workers' log. `tell` hears how it goes."""
    began = time.monotonic()
    with battlefield(campaign, seed, folder) as trouble:
        faults = plan(campaign, seed)
        for number, fault in enumerate(faults):
            due = 0.9 * number / len(faults)  # all of it happens before the job can end
            for _ in patiently(trouble, campaign, seed):
                if trouble.progress() >= due and len(trouble.doomed) < DOOMED_AT_ONCE:
                    break
                trouble.pace(ahead=trouble.progress() > due + 0.02)
            fault(trouble)
            tell(f"{time.monotonic() - began:6.1f} s {trouble.progress():4.0%} {dict(trouble.counted)}")
        trouble.pace(ahead=False)
        for _ in patiently(trouble, campaign, seed):
            if trouble.watching.closed and not trouble.doomed and not trouble.later:
                break
        for _ in patiently(trouble, campaign, seed):
            if not trouble.herd.unsettled():  # of zombies that woke late
                break
        verdict = judge(
            trouble,
            name=campaign.name,
            seed=seed,
            queries=[f"q{number}" for number in range(campaign.queries)],
            statuses=campaign.statuses,
            seconds=time.monotonic() - began,
        )
        return verdict, trouble.herd.log()


def patiently(trouble: Trouble, campaign: Campaign, seed: int) -> Iterator[None]:
    """Tend the workers until the caller has what it waits for. TimeoutError with the end of their log."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        trouble.tend()
        yield
        time.sleep(0.02)
    log = trouble.herd.log()[-6000:]
    raise TimeoutError(f"campaign {campaign.name} with --seed {seed} does not get on; the log ends:\n{log}")


@contextmanager
def battlefield(campaign: Campaign, seed: int, folder: Path) -> Iterator[Trouble]:
    """Services of our own, a metered upstream, and the job, submitted."""
    job = JobId(f"campaign-{campaign.name.lower()}")
    with ExitStack() as stack:
        broker: Service = stack.enter_context(private(campaign.broker))
        settings = {
            "BROKER": broker.url,
            "QUEUE": "tierwise",
            "LEASE_SECONDS": str(campaign.lease_s),
            **campaign.settings,
        }
        parts = _disks(stack, settings) if campaign.disks else _servers(stack, settings)
        named = {f"TIERWISE_{name}": value for name, value in settings.items()}
        place = Tierwise(folder=folder, settings={**CREDENTIALS, **named})
        config = upstream_of(seed=seed, latency_ms=LATENCY_MS, jitter_ms=LATENCY_MS)
        upstream = stack.enter_context(start_upstream(config))
        size = {"batch": campaign.batch, "slots": campaign.slots, "usd": campaign.cap_usd}
        place.run("submit", reports(place, upstream, job, campaign.queries, **size), "--job", job)
        herd = Herd(place, meter=upstream.meter_path, threads=campaign.threads)
        stack.callback(herd.stop)
        watching = stack.enter_context(watch(upstream, place, job))
        yield Trouble(
            place=place, upstream=upstream, herd=herd, watching=watching, broker=broker, job=job,
            queries=campaign.queries, batches=math.ceil(campaign.queries / campaign.batch),
            lease_s=campaign.lease_s, random=random.Random(f"{seed}/{campaign.name}"), **parts,
        )  # fmt: skip


def _servers(stack: ExitStack, settings: dict[str, str]) -> dict[str, Any]:
    postgres, s3 = stack.enter_context(private(Postgres)), stack.enter_context(start_s3_server())
    settings.update(LEDGER=postgres.url, LAKE=s3.make_bucket("lake"))
    return {"postgres": postgres, "s3": s3}


def _disks(stack: ExitStack, settings: dict[str, str]) -> dict[str, Any]:
    lake, ledger = stack.enter_context(small_disk(DISK_MIB)), stack.enter_context(small_disk(DISK_MIB))
    settings.update(LEDGER=f"sqlite:///{ledger}/ledger.db", LAKE=str(lake / "lake"))
    return {"lake_disk": lake, "ledger_disk": ledger}


def table(verdicts: Sequence[Verdict]) -> str:
    """Faults by kind, then the totals, one column a campaign."""
    kinds = sorted({kind for verdict in verdicts for kind in verdict.faults})
    lines = [("fault", *(f"campaign {verdict.name}" for verdict in verdicts))]
    lines += [(kind, *(str(verdict.faults.get(kind, 0)) for verdict in verdicts)) for kind in kinds]
    lines += [("in total", *(f"campaign {verdict.name}" for verdict in verdicts))]
    for name, value in TOTALS.items():
        lines.append((name, *(value(verdict) for verdict in verdicts)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


TOTALS: dict[str, Callable[[Verdict], str]] = {
    "queries": lambda v: f"{v.queries:,}",
    "faults": lambda v: str(sum(v.faults.values())),
    "kills": lambda v: str(v.kills),
    "rows answered": lambda v: f"{v.statuses.get('answered', 0):,}",
    "rows deferred": lambda v: f"{v.statuses.get('deferred', 0):,}",
    "rows lost": lambda v: str(v.rows_lost),
    "rows doubled": lambda v: str(v.rows_doubled),
    "metered, USD": lambda v: f"{v.metered_usd:.6f}",
    "recorded, USD": lambda v: f"{v.recorded_usd:.6f}",
    "of it presumed, USD": lambda v: f"{v.presumed_usd:.6f}",
    "cap, USD": lambda v: f"{v.cap_usd:.6f}",
    "settled calls paid twice": lambda v: str(v.settled_paid_twice),
    "sent late by a holder overtaken": lambda v: str(v.sent_late),
    "calls presumed": lambda v: f"{v.presumed:,}",
    "calls in flight at kills": lambda v: f"{v.in_flight_at_kills:,}",
    "samples with metered <= spent + held": lambda v: f"{v.samples:,}",
    "invariants broken": lambda v: str(len(v.broken)),
    "seconds": lambda v: f"{v.seconds:.0f}",
}


def figures(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Totals over both campaigns, then each."""
    summed = ("kills", "rows_lost", "rows_doubled", "settled_paid_twice", "presumed", "in_flight_at_kills")
    dollars = ("metered_usd", "recorded_usd", "cap_usd")
    return {
        **{name: sum(getattr(verdict, name) for verdict in verdicts) for name in summed},
        **{name: round(sum(getattr(verdict, name) for verdict in verdicts), 9) for name in dollars},
        "faults": sum(sum(verdict.faults.values()) for verdict in verdicts),
        "campaigns": [verdict.as_dict() for verdict in verdicts],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200, help="over both campaigns")
    parser.add_argument("--queries", type=int, default=5_000, help="of each campaign")
    parser.add_argument("--others", type=int, default=4, help="of each other kind of fault, per campaign")
    parser.add_argument("--only", choices=["A", "B", "C"])
    parser.add_argument("--verbose", action="store_true", help="say what happens, to standard error")
    given = parser.parse_args()
    tell = partial(print, file=sys.stderr, flush=True) if given.verbose else lambda said: None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers and services end with it
    half = math.ceil(given.kills / 2)
    campaigns = [
        ample(given.queries, half, given.others),
        tight(given.queries, half, given.others),
        full_disks(given.queries // 4, math.ceil(half / 10), given.others),
    ]
    verdicts = []
    for campaign in campaigns:
        if given.only in (None, campaign.name):
            verdicts.append(_fought(campaign, given.seed, tell))
    print(table(verdicts))
    write("faults", figures(verdicts))
    return 1 if any(verdict.broken for verdict in verdicts) else 0


def _fought(campaign: Campaign, seed: int, tell: Tell) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="tierwise-faults-") as folder:
        verdict, log = fight(campaign, seed, Path(folder), tell)
    if verdict.broken:
        print(f"campaign {verdict.name} with --seed {seed} broke; the workers' log ends:\n{log[-6000:]}")
        print("\n".join(verdict.broken))
    return verdict


if __name__ == "__main__":
    sys.exit(main())
