"""Where jobs stand, apart from how that is drawn. A look reads a few rows, however long the job is: committed batches
are counted once, batches under way as their holders noted them."""

import io
from collections import Counter, deque
from collections.abc import Sequence

import msgspec
import pyarrow.parquet as pq

from pipeline.audit.ruling import read_ruling
from pipeline.ledger.pacing import rate_of
from pipeline.ports.ledger import Account, Activity, JobRow, JobState, StopReason
from pipeline.storage.commits import read_each
from pipeline.wiring.tiers import allowed_of
from pipeline.work import Services
from schemas import lake, manifest
from schemas.errors import NoSuchObject, UnknownJob
from schemas.ids import AccountId, BatchIndex, JobId, Nano, TierName
from schemas.job import Tier
from schemas.records import Commit, Mishap, TierTally

SPAN_MS = 60_000  # over which rates are taken
LEAST_MS = 5_000  # a shorter time says nothing of a rate
MISHAPS = 5
CLOSED = 100  # the latest closed jobs, shown with their money


class TierView(msgspec.Struct, frozen=True, kw_only=True):
    """A tier in one generation of a job; 429s, pause and limits are its upstream's, which jobs share."""

    tier: TierName
    asked: int  # queries
    answered: int  # queries whose answer is its
    held: int  # calls in flight, or about to be
    window: int  # calls at once that the paces of all workers allow by now; 0: not known, or no limit
    latency_ms: int  # the median of the latest calls; 0: none
    limited: int  # 429s
    calls_a_minute: int  # learned from 429s to be safe by now; 0: nothing was learned
    down_since: int  # Unix ms; 0: up
    problem: str  # why it is down

    @property
    def passed_on(self) -> int:
        """Queries that it was asked about and whose answer is not its."""
        return max(0, self.asked - self.answered)


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """Where the certificate stands."""

    kind: str
    said: str
    plan: str | None


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """One job at one moment."""

    job: JobId
    state: JobState
    stop: StopReason | None
    generation: int
    at: int  # Unix ms
    created_at: int  # Unix ms
    queries: int  # of this generation
    statuses: dict[str, int]  # of the queries that ended
    batches: int
    committed: int
    under_way: int  # batches under a running lease
    workers: dict[str, int]  # process -> batches it holds
    accounts: Sequence[Account]  # the job's own, then those above it
    tiers: Sequence[TierView]  # in the ladder's order
    mishaps: Sequence[Mishap]  # the latest first, of batches under way
    audit: AuditView | None  # None: nothing is to be certified
    rate: float | None  # queries a minute; None: seen for too short a time
    spending: float | None  # nano-dollars a minute

    @property
    def done(self) -> int:
        return sum(self.statuses.values())

    @property
    def seconds_left(self) -> float | None:
        if self.state == "closed" or not self.rate:
            return None
        return (self.queries - self.done) / self.rate * 60

    @property
    def expected(self) -> Nano | None:
        """What the job will have spent if the rest costs like what is done."""
        return Nano(self.accounts[0].spent * self.queries // self.done) if self.done else None


class JobLine(msgspec.Struct, frozen=True, kw_only=True):
    """One of many jobs."""

    row: JobRow
    account: Account | None  # None: closed, and not among the latest
    view: JobView | None  # None: closed


def amounts_of(account: Account) -> dict[str, Nano]:
    left = Nano(account.cap - account.spent - account.held)
    return {
        "spent": account.spent, "presumed": account.presumed, "held": account.held, "left": left,
        "cap": account.cap,
    }  # fmt: skip


class JobWatch:
    """Looks at one job again and again; keeps what cannot change."""

    def __init__(self, services: Services, job: JobId) -> None:
        self._services, self._job = services, job
        self._pinned: manifest.Manifest | None = None
        self._ladder: Sequence[Tier] = ()
        self._generation = 0
        self._queries = 0
        self._commits: dict[str, Commit] = {}
        self._seen: deque[tuple[int, int, int]] = deque()  # Unix ms, queries done, nano-dollars spent

    async def look(self) -> JobView:
        """Raises UnknownJob."""
        ledger, now = self._services.ledger, self._services.clock()
        activity = await ledger.activity(self._job, (await self._row()).generation, now)
        row = await self._row()  # after what is under way: a batch that commits in between is in both
        pinned = await self._manifest(row)
        commits = await self._committed(row)
        counted = {commit.batch for commit in commits}
        noted = [each.tally for each in activity.under_way if each.tally and each.batch not in counted]
        statuses: Counter[str] = Counter()
        for each in [*(commit.statuses for commit in commits), *(tally.statuses for tally in noted)]:
            statuses.update(each)
        accounts = await self._accounts(row.account)
        rate, spending = self._rates(now, statuses.total(), accounts[0].spent)
        mishaps = sorted((each for tally in noted for each in tally.mishaps), key=lambda each: -each.at)
        return JobView(
            job=row.job,
            state=row.state,
            stop=row.stop,
            generation=row.generation,
            at=now,
            created_at=row.created_at,
            queries=self._queries,
            statuses=dict(statuses),
            batches=row.batches,
            committed=row.committed,
            under_way=len(activity.under_way),
            workers=dict(Counter(each.owner for each in activity.under_way)),
            accounts=accounts,
            tiers=[await self._tier(tier, commits, activity) for tier in self._ladder],
            mishaps=mishaps[:MISHAPS],
            audit=await self._audit(pinned, row),
            rate=rate,
            spending=spending,
        )

    async def _row(self) -> JobRow:
        row = await self._services.ledger.job(self._job)
        if row is None:
            raise UnknownJob(job=self._job)
        return row

    async def _manifest(self, row: JobRow) -> manifest.Manifest:
        storage = self._services.storage
        if self._pinned is None:
            try:
                self._pinned = manifest.decode(await storage.read(lake.manifest(self._job)))
            except NoSuchObject:
                raise UnknownJob(job=self._job) from None
            self._ladder = self._pinned.job_spec().tiers
        if row.generation != self._generation:
            self._generation = row.generation
            self._commits.clear()
            self._seen.clear()
            self._queries = self._pinned.queries if row.generation == 1 else await self._resumed(row)
        return self._pinned

    async def _resumed(self, row: JobRow) -> int:
        """Queries of a later generation: its batches are full but for the last, after which audits may stand."""

        async def rows(batch: int) -> int:
            key = lake.batch_file(row.job, row.generation, BatchIndex(batch))
            data = await self._services.storage.read(key)
            return int(pq.ParquetFile(io.BytesIO(data)).metadata.num_rows)

        ends = sorted({0, *range(row.batches - 3, row.batches)} & set(range(row.batches)))
        counted = {batch: await rows(batch) for batch in ends}
        return sum(counted.values()) + counted[0] * (row.batches - len(counted))

    async def _committed(self, row: JobRow) -> list[Commit]:
        """Commits are immutable: each is read once, and looked for when the ledger counts more."""
        if row.committed > len(self._commits):
            storage = self._services.storage
            keys = await storage.list(lake.commits(self._job, row.generation))
            fresh = [key for key in keys if key not in self._commits]
            self._commits.update(zip(fresh, await read_each(storage, fresh), strict=True))
        return list(self._commits.values())

    async def _accounts(self, name: AccountId) -> list[Account]:
        """The account, its parents, theirs."""
        found: list[Account] = []
        names = [name]
        for each in names:  # which grows meanwhile
            account = await self._services.ledger.account(each)
            assert account is not None  # a job is entered after its account, an account after its parents
            found.append(account)
            names += [parent for parent in account.parents if parent not in names]
        return found

    def _rates(self, now: int, done: int, spent: int) -> tuple[float | None, float | None]:
        self._seen.append((now, done, spent))
        while self._seen[0][0] < now - SPAN_MS and len(self._seen) > 2:
            self._seen.popleft()
        since, done_then, spent_then = self._seen[0]
        passed = now - since
        if passed < LEAST_MS:
            return None, None
        minutes = passed / 60_000
        return max(0, done - done_then) / minutes, max(0, spent - spent_then) / minutes

    async def _tier(self, tier: Tier, commits: Sequence[Commit], activity: Activity) -> TierView:
        name = TierName(tier.name)
        noted = {
            each.batch: (each.owner, each.tally.tiers.get(name, TierTally()))
            for each in activity.under_way
            if each.tally
        }
        pending = [noted[batch][1] for batch in noted.keys() - {commit.batch for commit in commits}]
        windows = {owner: tally.window for owner, tally in noted.values()}  # a process has one pace a job
        latencies = sorted(tally.latency_ms for _, tally in noted.values() if tally.latency_ms)
        row = await self._services.ledger.pacing(allowed_of(tier).upstream)
        down = row.parked_at if row else 0
        return TierView(
            tier=name,
            asked=sum(each.asked for each in pending) + sum(each.asked.get(name, 0) for each in commits),
            answered=sum(each.stood for each in pending) + sum(each.tiers.get(name, 0) for each in commits),
            held=activity.held.get(name, 0),
            window=sum(windows.values()),
            latency_ms=latencies[len(latencies) // 2] if latencies else 0,
            limited=row.limited if row else 0,
            calls_a_minute=rate_of(row) if row else 0,
            down_since=down,
            problem=row.problem if row and down else "",
        )

    async def _audit(self, pinned: manifest.Manifest, row: JobRow) -> AuditView | None:
        if pinned.draw is None:
            return None
        ruling = await read_ruling(self._services.storage, pinned.job, row.generation)
        if ruling is None:
            rows = pinned.draw.pilot + pinned.draw.audit
            return AuditView(kind="open", said=f"{rows:,} rows are being asked of every tier", plan=None)
        plan = ruling.plan
        said = f"the job runs under {' > '.join(plan.tiers)}" if plan else ruling.reason or "done"
        return AuditView(kind=ruling.kind, said=said, plan=ruling.version if plan else None)


class JobsWatch:
    """Looks at all jobs; those that are closed are not looked into."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open: dict[JobId, JobWatch] = {}
        self._closed: dict[tuple[JobId, int], Account | None] = {}

    async def look(self) -> list[JobLine]:
        """What runs first, then the latest first."""
        rows = await self._services.ledger.jobs()
        rows.sort(key=lambda row: (row.state == "closed", -row.created_at))
        running = [row for row in rows if row.state != "closed"]
        self._open = {
            row.job: self._open.get(row.job) or JobWatch(self._services, row.job) for row in running
        }
        return [await self._line(row, place - len(running)) for place, row in enumerate(rows)]

    async def _line(self, row: JobRow, place: int) -> JobLine:
        if place < 0:
            try:
                view = await self._open[row.job].look()
            except UnknownJob:  # its ledger is shared, its lake is another
                return JobLine(row=row, account=await self._services.ledger.account(row.account), view=None)
            return JobLine(row=row, account=view.accounts[0], view=view)
        key = (row.job, row.generation)
        if key not in self._closed and place < CLOSED:
            self._closed[key] = await self._services.ledger.account(row.account)
        return JobLine(row=row, account=self._closed.get(key), view=None)
