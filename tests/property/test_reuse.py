"""An earlier answer is used again exactly when everything that could have shaped it is the same."""

import asyncio
from itertools import count
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cascade.call import Caller, Rung
from pipeline.cascade.pace import Pace
from pipeline.history.journal import JournalHistory
from pipeline.ledger.memory import MemoryLedger
from pipeline.providers.openai import OpenAIProvider
from pipeline.wiring.tiers import allowed_of
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano, QueryId, TierName
from schemas.job import OpenAITier
from schemas.money import FREE
from schemas.records import Lease, Pin, Reply, Request

REPLY = msgspec.json.encode(
    {
        "choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
)
asked = st.fixed_dictionaries(
    {
        "base_url": st.sampled_from(["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]),
        "model": st.sampled_from(["m", "m2"]),
        "extra": st.sampled_from([{}, {"top_p": 0.5}, {"temperature": 1.0}]),
        "structured": st.sampled_from(["json_schema", "none"]),
        "system": st.sampled_from(["s", "s2"]),
        "user": st.sampled_from(["doc", "doc ", "Doc"]),
        "schema": st.sampled_from([{"type": "object"}, {"type": "object", "properties": {}}]),
        "max_output_tokens": st.sampled_from([5, 6]),
        "logprobs": st.booleans(),
    }
)


class Answering(OpenAIProvider):
    """Sends nothing; counts what it would have sent."""

    sent = 0

    async def send(self, body: bytes, key: CallId) -> Reply:
        self.sent += 1
        return Reply(status=200, body=REPLY)


async def ask(ledger: MemoryLedger, job: str, name: str, said: dict[str, Any], sample: int) -> int:
    """One call of a job; how often it was sent."""
    account = AccountId(f"job/{job}")
    await ledger.open_account(account, Nano(10**9))
    await ledger.create_job(JobId(job), name=job, account=account, batches=1, now=0)
    lease = await ledger.lease_batch(
        JobId(job), Generation(1), BatchIndex(0), owner="me", pin=Pin(policy_version="p"), now=0, ttl_ms=10
    )
    assert isinstance(lease, Lease)
    tier = OpenAITier(
        name=name, provider="openai", model=said["model"], base_url=said["base_url"], api_key_env=None
    )
    provider = Answering(
        tier=name, model=said["model"], base_url=said["base_url"], api_key_env=None, price=FREE,
        http=None, structured=said["structured"], logprobs=True, extra_body=said["extra"],  # type: ignore[arg-type]
    )  # fmt: skip
    ids = count()
    caller = Caller(
        ledger=ledger, lease=lease, account=account,
        clock=lambda: 1000, new_id=lambda: CallId(f"{job}-{next(ids)}"), random=lambda: 0.0, share=True,
        lease_until=2**62, history=JournalHistory(ledger, JobId(job), 0),
    )  # fmt: skip
    pace = Pace(TierName(name), allowed_of(tier), ledger, lambda: 1000)
    rung = Rung(
        name=TierName(name), provider=provider, pace=pace, trust=0.7, retries=0, logprobs=True,
        max_output_tokens=None, room=10**6,
    )  # fmt: skip
    request = Request(
        system=said["system"], user=said["user"], schema=said["schema"],
        max_output_tokens=said["max_output_tokens"], logprobs=said["logprobs"], query_id=QueryId(job),
    )  # fmt: skip
    answered = await caller.ask(rung, request, QueryId(job), sample=sample)
    assert answered.completion is not None
    assert answered.reused == (provider.sent == 0)
    await pace.close()
    return provider.sent


@settings(max_examples=150, deadline=None)
@given(monday=asked, changes=st.lists(st.sampled_from(sorted([
    "base_url", "model", "extra", "structured", "system", "user", "schema", "max_output_tokens", "logprobs"
])), max_size=1), tuesday=asked, samples=st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 1), (0, 1)]))  # fmt: skip
def test_reused_when_all_is_equal_and_only_then(
    monday: dict[str, Any], changes: list[str], tuesday: dict[str, Any], samples: tuple[int, int]
) -> None:
    # Given two nights that differ in nothing or in a few things, the tier's and the job's names aside
    tuesday = {**monday, **{name: tuesday[name] for name in changes}}

    async def play() -> tuple[int, int]:
        ledger = MemoryLedger(clock=lambda: 1000)
        first = await ask(ledger, "monday", "t", monday, samples[0])
        return first, await ask(ledger, "tuesday", "other", tuesday, samples[1])

    # Then the second pays unless they are equal; schemas count only where they are sent, samples never are reused
    first, second = asyncio.run(play())
    same = {**monday, "schema": None} == {**tuesday, "schema": None} and (
        monday["schema"] == tuesday["schema"] or monday["structured"] == "none"
    )
    assert (first, second) == (1, 0 if same and samples == (0, 0) else 1)
