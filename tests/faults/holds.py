"""`python -m tests.faults.holds LEDGER_URL N`: N holds and settlements, one after the other, for strace to watch."""

import asyncio
import sys
import time

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Held, Intent, Settlement
from schemas.ids import AccountId, BatchIndex, CallId, Generation, JobId, Nano, QueryId, TierName
from schemas.records import Lease, Pin

JOB, ACCOUNT, ONE = JobId("holds"), AccountId("job/holds"), Generation(1)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def main(url: str, count: int) -> None:
    """Each is durable before the next is asked for: the marks on standard output stand between them."""
    ledger = open_ledger(url, clock=wall_ms)
    await ledger.open_account(ACCOUNT, Nano(10**12))
    await ledger.create_job(JOB, name="holds", account=ACCOUNT, batches=1, now=wall_ms())
    lease = await ledger.lease_batch(
        JOB, ONE, BatchIndex(0), owner="holds", pin=Pin(policy_version="p"), now=wall_ms(), ttl_ms=600_000
    )
    assert isinstance(lease, Lease)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in range(count):
        held = await ledger.hold(_intent(lease, number))
        assert isinstance(held, Held)
        sys.stdout.write(f"held {number}\n")
        sys.stdout.flush()
        await ledger.settle(Settlement(call_id=held.call_id, outcome="ok", cost=Nano(1), body=b"{}"))
        sys.stdout.write(f"settled {number}\n")
        sys.stdout.flush()
    await ledger.close()


def _intent(lease: Lease, number: int) -> Intent:
    return Intent(
        call_id=CallId(f"c{number}"),
        lease=lease,
        account=ACCOUNT,
        query_id=QueryId(f"q{number}"),
        tier=TierName("t"),
        model="m",
        request_hash=number.to_bytes(16),
        amount=Nano(10),
        attempt=1,
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
