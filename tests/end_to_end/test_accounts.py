"""Shared accounts in a spec: who may open one, and that no job slips past the cap it was given."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger import open_ledger
from pipeline.ports.ledger import Account
from pipeline.wiring.services import now_ms
from schemas.ids import AccountId, Nano
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise

TEAM = AccountId("team/2026-11")
USD = 10**9


def spec_of(place: Tierwise, name: str, **budget: Any) -> str:
    (place.folder / "one.csv").write_text("id,text\n1,About an invoice.\n")
    spec = {
        "name": name,
        "task": {"kind": "classify", "labels": ["billing", "refund"]},
        "input": {"path": "one.csv", "id": "id"},
        "tiers": [{"name": "words", "provider": "keyword", "keywords": {"billing": ["invoice"]}}],
        "budget": {"usd": 5, **budget},
    }
    return write_spec(place, spec)


def accounts(place: Tierwise, *names: str) -> list[tuple[int, tuple[str, ...]]]:
    """Cap in USD and parents."""

    async def read() -> list[Account | None]:
        ledger = open_ledger(place.ledger_url(), clock=now_ms)
        found = [await ledger.account(AccountId(name)) for name in names]
        await ledger.close()
        return found

    return [(each.cap // USD, each.parents) for each in asyncio.run(read()) if each is not None]


def interrupted_submit(place: Tierwise, job: str, cap: int, parent: AccountId | None = None) -> None:
    """One that died after it had opened the account of its job."""

    async def submit() -> None:
        ledger = open_ledger(place.ledger_url(), clock=now_ms)
        await ledger.open_account(TEAM, Nano(1000 * USD))
        await ledger.open_account(AccountId(f"job/{job}"), Nano(cap * USD), *([parent] if parent else []))
        await ledger.close()

    asyncio.run(submit())


@pytest.fixture
def place(tmp_path: Path) -> Tierwise:
    """With a ledger outside the lake, so that it is there before the first job."""
    return Tierwise(folder=tmp_path, settings={"TIERWISE_LEDGER": f"sqlite:///{tmp_path}/ledger.db"})


def test_the_first_job_of_an_account_gives_it_its_cap(place: Tierwise) -> None:
    # Given an account nobody has opened, then a job that does not say its cap is refused
    said = tierwise(place, "run", spec_of(place, "early", account=TEAM), code=2)
    assert f"account '{TEAM}' is new" in said.err
    # When one does, then the next one spends from the same account, whatever it would give it
    tierwise(place, "run", spec_of(place, "first", account=TEAM, account_usd=20), "--job", "first")
    tierwise(place, "run", spec_of(place, "second", account=TEAM, account_usd=90), "--job", "second")
    found = accounts(place, TEAM, "job/first", "job/second")
    assert found == [(20, ()), (5, (TEAM,)), (5, (TEAM,))]


def test_a_jobs_own_account_is_nobody_elses(place: Tierwise) -> None:
    # Given a spec that would open its job's own account with $1000 and spend $5 from it
    spec = spec_of(place, "sly", account="job/sly", account_usd=1000)
    said = tierwise(place, "run", spec, "--job", "sly", code=2)
    assert "budget.account" in said.err


@pytest.mark.parametrize(("cap", "parent"), [(100, None), (5, TEAM)], ids=["another cap", "another parent"])
def test_what_an_interrupted_submit_left_never_outlives_the_budget_said_now(
    place: Tierwise, cap: int, parent: AccountId | None
) -> None:
    interrupted_submit(place, "again", cap, parent)
    # When the job is submitted with another budget, then it is refused, since its account would keep the old one
    said = tierwise(place, "run", spec_of(place, "again"), "--job", "again", code=2)
    assert "begun before" in said.err
    assert accounts(place, "job/again") == [(cap, (parent,) if parent else ())]


def test_an_interrupted_submit_is_done_again(place: Tierwise) -> None:
    interrupted_submit(place, "again", 5)
    tierwise(place, "run", spec_of(place, "again"), "--job", "again")
