"""What an operator watches: open jobs, their money, their leases, what is parked."""

import time

from pipeline.ports.ledger import Draw, Ledger
from schemas.ids import AccountId, Generation, JobId
from tests.contract.ledger.desk import TTL, Desk, ended, nano


async def test_a_job_as_it_stands(ledger: Ledger, desk: Desk, name: str, clock: list[int]) -> None:
    # Given a batch committed, one leased with a call settled and one held, one whose lease ran out
    lease = await desk.lease(0)
    await ledger.settle(ended(await desk.held(lease, 1.0), 0.4))
    await ledger.commit_batch(desk.job, Generation(1), lease.batch)
    await desk.lease(2)
    desk.now += TTL
    running = await desk.lease(1)
    await desk.held(running, 1.0)
    # When the operator looks
    seen = await ledger.overview(desk.now + 1)
    # Then all of it is there
    (job,) = [each for each in seen.jobs if each.job == desk.job]
    assert (job.batches, job.committed, job.leased, job.attempts) == (3, 1, 1, 1)
    assert (job.overdue_at, job.held_at, job.created_at) == (desk.now, clock[0], 1_000_000)
    (account,) = [each for each in seen.accounts if each.account == desk.account]
    assert (account.spent, account.held, account.cap) == (nano(0.4), nano(1.0), nano(5.0))
    assert seen.states["running"] >= 1


async def test_a_quiet_job_is_all_zeros(ledger: Ledger, desk: Desk) -> None:
    (job,) = [each for each in (await ledger.overview(desk.now)).jobs if each.job == desk.job]
    assert (job.leased, job.attempts, job.overdue_at, job.held_at) == (0, 0, 0, 0)


async def test_money_stays_in_sight_for_an_hour_after_the_close(
    ledger: Ledger, desk: Desk, name: str
) -> None:
    # Given a job of a team's, stopped and closed
    team, job = AccountId(f"team-{name}"), JobId(f"other-{name}")
    await ledger.open_account(team, nano(9))
    await ledger.open_account(AccountId(f"own-{name}"), nano(1), team)
    await ledger.create_job(job, name="x", account=AccountId(f"own-{name}"), batches=1, now=desk.now)
    await ledger.stop_job(job, "over_hold")
    await ledger.close_generation(job, Generation(1), desk.now)
    # When it is looked at soon after, and a day later
    soon, later = await ledger.overview(desk.now + 1), await ledger.overview(desk.now + 86_400_000)
    # Then its account and the team's are in sight at first; its stop is for good
    own = {f"own-{name}", f"team-{name}"}
    assert own <= {each.account for each in soon.accounts}
    assert not own & {each.account for each in later.accounts}
    assert soon.stops["over_hold"] >= 1 <= later.states["closed"]
    assert job not in {each.job for each in soon.jobs}


async def test_upstreams_and_the_ledgers_own_clock(ledger: Ledger, url: str, name: str) -> None:
    away = Draw(away=30_000, failed=1, problem="HTTP 503")
    await ledger.draw(f"up {name}", away, 5_000)
    now = time.time_ns() // 1_000_000
    seen = await ledger.overview(now)
    assert (seen.upstreams[f"up {name}"].parked_at, seen.upstreams[f"up {name}"].problem) == (
        5_000,
        "HTTP 503",
    )
    assert abs(seen.clock - now) < 60_000
