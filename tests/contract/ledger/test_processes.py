"""Four processes, two jobs, one team with a tight cap: never above it, and every cent in its place."""

import asyncio
import multiprocessing
import random
import time
import uuid

from pipeline.ledger.sql.ledger import SqlLedger
from pipeline.ports.ledger import Denied, Known
from schemas.ids import AccountId, JobId
from tests.contract.ledger.desk import USD, Desk, ended, nano, total

PROCESSES, CALLERS, CALLS = 4, 16, 12
CAP = 12.0


def worker(url: str, name: str, number: int, results: "multiprocessing.Queue[tuple[int, int, int]]") -> None:
    results.put(asyncio.run(_spend(url, name, number)))


def job_of(name: str, number: int) -> JobId:
    return JobId(f"{name}-{number % 2}")


async def _spend(url: str, name: str, number: int) -> tuple[int, int, int]:
    """Calls paid, shared and denied by this process; of each ten, three ask what others ask."""
    ledger = SqlLedger(url)
    job = job_of(name, number)
    desk = Desk(ledger, job, AccountId(job))
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
    # Given a team with $12, and two jobs of two processes each that would spend about $30
    ledger = SqlLedger(durable_url)
    await ledger.open_account(AccountId(name), nano(CAP))
    jobs = [job_of(name, number) for number in range(2)]
    desks = [Desk(ledger, job, AccountId(job)) for job in jobs]
    for desk in desks:
        await desk.open(CAP, batches=PROCESSES, parent=AccountId(name))
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, int, int]] = context.Queue()
    workers = [
        context.Process(target=worker, args=(durable_url, name, number, results))
        for number in range(PROCESSES)
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
    for desk in desks:
        assert await desk.money() == total((await desk.rows()).values())
    rows = [row for desk in desks for row in (await desk.rows()).values()]
    account = await ledger.account(AccountId(name))
    assert account is not None
    assert (account.spent, account.held) == (paid * USD // 20, 0)
    assert denied
    assert CAP * USD - account.spent < USD // 10
    # and no request was answered twice
    asked = [(row.job, row.request_hash) for row in rows]
    assert len(set(asked)) == len(asked) == paid
    await ledger.close()
