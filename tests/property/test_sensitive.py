"""No request about a query that a rule calls sensitive goes to a tier that its category does not allow: over random
trees, whatever the slow classifier says and whoever judges, through retries, a death, a resume."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.resume import resume
from pipeline.taxonomy.classify import Taxonomy
from schemas.ids import Nano, QueryId
from schemas.records import Assignment, Query
from schemas.taxonomy import TaxonomySpec
from tests.faults.desk import ENCODED, JOB, Desk, Meter, Process, Said, until_it_ends
from tests.unit.taxonomy.test_classify import Axes
from workers.inline import work_inline

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord")
TIERS = ("t0", "t1", "t2")
EVERYONE = {*TIERS, "encoder"}
KINDS = ("ok", "ok", "malformed", "cut", "server_error", "rate_limited")

allowed_tiers = st.none() | st.lists(st.sampled_from(TIERS), max_size=2, unique=True)


def category(name: str, children: Any) -> Any:
    return st.fixed_dictionaries(
        {
            "name": st.just(name),
            "description": st.sampled_from(["", *WORDS]),
            "sensitivity": st.sampled_from(["normal", "high"]),
            "allowed_tiers": allowed_tiers,
            "rules": st.lists(
                st.fixed_dictionaries({"keywords": st.lists(st.sampled_from(WORDS), min_size=1, max_size=2)}),
                max_size=2,
            ),
            "children": children,
        }
    )


leaves = st.tuples(category("x", st.just([])), category("y", st.just([]))).map(list) | st.just([])
trees = st.tuples(category("a", leaves), category("b", leaves), category("c", st.just([]))).map(
    lambda categories: {"categories": list(categories)}
)
texts = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=2, max_size=5
)


def sensitive(
    categories: list[dict[str, Any]], allowed: set[str], guarded: bool = False
) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """The sensitive categories, each with the tiers that it and all above it allow."""
    for each in categories:
        here = allowed if each["allowed_tiers"] is None else allowed & set(each["allowed_tiers"])
        high = guarded or each["sensitivity"] == "high"
        if high:
            yield each, here
        yield from sensitive(each["children"], here, high)


def may_see(tree: dict[str, Any], text: str) -> set[str]:
    """By the words of the spec: the tiers that every sensitive category with a rule for this text allows."""
    tiers = set(EVERYONE)
    for each, allowed in sensitive(tree["categories"], EVERYONE):
        if any(re.search(rf"\b{word}\b", text) for rule in each["rules"] for word in rule["keywords"]):
            tiers &= allowed
    return tiers


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tree=trees,
    documents=texts,
    slow=st.sampled_from([None, *TIERS]),
    judge=st.sampled_from([None, *TIERS]),
    said=st.sampled_from(["a", "b", "c", "a/x", "nothing"]),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=8),
    dies_at=st.none() | st.integers(5, 80),
    cap=st.sampled_from([10**9, 300]),
    policy=st.sampled_from(
        ["fixed-ladder", {"name": "thompson", "epsilon": 0.8}, {"name": "metallm", "epsilon": 1.0}, ENCODED]
    ),
)
def test_no_request_leaves_the_tiers_that_are_allowed(
    tree: dict[str, Any], documents: list[str], slow: str | None, judge: str | None, said: str,
    kinds: list[str], dies_at: int | None, cap: int, policy: Any,
) -> None:  # fmt: skip
    async def run() -> None:
        meter = Meter(script=lambda number: Said(kinds[number % len(kinds)]))
        desk = await Desk(meter=meter).open(
            [documents], cap=cap, tiers=3, policy=policy, judges=["valid", *judges_on(judge)],
            taxonomy={"tree": tree, "slow_tier": slow, "familiar_margin": 0.3},
        )  # fmt: skip
        # Given a process that may die in the middle, and another that goes on
        if dies_at is not None:
            process = Process(dies_at=dies_at)
            await until_it_ends(process, lambda: start(desk, process, said))
            desk.now += desk.timing.lease + 1
        await start(desk, Process(), said)
        # And a resume with more money
        row, asked = await resume(await services(desk), JOB, Nano(10**9))
        if asked:
            await start(desk, Process(), said)
        # Then the ledger, through which each request goes, names only tiers that may see its query
        calls = [call for generation in range(1, row.generation + 1) for call in await desk.calls(generation)]
        assert {call.call_id for call in calls} >= set(meter.lines)
        for call in calls:
            text = documents[int(call.query_id.removeprefix("q"))]
            assert call.tier in may_see(tree, text), (call.purpose, text)

    asyncio.run(run())


def judges_on(tier: str | None) -> list[dict[str, Any]]:
    return [] if tier is None else [{"name": "self-consistency", "tier": tier, "samples": 1, "band": None}]


async def start(desk: Desk, process: Process, said: str) -> None:
    work = await desk.start(process, label=said)
    for rung in work.asking.rungs.values():
        rung.provider.local = False
    await work_inline(work)


async def services(desk: Desk) -> Any:
    return (await desk.start()).services


RULED = {
    "categories": [
        {
            "name": "health",
            "sensitivity": "high",
            "allowed_tiers": ["s", "m"],
            "rules": [{"keywords": ["card"]}],
        },
        {
            "name": "law",
            "allowed_tiers": ["s", "l"],
            "children": [{"name": "deep", "sensitivity": "high", "rules": [{"keywords": ["pin"]}]}],
        },
    ]
}
ALIKE = {
    "categories": [
        {"name": "open", "description": "green"},
        {"name": "secret", "sensitivity": "high", "allowed_tiers": ["s"], "description": "red"},
        {"name": "other", "description": "blue"},
    ]
}


def assign(tree: dict[str, Any], text: str, margin: float = 0.1) -> tuple[Taxonomy, list[Query], Assignment]:
    sorter = Taxonomy(TaxonomySpec.model_validate(tree), Axes(), familiar_margin=margin, slow_weight=1.0)
    queries = [Query(query_id=QueryId("q"), text=text)]
    return sorter, queries, sorter.classify(queries)[0]


def test_two_sensitive_rules_leave_the_tiers_that_both_allow() -> None:
    sorter, _, found = assign(RULED, "card pin")
    assert found.category == "law/deep"
    assert sorter.allowed(found) == {"s"}


@pytest.mark.parametrize(("text", "tiers"), [("red and green", {"s"}), ("green", None), ("nothing", None)])
def test_likeness_that_cannot_tell_takes_the_sensitive_side(text: str, tiers: set[str] | None) -> None:
    sorter, _, found = assign(ALIKE, text)
    assert sorter.allowed(found) == tiers


def test_no_model_talks_a_suspect_out_of_its_guard() -> None:
    sorter, queries, found = assign(ALIKE, "red and green")
    (joined,) = sorter.with_slow(queries, [found], {0: (0, 0.99)})
    assert joined.category == "open"
    assert sorter.allowed(joined) == {"s"}
