"""I6: a version is a function of the rewards it names; and the way back leads where one came from."""

import asyncio
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.learning.learn import Learned, learn
from pipeline.learning.learner import Learner
from pipeline.learning.store import promote, read_version, read_versions, roll_back, standing
from pipeline.router import snapshot
from pipeline.taxonomy.tree import ROOT
from schemas.ids import QueryId
from schemas.records import Pin, Plan, Query
from tests.unit.learning.rewards import answers, learner_of, reward

QUERIES = [Query(query_id=QueryId(f"n{number}"), text=f"some text {number}") for number in range(30)]
RANK = ("gold", "human", "audit", "judges")

# Of each file: its job, the source and time of its labels, the queries it begins and ends with, how often it is learned
FILES = st.lists(
    st.tuples(
        st.sampled_from(["j1", "j2"]), st.sampled_from(RANK), st.integers(1, 3), st.integers(0, 8),
        st.integers(9, 20), st.integers(0, 2),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


async def learned(learner: Learner) -> Learned:
    found = await learn(learner, 1)
    assert found is not None
    return found


def rows_of(learner: Learner, number: int, file: tuple[Any, ...]) -> list[dict[str, Any]]:
    job, source, at, start, end, _ = file
    rows = answers(learner, job, queries=20, seed=number, label_source=source, labelled_at=at)
    features = answers(learner, job, queries=20)
    kept = [row | {"features": same["features"]} for row, same in zip(rows, features, strict=True)]
    return kept[3 * start : 3 * end]


@settings(max_examples=8, deadline=None)
@given(FILES)
def test_rewards_count_once_however_often_they_are_applied(files: list[tuple[Any, ...]]) -> None:
    async def check() -> None:
        # Given rewards that come file by file, some answers again with other labels, learned from now and then
        learner = learner_of()
        best: dict[tuple[str, str], tuple[Any, ...]] = {}
        for number, file in enumerate(files):
            rows = rows_of(learner, number, file)
            await reward(learner, rows, f"d{number}")
            for row in rows:
                worth = (-RANK.index(row["label_source"]), row["labelled_at"], -row["reward"])
                key = (row["job"], row["call_id"])
                best[key] = max(best.get(key, (worth, row)), (worth, row), key=lambda each: each[0])
            for _ in range(file[-1]):
                await learned(learner)
        said = await learned(learner)
        # Then the version holds each answer once, with its best label
        sums = snapshot.decode(
            (await read_version(learner.storage, learner.policy, said.version)).snapshot
        ).statistics
        counted = [row for _, row in best.values() if row["query_key"] % 5]
        assert said.rows == len(counted)
        for number, arm in enumerate(sums.tiers):
            right = [
                row["reward"] * row["weight"] for row in counted if f"{row['tier']} {row['model']}" == arm
            ]
            np.testing.assert_allclose(sums.moment[number, 0], sum(right), rtol=1e-5, atol=1e-5)
        # And one that sees all of it at once makes the same version
        versions = len(await read_versions(learner.storage, learner.policy))
        assert (await learned(learner)).version == said.version
        assert len(await read_versions(learner.storage, learner.policy)) == versions

    asyncio.run(check())


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8), st.sampled_from(["thompson", "linucb", "metallm"])
)
def test_a_policy_rolled_back_routes_as_before(steps: list[int], kind: str) -> None:
    async def check() -> None:
        # Given versions that came to stand one after the other, and what each planned then
        learner = learner_of(kind)
        then = {"0": await plans(learner)}
        for number in range(3):
            await reward(learner, answers(learner, f"j{number}", (0.9, 0.5 + number / 5, 0.9), 40, number))
            version = (await learned(learner)).version
            last = await standing(learner.storage, learner.policy)
            await promote(learner.storage, learner.policy, version, last, reason="test", at=1)
            then[version] = await plans(learner)
        # When someone goes back, to one of them or a step at a time
        known = list(then)
        for step in steps:
            wanted = known[step] if step < len(known) else None
            now = await roll_back(learner.storage, learner.policy, wanted, 1)
            # Then it plans as it did when that version stood
            assert await plans(learner) == then[now.version]
            assert wanted in (None, now.version)

    asyncio.run(check())


async def plans(learner: Learner) -> list[Plan]:
    policy = await learner.standing()
    pin = Pin(policy_version=policy.version, price_of_money=policy.price_of_money(1.0), seed=5)
    return policy.plan(QUERIES, [ROOT] * len(QUERIES), pin)
