"""I1: for every account, spent + held <= cap at any instant, and every balance is the sum of the journal."""

import asyncio
import tempfile
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import CallRow, Denied, Held, Intent, Known, Ledger, Settlement
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano, QueryId, TierName
from schemas.records import Lease, Outcome, Pin

TTL = 100
JOBS = (JobId("left"), JobId("right"))
TREE = {"team": (60, None), "left": (40, "team"), "right": (50, "team")}

hold = st.tuples(st.just("hold"), st.integers(0, 1), st.integers(0, 30), st.integers(0, 5))
outcomes = st.sampled_from(["ok", "refused", "rejected", "rate_limited", "unreachable", "presumed"])
settle = st.tuples(st.just("settle"), st.integers(0, 40), outcomes, st.integers(0, 100))
lease = st.tuples(st.just("lease"), st.integers(0, 1))
presume = st.tuples(st.just("presume"), st.integers(0, 1))
cancel = st.tuples(st.just("go away"), st.integers(0, 40))
moves = st.lists(st.one_of(hold, hold, hold, settle, settle, lease, presume, cancel), min_size=1, max_size=25)


class Play:
    """Runs moves against a ledger and looks at the money after each."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now = 1000
        self.leases: dict[JobId, Lease] = {}
        self.intents: list[Intent] = []
        self.tasks: list[asyncio.Task[Held | Known | Denied]] = []

    async def open(self) -> None:
        for account, (cap, parent) in TREE.items():
            await self.ledger.open_account(
                AccountId(account), Nano(cap), *([AccountId(parent)] if parent else [])
            )
        for job in JOBS:
            await self.ledger.create_job(job, name=job, account=AccountId(job), batches=1, now=0)
            await self.lease(job)

    async def lease(self, job: JobId) -> None:
        self.now += TTL
        leased = await self.ledger.lease_batch(
            job,
            Generation(1),
            BatchIndex(0),
            owner="worker",
            pin=Pin(policy_version="1"),
            now=self.now,
            ttl_ms=TTL,
        )
        assert isinstance(leased, Lease)
        self.leases[job] = leased

    async def move(self, kind: str, number: int, *given: Any) -> None:
        if kind == "hold":
            self.ask(JOBS[number], *given)
        elif kind == "lease":
            await self.lease(JOBS[number])
        elif kind == "presume":
            await self.ledger.presume(JOBS[number], Generation(1))
        elif self.intents:
            await self.end(kind, number % len(self.intents), *given)
        await asyncio.sleep(0.002)

    def ask(self, job: JobId, amount: int, request: int) -> None:
        intent = Intent(
            call_id=CallId(f"call {len(self.intents)}"),
            lease=self.leases[job],
            account=AccountId(job),
            query_id=QueryId(f"q{request}"),
            tier=TierName("small"),
            model="small",
            request_hash=bytes([request]),
            amount=Nano(amount),
            attempt=1,
        )
        self.intents.append(intent)
        asked: Coroutine[Any, Any, Held | Known | Denied] = self.ledger.hold(intent)
        self.tasks.append(asyncio.create_task(asked))

    async def end(self, kind: str, number: int, outcome: Outcome = "ok", share: int = 0) -> None:
        task, intent = self.tasks[number], self.intents[number]
        if kind == "go away":
            task.cancel()
        elif task.done() and not task.cancelled() and isinstance(task.result(), Held):
            billed = outcome in ("ok", "refused")
            within = await self.ledger.settle(
                Settlement(
                    call_id=intent.call_id,
                    outcome=outcome,
                    cost=Nano(intent.amount * share // 100 if billed else 0),
                    body=b"reply" if billed else None,
                    presumed=outcome == "presumed",
                )
            )
            assert within

    async def look(self) -> None:
        """The journal and the accounts are read apart, so first let what is under way end."""
        await self.settle_down()
        rows = [row for job in JOBS for row in await self.ledger.calls(job, Generation(1))]
        for account in TREE:
            row = await self.ledger.account(AccountId(account))
            assert row is not None
            assert row.spent + row.held <= row.cap
            assert min(row.spent, row.held, row.presumed) >= 0
            below = [each for each in rows if account in (each.job, "team")]
            assert (row.spent, row.held, row.presumed) == sums(below)
        keys = [(row.job, row.query_id, row.tier, row.sample, row.attempt) for row in rows]
        assert len(set(keys)) == len(keys)
        flying = [(row.job, row.request_hash) for row in rows if row.outcome is None]
        assert len(set(flying)) == len(flying)

    async def settle_down(self) -> None:
        """One round trip more than any hold that can be granted by now."""
        for _ in range(2):
            await self.ledger.probe()
            await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.ledger.close()


def sums(rows: Sequence[CallRow]) -> tuple[int, int, int]:
    return (
        sum(row.cost for row in rows),
        sum(row.held for row in rows if row.outcome is None),
        sum(row.cost for row in rows if row.presumed),
    )


async def play(url: str, script: list[tuple[Any, ...]]) -> None:
    table = Play(open_ledger(url, lambda: table.now))
    await table.open()
    try:
        for move in script:
            await table.move(*move)
            await table.look()
    finally:
        await table.stop()


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
@settings(max_examples=40, deadline=None)
@given(script=moves)
def test_no_account_ever_passes_its_cap_and_the_books_agree(
    scheme: str, script: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = "memory://" if scheme == "memory" else f"sqlite:///{folder}/ledger.db"
        asyncio.run(play(url, script))
