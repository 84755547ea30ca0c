"""What is drawn of a job: everything that matters, on any terminal."""

import io

import pytest
from rich.console import Console, RenderableType

from jobs.screen import duration, job_screen, jobs_screen, line_of
from pipeline.monitoring.watch import JobLine, JobView, TierView
from pipeline.ports.ledger import Account, JobRow
from schemas.ids import AccountId, Generation, JobId, Nano, TierName
from schemas.records import Mishap

USD = 10**9


def account(name: str, parent: str | None = None) -> Account:
    return Account(
        account=AccountId(name), parents=(AccountId(parent),) if parent else (),
        cap=Nano(5 * USD), spent=Nano(2 * USD), held=Nano(USD), presumed=Nano(USD // 2),
    )  # fmt: skip


def tier(name: str, **more: object) -> TierView:
    given = {"asked": 1200, "answered": 900, "held": 16, "window": 8, "latency_ms": 310, "limited": 7}
    return TierView(
        tier=TierName(name), **{**given, "calls_a_minute": 0, "down_since": 0, "problem": "", **more}
    )  # type: ignore[arg-type]


VIEW = JobView(
    job=JobId("mails [b]"), state="running", stop=None, generation=2, at=10_000_000, created_at=4_000_000,
    queries=40_000, statuses={"answered": 9_900, "deferred": 100}, batches=40, committed=10, under_way=8,
    workers={"host:12:abc": 5, "host:13:def": 3}, accounts=[account("job/mails", "team"), account("team")],
    tiers=[tier("small"), tier("large", down_since=9_000_000, problem="HTTP 503", calls_a_minute=120)],
    mishaps=[Mishap(at=9_500_000, tier=TierName("large"), why="presumed: HTTP 503")],
    audit=None, rate=1_000.0, spending=0.5 * USD,
)  # fmt: skip


def drawn(what: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines), lines
    return "\n".join(line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_one_job_fits_and_leaves_nothing_out(width: int) -> None:
    words = " ".join(drawn(job_screen(VIEW, width, 60), width).split())
    for said in (
        "mails [b] running generation 2", "10,000 of 40,000", "25%", "1,000 queries a minute", "about 30 min to go",
        "deferred 100", "down since", "HTTP 503", "at most 120 calls a minute for now", "presumed", "$5.00",
        "10 of 40 committed, 8 under way, 22 waiting", "host:12 ×5, host:13 ×3",
        "$0.500000 a minute · about $8.00 in the end",
    ):  # fmt: skip
        assert said in words, said


def test_many_jobs_are_cut_to_the_screen() -> None:
    row = JobRow(
        job=VIEW.job, name="mails", account=AccountId("job/mails"), generation=Generation(2), state="running",
        stop=None, batches=40, committed=10, created_at=0, closed_at=None,
    )  # fmt: skip
    lines = [JobLine(row=row, account=VIEW.accounts[0], view=VIEW)] * 30
    said = drawn(jobs_screen(lines, 80, 24), 80)
    assert len(said.splitlines()) <= 24
    assert "11 more." in said
    assert "25%  30 min  $2.00" in said
    assert "large down" in said


def test_a_line_has_no_control_codes() -> None:
    assert "\x1b" not in line_of(VIEW)
    assert "spent $2.00, held $1.00, left $2.00 · large down" in line_of(VIEW)
    assert "large down since" in line_of(VIEW)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5_000, "83 min"), (7_500, "2 h 05 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
