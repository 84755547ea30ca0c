"""The endpoint of an encoder on the way to a plan: deaths, redelivery, holders that race, replies without a vector."""

import io
from dataclasses import replace
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from pipeline.cascade.call import Caller
from pipeline.close import close_generation
from pipeline.encode import encoded
from pipeline.flow import _caller
from pipeline.taxonomy.tree import ROOT
from pipeline.work import Work
from schemas import lake
from schemas.ids import BatchIndex, Generation, QueryId
from schemas.records import Lease, Pin, Query
from tests.faults.desk import ENCODED, JOB, LEASE_MS, VECTOR, Desk, Meter, Process, Said, until_it_ends
from workers.inline import work_inline

TEXTS = ["one", "two", "one"]
FILE = lake.embedding(JOB, Generation(1), BatchIndex(0))


def stored(desk: Desk) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(desk.objects[FILE])).to_pylist()
    return rows


async def embed_calls(desk: Desk) -> list[Any]:
    return [call for call in await desk.calls() if call.purpose == "embed"]


async def lease_of(desk: Desk, work: Work) -> Lease:
    lease = await desk.ledger.lease_batch(
        JOB,
        Generation(1),
        BatchIndex(0),
        owner="me",
        pin=Pin(policy_version="p"),
        now=desk.now,
        ttl_ms=LEASE_MS,
    )
    assert isinstance(lease, Lease)
    return lease


async def encode(desk: Desk, work: Work, lease: Lease) -> tuple[list[bytes], int]:
    """The vectors of the texts, and how many of them were not paid for."""
    queries = [Query(query_id=QueryId(f"q{number}"), text=text) for number, text in enumerate(TEXTS)]
    found, reused = await encoded(
        work, _caller(work, lease, desk.now, Caller), lease, queries, [ROOT] * len(queries)
    )
    return [query.vector for query in found], len(reused)


@pytest.mark.parametrize("dies_at", ["after settle", "billed", f"before {FILE}", f"after {FILE}", 9, 23, 37])
async def test_a_text_that_was_answered_is_not_sent_again(dies_at: int | str) -> None:
    # Given a process that dies somewhere
    desk = await Desk().open([TEXTS], tiers=2, policy=ENCODED)
    process = Process(dies_at=dies_at)
    job = await desk.start(process)
    await until_it_ends(process, lambda: work_inline(job))
    assert process.dead
    # When another goes on
    desk.now += LEASE_MS + 1
    row = await work_inline(await desk.start())
    assert await close_generation(await desk.start(), row.generation)
    # Then the books are right, nothing was asked twice once it was answered, and every query has its vector
    await desk.check_closed(len(TEXTS))
    assert all(row["vector"] == [0.5] * 4 for row in stored(desk))
    paid = [call for call in await embed_calls(desk) if call.outcome == "ok"]
    assert len(paid) == len({call.request_hash for call in paid})


async def test_a_redelivered_batch_takes_what_was_written() -> None:
    desk = await Desk().open([TEXTS], policy=ENCODED)
    work = await desk.start()
    lease = await lease_of(desk, work)
    assert await encode(desk, work, lease) == ([VECTOR] * 3, 1)
    sent = len(desk.meter.lines)
    assert sent == 2
    again = msgspec.structs.replace(lease, fence=lease.fence + 1)
    blind = replace(work, encoder=msgspec.structs.replace(work.encoder, provider=None))
    assert await encode(desk, blind, again) == ([VECTOR] * 3, 0)
    assert len(desk.meter.lines) == sent


async def test_of_two_holders_the_first_to_write_is_believed() -> None:
    # Given one to whom the endpoint gave nothing, and who wrote that down
    first = await Desk(meter=Meter(script=lambda number: Said("malformed"))).open([TEXTS], policy=ENCODED)
    work = await first.start()
    assert await encode(first, work, await lease_of(first, work)) == ([b""] * 3, 1)
    assert {row["problem"] for row in stored(first)} == {"the reply holds no vector"}
    # When another, who was answered, comes too late
    desk = await Desk().open([TEXTS], policy=ENCODED)
    desk.objects[FILE] = first.objects[FILE]
    work = await desk.start()
    vectors, _ = await encode(desk, work, await lease_of(desk, work))
    # Then it plans by what stands
    assert len(desk.meter.lines) == 2
    assert vectors == [b""] * 3
    assert desk.objects[FILE] == first.objects[FILE]


async def test_texts_are_shared_where_answers_are_not() -> None:
    source = {"path": "documents.csv", "duplicates": "each"}
    desk = await Desk().open([TEXTS], policy=ENCODED, input=source)
    row = await work_inline(await desk.start())
    assert await close_generation(await desk.start(), row.generation)
    await desk.check_closed(len(TEXTS))
    assert len(await embed_calls(desk)) == 2
    assert len(desk.meter.lines) == 2 + len(TEXTS)


async def test_money_that_does_not_reach_is_said() -> None:
    desk = await Desk().open([["one"]], policy=ENCODED, cap=60)
    row = await work_inline(await desk.start())
    assert await close_generation(await desk.start(), row.generation)
    await desk.check_closed(1)
    assert desk.table("results")[0]["status"] == "deferred"
    assert [(row["vector"], row["problem"]) for row in stored(desk)] == [(None, "exhausted")]
