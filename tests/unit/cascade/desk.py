"""A scripted provider on the in-memory ledger: what was sent, held and paid can all be looked at."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from pipeline.cascade.call import Caller
from pipeline.cascade.limits import Allowed
from pipeline.cascade.pace import Pace
from pipeline.cascade.rung import Rung
from pipeline.ledger.memory import MemoryLedger
from pipeline.ports.ledger import Account, CallRow
from pipeline.wiring.services import now_ms
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano, QueryId, TierName
from schemas.money import Usage
from schemas.records import Completion, Lease, Pin, Reply, Request

JOB, ACCOUNT = JobId("j"), AccountId("job/j")
HOLD = 100  # nano-dollars a scripted call is held for


def ok(text: str = "a", cost: int | None = 40, **fields: Any) -> Reply:
    """A complete reply, in the scripted provider's own wire format."""
    said = {"text": text, "finish_reason": "stop", "cost": cost, **fields}
    return Reply(status=200, body=msgspec.json.encode(said), latency_ms=7)


def http(status: int, body: bytes = b"", **fields: Any) -> Reply:
    return Reply(status=status, body=body, **fields)


NOT_SENT = Reply(status=0, sent=False, complete=False, error="connection refused")
CUT = Reply(status=0, complete=False, error="timed out")


class Scripted:
    """Answers by its script, then as `after`; writes down every body it was sent."""

    def __init__(
        self, *script: Reply, after: Reply | None = None, local: bool = False, bound: int = HOLD
    ) -> None:
        self.model, self.local = "m", local
        self.script, self.after, self._bound = list(script), after, bound
        self.sent: list[dict[str, Any]] = []
        self.keys: list[CallId] = []
        self.before_send: Callable[[], Any] | None = None
        self.gate: asyncio.Event | None = None

    def check(self) -> None: ...

    def encode(self, request: Request) -> bytes:
        return msgspec.json.encode(
            {"user": request.user, "schema": request.schema is not None, "logprobs": request.logprobs}
        )

    def bound(self, request: Request) -> Nano:
        return Nano(self._bound)

    async def send(self, body: bytes, key: CallId) -> Reply:
        self.sent.append(msgspec.json.decode(body))
        self.keys.append(key)
        if self.before_send:
            await self.before_send()
        if self.gate:
            await self.gate.wait()
        if self.script:
            return self.script.pop(0)
        assert self.after is not None, "more calls than the script has replies"
        return self.after

    def read(self, body: bytes) -> Completion:
        said = msgspec.json.decode(body)
        usage = None if said["cost"] is None else Usage(input=said["cost"])
        return Completion(
            text=said["text"],
            finish_reason=said["finish_reason"],
            usage=usage,
            confidence=said.get("confidence"),
        )

    def cost(self, completion: Completion) -> Nano | None:
        return None if completion.usage is None else Nano(completion.usage.input)

    async def close(self) -> None: ...


class Desk:
    """One job with one leased batch and a budget."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger(clock=lambda: 1000)
        self.ids = (CallId(f"c{number}") for number in count(1))
        self.lease: Lease
        self.caller: Caller

    @classmethod
    async def open(cls, cap: int = 10_000, share: bool = True) -> "Desk":
        desk = cls()
        await desk.ledger.open_account(ACCOUNT, Nano(cap))
        await desk.ledger.create_job(JOB, name="j", account=ACCOUNT, batches=1, now=0)
        await desk.take(share)
        return desk

    async def take(self, share: bool = True, now: int = 0) -> Caller:
        lease = await self.ledger.lease_batch(
            JOB, Generation(1), BatchIndex(0), owner="me", pin=Pin(policy_version="p"), now=now, ttl_ms=10
        )
        assert isinstance(lease, Lease)
        self.lease = lease
        self.caller = Caller(
            ledger=self.ledger,
            lease=lease,
            account=ACCOUNT,
            clock=lambda: 1000,
            new_id=lambda: next(self.ids),
            random=lambda: 0.0,
            share=share,
            lease_until=2**62,
        )
        return self.caller

    async def account(self) -> Account:
        account = await self.ledger.account(ACCOUNT)
        assert account is not None
        return account

    async def calls(self) -> list[CallRow]:
        return sorted(await self.ledger.calls(JOB, Generation(1)), key=lambda call: int(call.call_id[1:]))


def rung(
    provider: Scripted,
    name: str = "t",
    retries: int = 2,
    slots: int = 8,
    room: int = 10**6,
    trust: float = 0.7,
    pace: Pace | None = None,
) -> Rung:
    return Rung(
        name=TierName(name),
        provider=provider,
        pace=pace or Pace(TierName(name), Allowed(upstream=name, most=slots), MemoryLedger(), now_ms),
        trust=trust,
        retries=retries,
        logprobs=True,
        max_output_tokens=None,
        room=room,
    )


def request(user: str = "doc", query: str = "q", schema: bool = True) -> Request:
    return Request(
        system="s",
        user=user,
        schema={"type": "object"} if schema else None,
        max_output_tokens=5,
        logprobs=True,
        query_id=QueryId(query),
    )
