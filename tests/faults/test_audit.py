"""The audit of a job that is to be certified: killed anywhere, out of money, refused; what it says of the rows it drew
is what the job answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.audit.drawn import read_drawn
from pipeline.close import close_generation
from pipeline.flow import may_begin, take_batch
from pipeline.resume import resume
from pipeline.work import Work
from schemas.errors import Infeasible
from schemas.ids import BatchIndex, Generation, JobId, Nano
from tests.faults.desk import JOB, LEASE_MS, Desk, Died, Process, tier, until_it_ends
from tests.faults.short import ByTier, Terms, cut, start
from workers.inline import work_inline
from workers.tasks import run_batch

ROWS = 24
TIERS = ("t0", "t1", "t2")
TEXTS = [f"text {number}" for number in range(ROWS)]
ONE = Generation(1)
QUALITY = {"target": 0.8, "reference": "t2", "pilot": 6, "audit": 12}
FREE = ("valid", "confidence", "agreement")
PAID = (*FREE, {"name": "self-consistency", "tier": "t0", "samples": 2, "band": None})
terms = st.builds(
    Terms,
    hold=st.just(100),
    cost=st.integers(0, 100),
    sure=st.floats(0.01, 0.99),
    label=st.sampled_from("ab"),
)
tables = st.lists(terms, min_size=len(TIERS) * ROWS, max_size=len(TIERS) * ROWS)


def terms_of(table: list[Terms]) -> ByTier:
    return ByTier(dict(zip([(name, text) for name in TIERS for text in TEXTS], table, strict=True)))


def easy() -> ByTier:
    """Sure and right at the first tier, but for every third text, which the first gets wrong and says so."""
    hard = {("t0", text): Terms(sure=0.3, label="b", cost=1) for text in TEXTS[::3]}
    return ByTier({("t0", "*"): Terms(sure=0.95, cost=1), ("t1", "*"): Terms(cost=10), **hard})


def hopeless() -> ByTier:
    return ByTier({("t0", "*"): Terms(label="b"), ("t1", "*"): Terms(label="b")})


async def opened(batches: int = 3, cap: int = 10**9, judges: Sequence[Any] = FREE, **quality: Any) -> Desk:
    desk = Desk()
    desk.meter.look = desk.check_money
    tiers = [tier(number, trust=0.6) for number in range(len(TIERS))]
    return await desk.open(
        cut(TEXTS, batches), cap=cap, tiers=tiers, quality=QUALITY | quality, judges=list(judges)
    )


# A cancel between a thread's start and its end leaves a scratch folder to the collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    table=tables, judges=st.sampled_from([FREE, PAID]), batches=st.integers(1, 4), in_flight=st.integers(1, 4),
    target=st.sampled_from([0.3, 0.6, 0.8]), per_label=st.sampled_from([None, 2, 50]),
    deaths=st.lists(st.tuples(st.sampled_from(["dies_at", "cancelled_at"]), st.integers(1, 400)), max_size=2),
)  # fmt: skip
def test_what_the_audit_says_is_what_the_job_answers(**drawn: Any) -> None:
    asyncio.run(play(**drawn))


async def play(
    table: list[Terms],
    judges: Sequence[Any],
    batches: int,
    in_flight: int,
    target: float,
    per_label: int | None,
    deaths: list[tuple[str, int]],
) -> None:
    # Given tiers that say anything, and a target
    said = terms_of(table)
    desk = await opened(batches, target=target, judges=judges, per_label=per_label)
    # When processes work on it one after the other, each killed or cancelled somewhere, the last to the end
    for process in [*(Process(**{name: step}) for name, step in deaths), Process()]:
        desk.now += 3 * LEASE_MS
        work = await start(desk, said, process)
        job = await start(desk, said)

        async def run(work: Any = work, job: Any = job) -> None:
            row = await work_inline(work, in_flight=in_flight)
            assert await close_generation(job, row.generation)

        await asyncio.wait_for(until_it_ends(process, run), 30)
        await desk.check_money()
    # Then the books agree, and what was answered was not asked again
    await desk.check_closed(ROWS)
    # And the drawn rows are answered as the audit said, so the plan that passed on them is the one that ran
    [certificate] = desk.table("certificates")
    assert certificate["certified"], certificate["reason"]
    assert certificate["off_plan"] == 0
    work = await start(desk, said)
    ruling = await work.ruling(ONE)
    assert ruling is not None
    assert ruling.test is not None
    answers = {row["query_id"]: row["answer"] for row in desk.table("results")}
    assert sum(answers[query] == label for query, label in ruling.reference.items()) == ruling.test.agreeing
    # And of each label so many rows agree as it was counted to
    if per_label is not None:
        check_labels(desk, said, certificate, per_label)


def check_labels(desk: Desk, said: ByTier, certificate: dict[str, Any], most: int) -> None:
    """Every row of a label is known, or may have been drawn; and each was counted as the reference answers it."""
    truth = {f"q{number}": said.of("t2", text).label for number, text in enumerate(TEXTS)}
    calls = [call for call in desk.table("calls") if call["tier"] == "t2"]
    drawn = {call["query_id"] for call in calls if call["purpose"] == "stratum"}
    known = {call["query_id"] for call in calls if call["purpose"] in ("audit", "answer")}
    assert not drawn & known
    for claim in json.loads(certificate["labels"])["claims"]:
        each = claim["stratum"]
        rows = {row["query_id"] for row in desk.table("results") if row["answer"] == each["label"]}
        agreeing = {query for query in rows if truth[query] == each["label"]}
        assert (each["rows"], each["known"]) == (len(rows), len(rows & known))
        assert each["sure"] == len(agreeing & known)
        assert (each["drawn"], each["agreeing"]) == (len(rows & drawn), len(agreeing & drawn))
        assert each["drawn"] in (0, min(most, len(rows - known)))
        # a draw of all there is proves what is true
        if each["drawn"] == len(rows - known):
            assert claim["certified"] == (len(agreeing) >= certificate["target"] * len(rows))


async def test_what_the_ledger_has_no_row_for_is_the_audits_or_a_judges() -> None:
    # Given a draw with repeats, which are paid once, and a judge that asks
    desk, said = Desk(), easy()
    judge = {"name": "model-graded", "tier": "t0"}
    tiers = [tier(number, trust=0.6) for number in range(len(TIERS))]
    await desk.open(
        cut([TEXTS[1]] * ROWS, 2), tiers=tiers, quality=QUALITY | {"target": 0.3}, judges=["valid", judge]
    )
    # When the job runs
    work = await start(desk, said)
    await work_inline(work)
    # Then the repeats stand in the calls, each under its purpose
    await desk.check_closed(ROWS)
    calls = desk.table("calls")
    reused = {(call["purpose"], call["tier"]) for call in calls if call["reused_from"]}
    assert {("audit", "t0"), ("audit", "t2"), ("judge", "t0")} <= reused
    assert {call["purpose"] for call in calls} == {"audit", "answer", "judge"}


async def test_no_batch_begins_before_the_plan_is_frozen() -> None:
    # Given a job whose audit is open
    desk = await opened()
    said = easy()
    every = [BatchIndex(number) for number in range(4)]
    # When a worker takes up any other batch
    work = await start(desk, said)
    taken = [await take_batch(work, ONE, batch) for batch in every[:3]]
    # Then it is too early, and nothing is leased or asked
    assert taken == [("early", None)] * 3
    assert said.asked == []
    assert await may_begin(work, ONE, every) == every[3:]
    # When the audit is done
    assert await take_batch(work, ONE, every[3]) == ("committed", 3)
    # Then all may begin, in any process
    assert await may_begin(await start(desk, said), ONE, every[:3]) == every[:3]
    await work_inline(work)
    await desk.check_closed(ROWS)
    [certificate] = desk.table("certificates")
    assert certificate["certified"]
    assert certificate["agreeing"] == 12


class Queue:
    """What workers publish, and take up one after the other."""

    def __init__(self, first: BatchIndex) -> None:
        self.waiting, self.taken, self.closes = [first], list[BatchIndex](), 0

    def batches(self, job: JobId, generation: Generation, batches: Iterable[BatchIndex]) -> None:
        self.waiting += batches

    def close(self, job: JobId, generation: Generation) -> None:
        self.closes += 1


@dataclass(frozen=True)
class Worker:
    desk: Desk
    said: ByTier
    gauge: None = None

    @asynccontextmanager
    async def work(self, job: JobId) -> AsyncIterator[Work]:
        yield await start(self.desk, self.said)


async def test_workers_publish_the_audit_the_batches_and_the_labels_in_their_order() -> None:
    # Given a job whose labels are to be certified too: three batches, its audit, its labels
    desk, said = await opened(per_label=50, target=0.6), easy()
    worker, queue = Worker(desk, said), Queue(BatchIndex(3))
    # When workers take up what is published, and nothing else
    while queue.waiting:
        queue.taken.append(queue.waiting.pop(0))
        await run_batch(cast(Any, worker), cast(Any, queue), JOB, ONE, queue.taken[-1])
    # Then the audit came first and the labels last, each once, and the job is to be closed
    assert (queue.taken, queue.closes) == ([3, 0, 1, 2, 4], 1)
    assert await close_generation(await start(desk, said), ONE)
    await desk.check_closed(ROWS)
    [certificate] = desk.table("certificates")
    check_labels(desk, said, certificate, 50)


async def test_the_first_ruling_stands() -> None:
    # Given an audit whose holder died when the plan was frozen, before it committed
    desk, said = await opened(), easy()
    with pytest.raises((Died, asyncio.CancelledError, BaseExceptionGroup)):
        await take_batch(
            await start(desk, said, Process(dies_at="after _jobs/j/ruling-g1.json")), ONE, BatchIndex(3)
        )
    frozen = await (await start(desk, said)).ruling(ONE)
    assert frozen is not None
    desk.now += 3 * LEASE_MS
    # When others go on, then the plan is the same, and the calls of the audit are on the books
    await work_inline(await start(desk, said))
    await desk.check_closed(ROWS)
    assert {row["policy_version"] for row in desk.table("results")} == {frozen.version}
    audited = [row for row in desk.table("calls") if row["purpose"] == "audit"]
    assert len(audited) == 18 * 3
    assert all(row["answer"] for row in desk.table("call_items"))


async def test_out_of_reach_ends_the_job_at_the_price_of_the_audit() -> None:
    # Given a reference that nobody below agrees with, and gold that it does not reach
    desk, said = await opened(reference="gold", target=0.9), hopeless()
    # When the job is worked (no row has gold, so no answer agrees)
    row = await work_inline(await start(desk, said))
    # Then it ends as infeasible, and only the drawn rows were asked
    assert (row.state, row.stop) == ("closed", "infeasible")
    await desk.check_closed(ROWS)
    assert len(said.asked) == 18 * 3
    assert {each["status"] for each in desk.table("results")} == {"cancelled"}
    [certificate] = desk.table("certificates")
    assert (certificate["certified"], certificate["sure"]) == (False, 0.0)
    # And it is not resumed, and takes no more money
    work = await start(desk, said)
    with pytest.raises(Infeasible):
        await resume(work.services, JOB, Nano(5))
    assert (await desk.account()).cap == 10**9


async def test_a_judge_that_has_no_money_leaves_its_row_for_later() -> None:
    # Given money for the audit, and for little more
    said = easy()
    ample = await opened(judges=PAID, target=0.5)
    await take_batch(await start(ample, easy()), ONE, BatchIndex(3))
    cap = (await ample.account()).spent + 104
    desk = await opened(judges=PAID, target=0.5, cap=cap)
    # When the job runs
    await work_inline(await start(desk, said))
    await desk.check_books(ROWS)
    # Then whatever no judge could be asked about is deferred: the plan goes by what judges say
    results = desk.table("results")
    assert {row["status"] for row in results} == {"answered", "deferred"}
    silent = {row["query_id"] for row in desk.table("votes") if row["score"] is None}
    assert silent
    assert silent <= {row["query_id"] for row in results if row["status"] == "deferred"}
    # And with more money, all is as the audit had it
    work = await start(desk, said)
    await resume(work.services, JOB, Nano(10**6))
    await work_inline(await start(desk, said))
    [certificate] = desk.table("certificates")
    assert (certificate["certified"], certificate["off_plan"]) == (True, 0)


async def mended(desk: Desk, said: ByTier) -> None:
    """Resumed by a process that finds every tier up, an hour later."""
    desk.now += 60 * LEASE_MS
    work = await start(desk, said)
    await resume(work.services, JOB)
    await work_inline(await start(desk, said))
    await desk.check_books(ROWS)


async def test_a_tier_that_is_down_in_the_audit_is_no_proof_against_the_target() -> None:
    # Given a reference that is down
    desk, said = await opened(), easy()
    down = ByTier({**said.terms, ("t2", "*"): Terms(refuses=True)})
    # When the audit is over
    await work_inline(await start(desk, down))
    # Then nothing is frozen, and nothing is said to be out of reach
    await desk.check_closed(ROWS)
    [certificate] = desk.table("certificates")
    assert not certificate["certified"]
    assert "audited rows could not be asked of every tier" in certificate["reason"]
    assert {each["status"] for each in desk.table("results")} == {"deferred"}
    # When it is up again, then the audit goes on, and nothing that it was told is asked again
    before = len(down.asked)
    await mended(desk, said)
    [certificate] = desk.table("certificates")
    assert certificate["certified"]
    assert before + len(said.asked) == len({*down.asked, *said.asked})
    assert {each["generation"] for each in desk.table("results")} == {2}


@pytest.mark.parametrize("allowed", [0.0, 0.1])
async def test_rows_off_the_plan_count_against_it_until_they_are_asked(allowed: float) -> None:
    # Given a tier of the plan that can not be asked about one row, which the audit did not draw
    desk, said = await opened(off_plan=allowed, target=0.8), easy()
    drawn = {query.text for query in await read_drawn(desk.storage, JOB)}
    text = next(text for text in TEXTS[::3] if text not in drawn)
    down = ByTier({**said.terms, ("t1", text): Terms(refuses=True), ("t2", text): Terms(refuses=True)})
    # When the job runs
    await work_inline(await start(desk, down))
    # Then the row is deferred rather than answered off the plan; it is certified if the spec allows for as many
    await desk.check_closed(ROWS)
    ended = {row["query_id"]: row for row in desk.table("results")}
    [late] = [row for row in ended.values() if row["status"] != "answered"]
    assert (late["status"], late["answer"]) == ("deferred", "b")
    [certificate] = desk.table("certificates")
    assert (certificate["off_plan"], certificate["certified"]) == (1, allowed > 0)
    version = late["policy_version"]
    # When it is asked again, then the plan is as it was and the certificate is whole
    await mended(desk, said)
    [certificate] = desk.table("certificates")
    assert (certificate["off_plan"], certificate["certified"], certificate["generation"]) == (0, True, 2)
    assert {row["policy_version"] for row in desk.table("results")} == {version}


async def test_a_cancel_in_the_audit_cancels_the_job() -> None:
    desk, said = await opened(), easy()
    await desk.ledger.stop_job(JOB, "cancelled")
    await work_inline(await start(desk, said))
    await desk.check_closed(ROWS)
    assert said.asked == []
    assert {each["status"] for each in desk.table("results")} == {"cancelled"}
    # And resumed, it begins with its audit
    await mended(desk, said)
    [certificate] = desk.table("certificates")
    assert certificate["certified"]


async def test_the_reference_is_asked_twice_where_the_spec_says_so() -> None:
    # Given a reference that says something else on every second call
    desk, said = await opened(repeats=5, target=0.5), easy()
    await work_inline(await start(desk, said))
    await desk.check_books(ROWS)
    # Then so many rows were asked again, under a sample of their own, and the answers compared
    repeated = [row for row in desk.table("calls") if row["sample"] == 1]
    assert {(row["purpose"], row["tier"]) for row in repeated} == {("audit", "t2")}
    assert len(repeated) == 5
    [certificate] = desk.table("certificates")
    assert (certificate["repeated"], certificate["self_agreement"]) == (5, 1.0)
