"""A small job in this process, on the in-memory ledger and lake: a scripted provider with a meter of its own,
a clock that is moved by hand, and processes that die at a chosen moment."""

import asyncio
import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq

from pipeline.audit.drawn import write_drawn
from pipeline.cascade.pace import Pace
from pipeline.cascade.rung import Rung
from pipeline.certify.draw import Draw
from pipeline.ingest import write_audit_batch, write_batch
from pipeline.ledger.memory import MemoryLedger
from pipeline.ports.ledger import Account, CallRow, JobRow, Ledger, Settlement
from pipeline.ports.storage import Storage
from pipeline.providers.http import HttpClient
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.views import prepare_lake
from pipeline.wiring.tiers import ENCODER
from pipeline.wiring.work import open_work
from pipeline.work import Services, Timing, Work
from schemas import lake, manifest
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano, QueryId, TierName
from schemas.job import JobSpec, Quality
from schemas.manifest import Manifest
from schemas.money import FREE, Usage
from schemas.records import Completion, Query, Reply, Request

JOB, ACCOUNT = JobId("j"), AccountId("job/j")
BOUND = 100  # nano-dollars a call is held for
LEASE_MS = 60_000
USD = 10**9
VECTOR = np.full(4, 0.5, dtype=np.float32).tobytes()
ENCODED = {  # a policy that learns by an endpoint's embeddings
    "name": "thompson",
    "encoder": {"provider": "openai", "model": "e", "price": {"input": "1"}, "dimensions": 4, "retries": 2},
}
Tiers = int | list[dict[str, Any]]


class Died(BaseException):
    """The process of this operation is gone: whatever it still tries fails."""


@dataclass
class Said:
    """What the provider does with a request."""

    kind: str = "ok"  # ok, silent (states no usage), malformed, cut, server_error, rate_limited, unreachable
    cost: int = 40  # nano-dollars it bills, where it bills

    def reply(self, label: str) -> Reply:
        match self.kind:
            case "cut":
                return Reply(status=0, complete=False, error="cut")
            case "server_error":
                return Reply(status=500, error="HTTP 500")
            case "rate_limited":
                return Reply(status=429, retry_after_s=0.0)
            case "unreachable":
                return Reply(status=0, sent=False, complete=False, error="refused")
        finish, text = ("malformed", "") if self.kind == "malformed" else ("stop", label)
        cost = None if self.kind == "silent" else self.cost
        return Reply(
            status=200, body=msgspec.json.encode({"text": text, "finish": finish, "cost": cost}), latency_ms=1
        )

    @property
    def billed(self) -> int:
        return 0 if self.kind in ("rate_limited", "unreachable") else self.cost


@dataclass
class Meter:
    """The provider's own books, shared by all processes of a test."""

    script: Callable[[int], Said] = lambda number: Said()  # by the number of the request
    look: Callable[[], Any] | None = None  # awaited at every request, after it was billed
    gate: asyncio.Event | None = None  # replies wait for it
    lines: dict[CallId, int] = field(default_factory=dict)
    events: list[tuple[str, CallId]] = field(default_factory=list)  # sent, settled: in their order
    excess: int = 0  # billed over the bound

    @property
    def total(self) -> int:
        return sum(self.lines.values())


class Scripted:
    """One tier as one process sees it."""

    model, local = "m", False

    def __init__(self, meter: Meter, process: "Process", label: str) -> None:
        self._meter, self._process, self._label = meter, process, label

    def check(self) -> None: ...

    def encode(self, request: Request) -> bytes:
        return f"{request.system}\n{request.user}".encode()

    def bound(self, request: Request) -> Nano:
        return Nano(BOUND)

    async def send(self, body: bytes, key: CallId) -> Reply:
        await self._process.step("send")
        meter = self._meter
        meter.events.append(("sent", key))
        said = meter.script(sum(event == "sent" for event, _ in meter.events) - 1)
        assert key not in meter.lines
        meter.lines[key] = said.billed
        meter.excess += max(0, said.billed - BOUND)
        if meter.look:
            await meter.look()
        await self._process.step("billed")
        if meter.gate:
            await meter.gate.wait()
        return said.reply(self._label)

    def read(self, body: bytes) -> Completion:
        said = msgspec.json.decode(body)
        usage = None if said["cost"] is None else Usage(input=said["cost"])
        return Completion(text=said["text"], finish_reason=said["finish"], usage=usage)

    def cost(self, completion: Completion) -> Nano | None:
        return None if completion.usage is None else Nano(completion.usage.input)

    async def close(self) -> None: ...


class ScriptedEncoder(Scripted):
    """Makes the same of every text."""

    model = "e"

    def read(self, body: bytes) -> Completion:
        completion = super().read(body)
        return msgspec.structs.replace(completion, vector=VECTOR if completion.text else b"")


class Process:
    """Counts the steps of one process and lets it die, or be cancelled, at a chosen one."""

    def __init__(self, *, dies_at: int | str | None = None, cancelled_at: int | None = None) -> None:
        self._dies_at, self._cancelled_at = dies_at, cancelled_at
        self.steps = 0
        self.dead = False
        self.runner: asyncio.Task[Any] | None = None

    async def step(self, name: str) -> None:
        """A moment at which something may happen; before and after each operation on the outside."""
        await asyncio.sleep(0)
        self.steps += 1
        if self._dies_at in (self.steps, name):
            self.dead = True
        if self.runner and (self._cancelled_at == self.steps or self.dead):
            self.runner.cancel()
        if self.dead:
            raise Died(name)


class FastPace(Pace):
    look_ms = 1


class StepLedger:
    """A ledger between whose operations a process may die."""

    def __init__(self, ledger: Ledger, process: Process, meter: Meter) -> None:
        self._ledger, self._process, self._meter = ledger, process, meter

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._ledger, name)
        if not asyncio.iscoroutinefunction(operation):
            return operation

        async def stepped(*given: Any, **named: Any) -> Any:
            await self._process.step(f"before {name}")
            answer = await operation(*given, **named)
            if name == "settle":
                self._note(given[0])
            await self._process.step(f"after {name}")
            return answer

        return stepped

    def _note(self, settlement: Settlement) -> None:
        if settlement.body is not None:
            self._meter.events.append(("settled", settlement.call_id))


class StepStorage(MemoryStorage):
    """A lake, shared by its objects, between whose writes a process may die."""

    def __init__(self, objects: dict[str, bytes], process: Process) -> None:
        super().__init__()
        self.objects, self._process = objects, process

    async def write(self, key: str, data: bytes) -> None:
        await self._process.step(f"before {key}")
        await super().write(key, data)
        await self._process.step(f"after {key}")

    async def create(self, key: str, data: bytes) -> bool:
        await self._process.step(f"before {key}")
        created = await super().create(key, data)
        await self._process.step(f"after {key}")
        return created


@dataclass
class Desk:
    """One job with its ledger, its lake and the provider's meter."""

    meter: Meter = field(default_factory=Meter)
    ledger: Ledger = field(default_factory=MemoryLedger)
    objects: dict[str, bytes] = field(default_factory=dict)
    now: int = 1_000_000
    timing: Timing = field(default_factory=lambda: Timing(lease=LEASE_MS))
    _looks: int = 0
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def open(
        self, batches: Sequence[Sequence[str]], *, cap: int = 10**9, tiers: Tiers = 1, **changes: Any
    ) -> "Desk":
        """Batches of texts; ids are q0, q1, … in their order. With `quality`, its draw and the batch of its audit."""
        storage = StepStorage(self.objects, Process())
        await prepare_lake(storage)
        ids = (QueryId(f"q{number}") for number in count())
        spec = job_spec(tiers, **changes)
        use = spec.quality
        draw = Draw[Query](b"key", use.pilot, use.audit) if use else Draw[Query](b"key", 0, 0)
        for index, texts in enumerate(batches):
            queries = [Query(query_id=next(ids), text=text) for text in texts]
            await write_batch(storage, JOB, Generation(1), BatchIndex(index), queries)
            for query in queries:
                draw.offer(query.query_id, query)
        count_batches = len(batches)
        if use is not None:
            await write_drawn(storage, JOB, draw)
            await write_audit_batch(storage, JOB, Generation(1), BatchIndex(count_batches))
            count_batches += 1
        if use is not None and use.per_label is not None:
            await write_audit_batch(storage, JOB, Generation(1), BatchIndex(count_batches))
            count_batches += 1
        pinned = Manifest(
            job=JOB,
            spec=spec.model_dump(mode="json", by_alias=True),
            spec_hash="s",
            prompt_hash="p",
            policy_version="fixed-ladder@1",
            prices=dict.fromkeys([TierName(tier.name) for tier in spec.tiers] + [ENCODER], FREE),
            files={},
            account=ACCOUNT,
            created_at=self.now,
            queries=sum(map(len, batches)),
            rejected=0,
            batches=count_batches,
            draw=_pinned(use, draw) if use else None,
        )
        await storage.write(lake.manifest(JOB), manifest.encode(pinned))
        await self.ledger.open_account(ACCOUNT, Nano(cap))
        await self.ledger.create_job(JOB, name="j", account=ACCOUNT, batches=count_batches, now=self.now)
        return self

    async def start(self, process: Process | None = None, label: str = "a") -> Work:
        """The job as a new process opens it; its tiers answer `label`."""
        process = process or Process()
        number = next(self._numbers)
        calls = count(1)
        services = Services(
            ledger=StepLedger(self.ledger, process, self.meter),
            storage=StepStorage(self.objects, process),
            http=HttpClient(),
            clock=lambda: self.now,
            new_id=lambda: CallId(f"p{number}-c{next(calls)}"),
            random=lambda: 0.0,
            owner=f"process-{number}",
            timing=self.timing,
        )
        work = await open_work(services, JOB)

        def scripted(rung: Rung, kind: type[Scripted] = Scripted) -> Rung:
            pace = FastPace(rung.name, rung.pace.allowed, services.ledger, self._look)
            return msgspec.structs.replace(rung, provider=kind(self.meter, process, label), pace=pace)

        rungs = {name: scripted(rung) for name, rung in work.asking.rungs.items()}
        return replace(
            work,
            asking=msgspec.structs.replace(work.asking, rungs=rungs),
            slow=rungs[work.slow.name] if work.slow else None,
            encoder=scripted(work.encoder, ScriptedEncoder) if work.encoder else None,
        )

    def _look(self) -> int:
        """The clock of those who wait for a tier: it runs when it is looked at."""
        self._looks += 1
        return self.now + 200 * self._looks

    async def account(self) -> Account:
        account = await self.ledger.account(ACCOUNT)
        assert account is not None
        return account

    async def row(self) -> JobRow:
        row = await self.ledger.job(JOB)
        assert row is not None
        return row

    async def calls(self, generation: int = 1) -> Sequence[CallRow]:
        return await self.ledger.calls(JOB, Generation(generation))

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of the job's final table, as they lie in the lake."""
        rows: list[dict[str, Any]] = pq.read_table(
            io.BytesIO(self.objects[lake.final(name, JOB)])
        ).to_pylist()
        return rows

    @property
    def storage(self) -> Storage:
        return StepStorage(self.objects, Process())

    async def check_money(self) -> None:
        """I1 and I3 as they stand at this moment; what was billed over a bound is the exception they name."""
        metered = self.meter.total
        account = await self.account()
        assert metered <= account.spent + account.held + self.meter.excess
        assert account.spent + account.held <= account.cap + self.meter.excess

    async def check_closed(self, queries: int) -> None:
        """The books are right, and no request went out once it was answered."""
        await self.check_books(queries)
        await self.check_nothing_sent_again((await self.row()).generation)

    async def check_books(self, queries: int) -> None:
        """Closed: nothing held, one row a query, the same money by call, by item, by query, by account."""
        row, account = await self.row(), await self.account()
        assert (row.state, account.held) == ("closed", 0)
        assert self.meter.total <= account.spent + self.meter.excess
        found = [(result["query_id"], result["generation"]) for result in self.table("results")]
        assert sorted(found) == sorted((f"q{number}", row.generation) for number in range(queries))
        audit = 0
        if (await self.start()).spec.quality is not None:
            [certificate] = self.table("certificates")
            audit = int(certificate["audit_usd"] * USD)
        for name, beside in (("calls", 0), ("call_items", 0), ("results", audit)):
            assert sum(int(each["cost_usd"] * USD) for each in self.table(name)) + beside == account.spent, (
                name
            )
        [job] = self.table("jobs")
        assert int(job["spent_usd"] * USD) == account.spent

    async def check_nothing_sent_again(self, generations: int) -> None:
        """I5: once a complete reply is journalled, no equal request goes out."""
        every = [call for number in range(1, generations + 1) for call in await self.calls(number)]
        hashes = {call.call_id: call.request_hash for call in every}
        settled: set[bytes] = set()
        for event, call_id in self.meter.events:
            assert event == "settled" or hashes[call_id] not in settled, call_id
            if event == "settled":
                settled.add(hashes[call_id])


async def until_it_ends(process: Process, work: Callable[[], Any]) -> bool:
    """Run as this process; False when it died or was cancelled on the way."""
    process.runner = asyncio.ensure_future(work())
    with suppress(asyncio.CancelledError, Died):
        try:
            await process.runner
        except BaseExceptionGroup as group:
            if group.split((asyncio.CancelledError, Died))[1] is not None:
                raise
        else:
            return True
    return False


def tier(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": f"t{number}", "provider": "openai", "model": f"m{number}", "base_url": "http://127.0.0.1:1/v1",
        "api_key_env": None, "price": {"input": "1", "output": "1"}, "structured": "none",
        "accept": 1.0, "trust": 0.6, "retries": 2, "max_concurrency": 4, "patience_s": 0, **changes,
    }  # fmt: skip


def job_spec(tiers: Tiers = 1, **changes: Any) -> JobSpec:
    """Tiers t0, t1, … of which only the last is believed."""
    listed = [tier(number) for number in range(tiers)] if isinstance(tiers, int) else tiers
    return JobSpec.model_validate(
        {
            "name": "j",
            "task": {"kind": "classify", "instructions": "Classify.", "labels": ["a", "b"]},
            "input": {"path": str(Path("documents.csv"))},
            "tiers": listed,
            "budget": {"usd": "1"},
            **changes,
        }
    )


def _pinned(use: Quality, draw: Draw[Query]) -> manifest.Draw:
    return manifest.Draw(
        key=b"key".hex(), pilot=len(draw.pilot), audit=len(draw.audit),
        per_label=use.per_label.audit if use.per_label else None,
    )  # fmt: skip


def total(rows: Iterable[CallRow]) -> int:
    return sum(row.cost for row in rows)
