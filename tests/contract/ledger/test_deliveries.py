"""Webhooks to deliver in every ledger: one for each generation, until it is taken."""

import msgspec

from pipeline.ports.deliveries import Delivery
from pipeline.ports.ledger import Ledger
from schemas.ids import Generation, JobId


def delivery(name: str, generation: int = 1, **changes: object) -> Delivery:
    made = Delivery(
        job=JobId(name),
        generation=Generation(generation),
        url="http://127.0.0.1/hook",
        secret_env="HOOK_SECRET",
        message=f"msg_{name}{generation}",
        body='{"é": 1}',
        created_at=5,
    )
    return msgspec.structs.replace(made, **changes)


async def test_one_for_each_generation_waits_until_it_is_taken(ledger: Ledger, name: str) -> None:
    deliveries = ledger.deliveries

    async def due(now: int) -> list[Delivery]:
        return [each for each in await deliveries.due(now) if each.job == name]

    # Given one of each of two generations, the first put down twice
    await deliveries.put(delivery(name))
    await deliveries.put(delivery(name, body="another"))
    await deliveries.put(delivery(name, 2))
    assert await due(0) == [delivery(name), delivery(name, 2)]
    # When the first fails, then it is due again later
    failed = delivery(name, attempts=3, next_at=70, note="the receiver answered 500")
    await deliveries.note(failed)
    assert await due(69) == [delivery(name, 2)]
    assert await due(70) == [delivery(name, 2), failed]
    # When both have ended, then nothing is due, and they stay as they ended
    ends = [delivery(name, state="delivered", attempts=4), delivery(name, 2, state="given_up", note="410")]
    for end in ends:
        await deliveries.note(end)
    await deliveries.note(failed)
    assert await due(10**15) == []
    assert await deliveries.of(JobId(name)) == ends
