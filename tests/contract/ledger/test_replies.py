"""What other jobs were answered: found by equal requests alone, and only where it may be used again."""

import asyncio

import msgspec
import pytest

from pipeline.history.journal import JournalHistory
from pipeline.ports.ledger import Held, Kept, Ledger
from schemas.errors import LedgerUnreachable
from schemas.ids import AccountId, JobId
from schemas.records import Outcome, Purpose
from tests.contract.ledger.desk import Desk, ended, hash_of


@pytest.fixture
async def earlier(ledger: Ledger, name: str) -> Desk:
    """Another job of the same ledger."""
    return await Desk(ledger, JobId(f"earlier-{name}"), AccountId(f"earlier-account-{name}")).open(batches=20)


async def answer(
    desk: Desk, request: str, outcome: Outcome = "ok", *, sample: int = 0, purpose: Purpose = "answer"
) -> Kept:
    """Ask and be answered."""
    lease = await desk.lease(len(await desk.rows()))
    intent = desk.intent(lease, 0.01, request=request, sample=sample)
    held = await desk.ledger.hold(msgspec.structs.replace(intent, purpose=purpose))
    assert isinstance(held, Held)
    await desk.ledger.settle(ended(held, 0.01, outcome))
    return Kept(held.call_id, f"reply to {held.call_id}".encode())


async def found(desk: Desk, *requests: str, since: int = 0) -> dict[str, Kept]:
    by_hash = {hash_of(each): each for each in requests}
    replies = await desk.ledger.replies(list(by_hash), since=since, besides=desk.job)
    return {by_hash[each]: kept for each, kept in replies.items()}


async def test_equal_requests_of_other_jobs_are_found(desk: Desk, earlier: Desk, name: str) -> None:
    first, second = f"first {name}", f"second {name}"
    kept = {first: await answer(earlier, first), second: await answer(earlier, second)}
    assert await found(desk, first, f"third {name}", second) == kept
    # but not as another job's for the job itself
    assert await found(earlier, first) == {}


async def test_more_requests_than_fit_one_statement(desk: Desk, earlier: Desk, name: str) -> None:
    wanted = [f"{number} {name}" for number in range(1200)]
    kept = {wanted[at]: await answer(earlier, wanted[at]) for at in (0, 499, 500, 1199)}
    assert await found(desk, *wanted) == kept


async def test_the_latest_answer_counts_and_none_that_is_too_old(
    desk: Desk, earlier: Desk, name: str, clock: list[int]
) -> None:
    again = f"again {name}"
    await answer(earlier, again)
    clock[0] += 1000
    third = await Desk(desk.ledger, JobId(f"third-{name}"), AccountId(f"third-account-{name}")).open()
    late = await answer(third, again)
    assert await found(desk, again) == {again: late}
    assert await found(desk, again, since=clock[0]) == {again: late}
    assert await found(desk, again, since=clock[0] + 1) == {}


@pytest.mark.parametrize("outcome", ["truncated", "malformed", "refused", "presumed", "rate_limited"])
async def test_only_full_answers_are_used_again(
    desk: Desk, earlier: Desk, name: str, outcome: Outcome
) -> None:
    await answer(earlier, f"odd {name}", outcome)
    assert await found(desk, f"odd {name}") == {}


@pytest.mark.parametrize("purpose", ["taxonomy", "embed"])
async def test_what_is_no_opinion_is_used_again(
    desk: Desk, earlier: Desk, name: str, purpose: Purpose
) -> None:
    kept = await answer(earlier, f"facts {name}", purpose=purpose)
    assert await found(desk, f"facts {name}") == {f"facts {name}": kept}


@pytest.mark.parametrize("purpose", ["audit", "judge"])
async def test_audits_and_judges_are_independent(
    desk: Desk, earlier: Desk, name: str, purpose: Purpose
) -> None:
    await answer(earlier, f"audited {name}", purpose=purpose)
    await answer(earlier, f"sampled {name}", sample=1)
    assert await found(desk, f"audited {name}", f"sampled {name}") == {}


async def test_a_call_in_flight_is_no_answer_yet(desk: Desk, earlier: Desk, name: str) -> None:
    await earlier.held(await earlier.lease(), request=f"open {name}")
    assert await found(desk, f"open {name}") == {}


async def test_what_is_asked_at_once_is_one_look(desk: Desk, earlier: Desk, name: str) -> None:
    # Given a ledger whose looks are counted
    looks: list[int] = []

    class Counted:
        async def replies(self, wanted: list[bytes], **given: object) -> dict[bytes, Kept]:
            looks.append(len(wanted))
            return await desk.ledger.replies(wanted, **given)  # type: ignore[arg-type]

    kept = await answer(earlier, f"q7 {name}")
    history = JournalHistory(Counted(), desk.job, 0)  # type: ignore[arg-type]
    # When a hundred queries ask at once, each of them twice
    asked = [hash_of(f"q{number % 50} {name}") for number in range(100)]
    said = await asyncio.gather(*map(history.find, asked))
    # Then it is one look, and each hears its own
    assert looks == [50]
    assert [at for at, each in enumerate(said) if each == kept] == [7, 57]
    assert sum(each is not None for each in said) == 2


async def test_one_who_goes_away_leaves_the_others_their_answer(desk: Desk, earlier: Desk, name: str) -> None:
    kept = await answer(earlier, name)
    history = JournalHistory(desk.ledger, desk.job, 0)
    first, second = (asyncio.create_task(history.find(hash_of(name))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == kept


async def test_a_lost_ledger_is_said_to_all(desk: Desk) -> None:
    class Lost:
        async def replies(self, *_: object, **__: object) -> dict[bytes, Kept]:
            raise LedgerUnreachable(url="x", why="y")

    history = JournalHistory(Lost(), desk.job, 0)  # type: ignore[arg-type]
    said = await asyncio.gather(*map(history.find, [b"1", b"2"]), return_exceptions=True)
    assert [type(each) for each in said] == [LedgerUnreachable] * 2
