"""Four processes on one ledger under a tight cap: never above it, and every cent in its place."""

import asyncio
import multiprocessing
import random
import time
import uuid

from pipeline.ledger.sql.ledger import SqlLedger
from pipeline.ports.ledger import Denied, Known
from schemas.ids import AccountId, JobId
from tests.contract.ledger.desk import USD, Desk, ended, total

PROCESSES, CALLERS, CALLS = 4, 16, 12
CAP = 12.0


def worker(url: str, name: str, number: int, results: "multiprocessing.Queue[tuple[int, int, int]]") -> None:
    results.put(asyncio.run(_spend(url, name, number)))


async def _spend(url: str, name: str, number: int) -> tuple[int, int, int]:
    """Calls paid, shared and denied by this process; of each ten, three ask what the other processes ask."""
    ledger = SqlLedger(url)
    desk = Desk(ledger, JobId(name), AccountId(name))
    lease = await desk.lease(number, owner=f"worker-{number}")
    dice = random.Random(number)
    paid = shared = denied = 0

    async def caller(slot: int) -> None:
        nonlocal paid, shared, denied
        for turn in range(CALLS):
            common = dice.random() < 0.3
            request = f"common {turn}" if common else f"{number} {slot} {turn}"
            intent = desk.intent(lease, 0.1, request=request, call=uuid.uuid4().hex)
            answer = await ledger.hold(intent)
            if isinstance(answer, Denied):
                assert answer.reason == "exhausted", answer
                denied += 1
            elif isinstance(answer, Known):
                shared += 1
            else:
                await asyncio.sleep(dice.random() * 0.01)
                await ledger.settle(ended(answer, 0.05))
                paid += 1

    await asyncio.gather(*map(caller, range(CALLERS)))
    await ledger.close()
    return paid, shared, denied


async def test_four_processes_never_pass_the_cap(durable_url: str, name: str) -> None:
    # Given $12 and four processes that would spend $38.40
    ledger = SqlLedger(durable_url)
    desk = await Desk(ledger, JobId(name), AccountId(name)).open(CAP, batches=PROCESSES)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, int, int]] = context.Queue()
    workers = [
        context.Process(target=worker, args=(durable_url, name, number, results)) for number in range(PROCESSES)
    ]
    for process in workers:
        process.start()
    # When they run, then spent + held is within the cap at every look
    deadline = time.monotonic() + 60
    while any(process.is_alive() for process in workers) and results.qsize() < PROCESSES:
        account = await ledger.account(AccountId(name))
        assert account is not None
        assert account.spent + account.held <= account.cap
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    told = [await asyncio.to_thread(results.get, True, 10) for _ in workers]
    for process in workers:
        await asyncio.to_thread(process.join, 10)
        assert process.exitcode == 0
    # and in the end what was paid, what was journalled and what the account says agree to the cent
    paid, shared, denied = (sum(column) for column in zip(*told, strict=True))
    assert paid + shared + denied == PROCESSES * CALLERS * CALLS
    rows = await desk.rows()
    assert await desk.money() == total(rows.values())
    account = await ledger.account(AccountId(name))
    assert account is not None
    assert (account.spent, account.held) == (paid * USD // 20, 0)
    assert denied
    assert CAP * USD - account.spent < USD // 10
    # and no request was answered twice
    hashes = [row.request_hash for row in rows.values()]
    assert len(set(hashes)) == len(hashes) == paid
    await ledger.close()


