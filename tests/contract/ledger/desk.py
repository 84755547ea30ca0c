"""What the ledger's tests have at hand: a job under a budget, batches leased, calls drawn."""

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.ports.ledger import CallRow, Held, Intent, Ledger, Settlement
from schemas.ids import (
    AccountId,
    BatchIndex,
    CallId,
    Generation,
    JobId,
    Nano,
    QueryId,
    TierName,
)
from schemas.money import Usage
from schemas.records import Lease, Outcome, Pin

USD = 10**9
TTL = 60_000
PIN = Pin(policy_version="ladder@1", price_of_money=0.5, seed=7)


@dataclass
class Desk:
    """One job of one ledger, with shorthands."""

    ledger: Ledger
    job: JobId
    account: AccountId
    now: int = 1_000_000
    drawn: "itertools.count[int]" = field(default_factory=itertools.count)

    async def open(self, cap: float = 5.0, batches: int = 3, parent: AccountId | None = None) -> "Desk":
        await self.ledger.open_account(self.account, nano(cap), *([parent] if parent else []))
        await self.ledger.create_job(
            self.job, name="mails", account=self.account, batches=batches, now=self.now
        )
        return self

    async def lease(self, batch: int = 0, owner: str = "worker-1", generation: int = 1) -> Lease:
        leased = await self.ledger.lease_batch(
            self.job,
            Generation(generation),
            BatchIndex(batch),
            owner=owner,
            pin=PIN,
            now=self.now,
            ttl_ms=TTL,
        )
        assert isinstance(leased, Lease), leased
        return leased

    def intent(
        self,
        lease: Lease,
        usd: float = 0.1,
        *,
        request: str | None = None,
        query: str | None = None,
        call: str | None = None,
        attempt: int = 1,
        sample: int = 0,
        tier: str = "small",
    ) -> Intent:
        number = next(self.drawn)
        return Intent(
            call_id=CallId(call or f"{self.job}-{number}"),
            lease=lease,
            account=self.account,
            query_id=QueryId(query or f"q{number}"),
            tier=TierName(tier),
            model="small-2026",
            request_hash=hash_of(request or f"{self.job} {number}"),
            amount=nano(usd),
            attempt=attempt,
            sample=sample,
        )

    async def held(self, lease: Lease, usd: float = 0.1, **given: object) -> Held:
        answer = await self.ledger.hold(self.intent(lease, usd, **given))  # type: ignore[arg-type]
        assert isinstance(answer, Held), answer
        return answer

    async def money(self, account: str | None = None) -> tuple[float, float, float]:
        """Spent, held, presumed in USD."""
        row = await self.ledger.account(AccountId(account or self.account))
        assert row is not None
        return row.spent / USD, row.held / USD, row.presumed / USD

    async def rows(self, generation: int = 1) -> dict[str, CallRow]:
        return {row.call_id: row for row in await self.ledger.calls(self.job, Generation(generation))}


def nano(usd: float) -> Nano:
    return Nano(round(usd * USD))


def hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def ended(
    held: Held | CallId, usd: float = 0.1, outcome: Outcome = "ok", *, presumed: bool = False
) -> Settlement:
    """A settlement; complete outcomes come with a body."""
    complete = outcome in ("ok", "truncated", "malformed", "refused")
    call_id = held.call_id if isinstance(held, Held) else held
    return Settlement(
        call_id=call_id,
        outcome=outcome,
        cost=nano(usd),
        body=f"reply to {call_id}".encode() if complete else None,
        usage=Usage(input=11, cached_input=2, cache_write=3, output=5, reasoning=7),
        presumed=presumed,
        finish_reason="stop" if complete else "",
        latency_ms=120,
        sent_at=1_000_001,
    )


def total(rows: Iterable[CallRow]) -> tuple[float, float, float]:
    """Spent, held, presumed in USD, as the rows of the journal add up."""
    listed = list(rows)
    spent = sum(row.cost for row in listed)
    held = sum(row.held for row in listed if row.outcome is None)
    presumed = sum(row.cost for row in listed if row.presumed)
    return spent / USD, held / USD, presumed / USD
