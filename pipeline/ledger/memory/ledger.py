"""The ledger in memory: the twin of the SQL ledger for tests and trials. One process, nothing durable."""

import time
from collections import Counter
from collections.abc import Callable

import msgspec

from pipeline.ledger import pacing
from pipeline.ledger.memory.deliveries import MemoryDeliveries
from pipeline.ledger.memory.schedules import MemorySchedules
from pipeline.ledger.memory.shares import Shares
from pipeline.ledger.rules import RECENT_MS, is_taken
from pipeline.ports.ledger import Account, Draw, Drawn, JobRow, Overview, Pacing, Standing
from schemas.ids import Fence


class _Named(msgspec.Struct):
    owner: str = ""
    fence: int = 0
    lease_until: int = 0  # Unix ms


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


class MemoryLedger(Shares):
    """See pipeline/ports/ledger.py. Not for work that must survive its process."""

    def __init__(self, url: str = "memory://", clock: Callable[[], int] = wall_clock) -> None:
        super().__init__(url, clock)
        self.deliveries = MemoryDeliveries()
        self.schedules = MemorySchedules()
        self._named: dict[str, _Named] = {}
        self._upstreams: dict[str, Pacing] = {}

    async def probe(self) -> None:
        return None

    async def draw(self, upstream: str, asked: Draw, now: int) -> Drawn:
        row = self._upstreams.get(upstream, Pacing())
        self._upstreams[upstream], drawn = pacing.draw(row, asked, now)
        return drawn

    async def pacing(self, upstream: str) -> Pacing | None:
        return self._upstreams.get(upstream)

    async def take(self, name: str, *, owner: str, now: int, ttl_ms: int) -> Fence | None:
        found = self._named.setdefault(name, _Named())
        if is_taken(found.owner, found.lease_until, now, ttl_ms):
            return None
        found.owner, found.fence, found.lease_until = owner, found.fence + 1, now + ttl_ms
        return Fence(found.fence)

    async def keep(self, name: str, *, owner: str, fence: Fence, now: int, ttl_ms: int) -> bool:
        found = self._named.get(name)
        if found is None or (found.owner, found.fence) != (owner, fence):
            return False
        found.lease_until = now + ttl_ms
        return True

    async def give_back(self, name: str, *, owner: str, fence: Fence) -> None:
        found = self._named.get(name)
        if found is not None and (found.owner, found.fence) == (owner, fence):
            found.owner, found.lease_until = "", 0

    async def owners(self, now: int) -> set[str]:
        batches = {
            each.owner for each in self._batches.values() if not each.committed and each.lease_until > now
        }
        named = {each.owner for each in self._named.values() if each.lease_until > now}
        return (batches | named) - {""}

    async def end_leases(self, owner: str) -> None:
        for batch in self._batches.values():
            batch.lease_until = 0 if batch.owner == owner else batch.lease_until
        for named in self._named.values():
            named.lease_until = 0 if named.owner == owner else named.lease_until

    async def overview(self, now: int) -> Overview:
        jobs = self._jobs.values()
        return Overview(
            clock=now,
            states=Counter(job.state for job in jobs),
            stops=Counter(job.stop for job in jobs if job.stop),
            jobs=[self._standing(job, now) for job in jobs if job.state != "closed"],
            accounts=await self._watched(now),
            upstreams=dict(self._upstreams),
        )

    def _standing(self, row: JobRow, now: int) -> Standing:
        own = [batch for key, batch in self._batches.items() if key[:2] == (row.job, row.generation)]
        still = [batch for batch in own if not batch.committed]
        held = [
            call.held_at
            for call in self._calls_of(row.job, row.generation, None)
            if call.former.state == "held"
        ]
        return Standing(
            job=row.job,
            created_at=row.created_at,
            batches=row.batches,
            committed=row.committed,
            leased=sum(batch.lease_until > now for batch in still),
            attempts=max((batch.attempts for batch in still), default=0),
            overdue_at=min((each.lease_until for each in still if 0 < each.lease_until <= now), default=0),
            held_at=min(held, default=0),
        )

    async def _watched(self, now: int) -> list[Account]:
        recent = [
            job for job in self._jobs.values() if job.closed_at is None or job.closed_at > now - RECENT_MS
        ]
        names = {balance.account for job in recent for balance in self._chain(job.account)}
        over = {each.account for each in self._balances.values() if each.spent + each.held > each.cap}
        names |= over - {job.account for job in self._jobs.values() if job.stop == "over_hold"}
        return [account for name in sorted(names) if (account := await self.account(name))]
