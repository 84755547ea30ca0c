"""How far a batch is, counted as its queries end and noted in the ledger, so that nobody who watches has to look at
its calls."""

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from statistics import median_low

from pipeline.cascade.rung import Rung
from pipeline.work import Progress, Work
from schemas.errors import LedgerUnreachable
from schemas.ids import TierName
from schemas.records import Lease, Mishap, Result, Tally, TierTally

NOTE_S = 2.0  # between two notes
LATEST = 101  # calls of a tier whose median latency is noted
MISHAPS = 5
LONGEST = 200  # characters of a mishap
log = logging.getLogger("tierwise.tally")


class Count:
    """The queries of a batch that ended. `then`: who else is told of each."""

    def __init__(self, rungs: Mapping[TierName, Rung], then: Progress | None = None) -> None:
        self._rungs, self._then = rungs, then
        self._statuses: Counter[str] = Counter()
        self._asked: Counter[TierName] = Counter()
        self._stood: Counter[TierName] = Counter()
        self._latencies: dict[TierName, deque[int]] = defaultdict(lambda: deque(maxlen=LATEST))
        self._mishaps: deque[Mishap] = deque(maxlen=MISHAPS)

    def add(self, result: Result) -> None:
        self._statuses[result.status] += 1
        if result.tier is not None and result.status == "answered":
            self._stood[result.tier] += 1
        for step in result.steps:
            if step.call_id is not None:
                self._asked[step.tier] += 1
                self._latencies[step.tier].append(step.latency_ms)
            if step.answer.value is None:
                why = step.answer.problem[:LONGEST]
                self._mishaps.append(Mishap(at=result.finished_at, tier=step.tier, why=why))
        if self._then is not None:
            self._then(result)

    def tally(self) -> Tally:
        return Tally(
            statuses=dict(self._statuses),
            tiers={name: self._tier(name, rung) for name, rung in self._rungs.items()},
            mishaps=tuple(self._mishaps),
        )

    def _tier(self, name: TierName, rung: Rung) -> TierTally:
        took = self._latencies[name]
        return TierTally(
            asked=self._asked[name],
            stood=self._stood[name],
            latency_ms=median_low(took) if took else 0,
            window=0 if rung.provider.local else rung.pace.window,
        )


def asked_of(results: Iterable[Result]) -> dict[str, int]:
    """Tier -> number of queries it was asked about."""
    return dict(Counter(step.tier for result in results for step in result.steps if step.call_id is not None))


@asynccontextmanager
async def noting(work: Work, lease: Lease, count: Count) -> AsyncIterator[None]:
    """Notes how far the batch is while the block runs."""

    async def note() -> None:
        before = None
        while True:
            await asyncio.sleep(NOTE_S)
            if (tally := count.tally()) != before:
                try:
                    await work.services.ledger.note(lease, tally)
                    before = tally
                except LedgerUnreachable as error:
                    log.info("batch %s of %s was not noted: %s", lease.batch, lease.job, error)

    noter = asyncio.create_task(note())
    try:
        yield
    finally:
        noter.cancel()
        await asyncio.gather(noter, return_exceptions=True)
