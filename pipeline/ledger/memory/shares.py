"""Dividing what is left, in memory."""

from collections.abc import Callable

from pipeline.ledger import division
from pipeline.ledger.division import Others
from pipeline.ledger.memory.batches import Batches
from pipeline.ports.ledger import Share, Want
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.records import Lease

Place = tuple[JobId, Generation, BatchIndex]


class Shares(Batches):
    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        super().__init__(url, clock)
        self._shares: dict[tuple[Place, Fence], tuple[int, int]] = {}  # queries that wait, money set aside

    async def divide(self, want: Want, now: int) -> Share | None:
        lease = want.lease
        row, found = self._jobs.get(lease.job), self._leased(lease)
        if row is None or row.generation != lease.generation or found is None or found.committed:
            return None
        free, tightest = min((each.cap - each.spent, each.account) for each in self._chain(want.account))
        share = division.divide(want, row.stop, free, tightest, self._others(lease, now))
        place = (lease.job, lease.generation, lease.batch)
        self._shares[(place, lease.fence)] = division.entry(want, share)
        return share

    def _others(self, lease: Lease, now: int) -> Others:
        coming = wants = purses = 0
        for place, batch in self._batches.items():
            if place[:2] != (lease.job, lease.generation) or place[2] == lease.batch or batch.committed:
                continue
            noted = self._shares.get((place, Fence(batch.fence)))
            if noted is None or batch.lease_until <= now:
                coming += 1
            else:
                wants, purses = wants + noted[0], purses + noted[1]
        return Others(coming=coming, wants=wants, purses=purses)
