"""The ledger in memory: the twin of the SQL ledger for tests and trials. One process, nothing durable."""

import time
from collections.abc import Callable

import msgspec

from pipeline.ledger import pacing
from pipeline.ledger.memory.deliveries import MemoryDeliveries
from pipeline.ledger.memory.schedules import MemorySchedules
from pipeline.ledger.memory.shares import Shares
from pipeline.ledger.rules import is_taken
from pipeline.ports.ledger import Draw, Drawn, Pacing
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
