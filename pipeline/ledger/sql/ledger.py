"""The ledger on SQLite and PostgreSQL: one code path, durable, shared by many processes."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipeline.ledger.rules import Verdict, check_hold, check_settlement
from pipeline.ledger.sql import (
    activity,
    batches,
    jobs,
    journal,
    money,
    named,
    overview,
    shares,
    upstreams,
)
from pipeline.ledger.sql.chains import Chains
from pipeline.ledger.sql.connection import Transactions
from pipeline.ledger.sql.deliveries import SqlDeliveries
from pipeline.ledger.sql.postgresql import PostgresStore
from pipeline.ledger.sql.schedules import SqlSchedules
from pipeline.ledger.sql.sqlite import SqliteStore
from pipeline.ledger.sql.store import Store, Tx
from pipeline.ledger.sql.writer import Ended, Groups, Task, Writer
from pipeline.ledger.waiting import Asked
from pipeline.ports.ledger import (
    Account,
    Activity,
    CallRow,
    Denied,
    Draw,
    Drawn,
    Held,
    Intent,
    JobRow,
    Kept,
    Known,
    Overview,
    Pacing,
    Refusal,
    Settlement,
    Share,
    StopReason,
    Want,
)
from schemas.errors import UnknownScheme
from schemas.ids import AccountId, BatchIndex, CallId, Fence, Generation, JobId, Nano
from schemas.records import Lease, Pin, Tally, Totals
from schemas.secrets import hide

T = TypeVar("T")
KNOWN = "sqlite:///path/to/ledger.db, postgresql://user:password@host/database"


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


def store_of(url: str) -> Store:
    """Raises UnknownScheme."""
    try:
        parsed: URL = make_url(url)
    except (ArgumentError, ValueError):  # its words may hold a part of the password
        raise UnknownScheme(port="ledger", url="(not a URL)", known=KNOWN) from None
    scheme = parsed.drivername.partition("+")[0]
    if scheme == "sqlite" and parsed.database and parsed.database != ":memory:":
        return SqliteStore(parsed)
    if scheme in ("postgresql", "postgres"):
        return PostgresStore(parsed)
    raise UnknownScheme(port="ledger", url=hide(str(parsed)), known=KNOWN)


class SqlLedger:
    """See pipeline/ports/ledger.py for what each operation promises.

    Writes go through one thread with one connection and are committed in groups; reads have a thread of their
    own and see what this process has committed. Not for network folders: SQLite's locks do not hold there.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], int] = wall_clock,
        *,
        max_wait_ms: float = 10.0,
        max_group: int = 1024,
        patience_s: float = 15.0,
        poll_s: tuple[float, float] = (0.05, 0.25),
        orphan_after_s: float = 60.0,
    ) -> None:
        """`max_wait_ms`: what comes within it shares a transaction (longer: more latency, less CPU); `patience_s`:
        how long a lost database is waited for; `orphan_after_s`: how long a hold waits before money held under
        leases that ran out is charged."""
        store = store_of(url)
        self.url = store.url
        self._clock = clock
        self._chains = Chains()
        self._reads = Transactions(store, self._chains, patience_s=patience_s, reading=True)
        self._reader = ThreadPoolExecutor(1, "ledger-reader")
        self.deliveries = SqlDeliveries(self._write, self._read)
        self.schedules = SqlSchedules(self._write, self._read)
        self._prepared = False
        self._closed = False
        self.groups = Groups()
        self._writer = Writer(
            store,
            self._chains,
            clock,
            max_wait_ms=max_wait_ms,
            max_group=max_group,
            patience_s=patience_s,
            poll_s=poll_s,
            orphan_after_s=orphan_after_s,
            groups=self.groups,
        )

    async def _write(
        self, work: Callable[[Tx], T], *, wakes: bool = False, repeatable: bool = True, passing: bool = False
    ) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(Task(work, future, wakes=wakes, repeatable=repeatable, passing=passing))
        return await future

    async def _read(self, work: Callable[[Tx], T]) -> T:
        if not self._prepared:  # the writer makes the schema when it connects
            await self._write(lambda tx: None)
            self._prepared = True
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, lambda: self._reads.run(work, repeatable=True))

    async def probe(self) -> None:
        await self._write(named.touch)

    async def open_account(self, account: AccountId, cap: Nano, *parents: AccountId) -> None:
        await self._write(lambda tx: money.open_account(tx, account, cap, parents))

    async def open_period(self, account: AccountId, cap: Nano, carry: Nano) -> None:
        await self._write(lambda tx: money.open_period(tx, account, cap, carry))

    async def raise_cap(self, account: AccountId, by: Nano) -> None:
        await self._write(lambda tx: money.raise_cap(tx, account, by), wakes=True, repeatable=False)

    async def account(self, account: AccountId) -> Account | None:
        return await self._read(lambda tx: money.read_account(tx, account))

    async def create_job(self, job: JobId, *, name: str, account: AccountId, batches: int, now: int) -> bool:
        return await self._write(
            lambda tx: jobs.create_job(tx, job, name=name, account=account, count=batches, now=now),
            repeatable=False,
        )

    async def job(self, job: JobId) -> JobRow | None:
        return await self._read(lambda tx: jobs.read_job(tx, job))

    async def jobs(self) -> list[JobRow]:
        return await self._read(jobs.read_jobs)

    async def stop_job(self, job: JobId, reason: StopReason) -> None:
        await self._write(lambda tx: jobs.stop_job(tx, job, reason), wakes=True)

    async def start_generation(self, job: JobId, after: Generation, batches: int) -> bool:
        return await self._write(
            lambda tx: jobs.start_generation(tx, job, after, batches, self._clock()), repeatable=False
        )

    async def close_generation(self, job: JobId, generation: Generation, now: int) -> None:
        await self._write(
            lambda tx: jobs.close_generation(tx, self._chains, job, generation, now, self._clock()),
            wakes=True,
        )

    async def lease_batch(
        self,
        job: JobId,
        generation: Generation,
        batch: BatchIndex,
        *,
        owner: str,
        pin: Pin,
        now: int,
        ttl_ms: int,
    ) -> Lease | Refusal:
        def work(tx: Tx) -> Lease | Refusal:
            return batches.lease_batch(
                tx, self._chains, job, generation, batch,
                owner=owner, pin=pin, now=now, ttl_ms=ttl_ms, clock=self._clock(),
            )  # fmt: skip

        return await self._write(work, wakes=True, repeatable=False)

    async def open_batches(self, job: JobId, now: int) -> list[BatchIndex]:
        return await self._read(lambda tx: batches.open_batches(tx, job, now))

    async def lost_batches(self, job: JobId, now: int, quiet_ms: int) -> list[BatchIndex]:
        return await self._write(lambda tx: batches.lost_batches(tx, job, now, quiet_ms))

    async def renew(self, lease: Lease, now: int, ttl_ms: int) -> JobRow | None:
        return await self._write(lambda tx: batches.renew(tx, lease, now, ttl_ms))

    async def release(self, lease: Lease) -> None:
        await self._write(lambda tx: batches.release(tx, lease))

    async def commit_batch(self, job: JobId, generation: Generation, batch: BatchIndex) -> int:
        return await self._write(
            lambda tx: batches.commit_batch(tx, self._chains, job, generation, batch, self._clock()),
            wakes=True,
        )

    async def divide(self, want: Want, now: int) -> Share | None:
        return await self._write(lambda tx: shares.divide(tx, self._chains, want, now))

    async def note(self, lease: Lease, tally: Tally) -> None:
        await self._write(lambda tx: activity.note(tx, lease, tally), passing=True)

    async def activity(self, job: JobId, generation: Generation, now: int) -> Activity:
        return await self._read(lambda tx: activity.read(tx, job, generation, now))

    async def hold(self, intent: Intent) -> Held | Known | Denied:
        check_hold(intent)
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._writer.submit(Asked(intent, future, time.monotonic()))
        try:
            return await future  # type: ignore[return-value]  # a Wait never leaves the writer
        except asyncio.CancelledError:
            # cancelled between COMMIT and here; earlier than that, the writer sees it by the future
            if future.done() and not future.cancelled() and future.exception() is None:
                granted = future.result()
                if isinstance(granted, Held):
                    self._writer.give_up(granted)
            raise

    async def settle(self, settlement: Settlement) -> bool:
        check_settlement(settlement)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._writer.submit(Ended(settlement, future))
        return await future

    async def calls(
        self, job: JobId, generation: Generation, batch: BatchIndex | None = None
    ) -> Sequence[CallRow]:
        return await self._read(lambda tx: journal.read_calls(tx, job, generation, batch))

    async def totals(self, job: JobId, generation: Generation) -> dict[BatchIndex, Totals]:
        return await self._read(lambda tx: journal.read_totals(tx, job, generation))

    async def body(self, call_id: CallId) -> bytes | None:
        return await self._read(lambda tx: journal.read_body(tx, call_id))

    async def answered(self, job: JobId, request_hashes: Sequence[bytes]) -> set[bytes]:
        return await self._read(lambda tx: journal.read_answered(tx, job, request_hashes))

    async def replies(
        self, request_hashes: Sequence[bytes], *, since: int, besides: JobId
    ) -> dict[bytes, Kept]:
        return await self._read(lambda tx: journal.read_replies(tx, request_hashes, since, besides))

    async def presume(self, job: JobId, generation: Generation) -> int:
        return await self._write(
            lambda tx: jobs.presume(tx, self._chains, job, generation, self._clock()), wakes=True
        )

    async def draw(self, upstream: str, asked: Draw, now: int) -> Drawn:
        return await self._write(lambda tx: upstreams.draw(tx, upstream, asked, now))

    async def pacing(self, upstream: str) -> Pacing | None:
        return await self._read(lambda tx: upstreams.read(tx, upstream))

    async def take(self, name: str, *, owner: str, now: int, ttl_ms: int) -> Fence | None:
        return await self._write(
            lambda tx: named.take(tx, name, owner=owner, now=now, ttl_ms=ttl_ms), repeatable=False
        )

    async def keep(self, name: str, *, owner: str, fence: Fence, now: int, ttl_ms: int) -> bool:
        return await self._write(
            lambda tx: named.keep(tx, name, owner=owner, fence=fence, now=now, ttl_ms=ttl_ms)
        )

    async def give_back(self, name: str, *, owner: str, fence: Fence) -> None:
        await self._write(lambda tx: named.give_back(tx, name, owner=owner, fence=fence))

    async def owners(self, now: int) -> set[str]:
        return await self._read(lambda tx: named.owners(tx, now))

    async def end_leases(self, owner: str) -> None:
        await self._write(lambda tx: named.end_leases(tx, owner))

    async def overview(self, now: int) -> Overview:
        return await self._read(lambda tx: overview.read_overview(tx, now))

    async def close(self) -> None:
        """Finishes what was asked; holds that still wait are told that the ledger is closed."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reader, self._reads.close)
        self._reader.shutdown()
