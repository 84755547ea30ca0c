"""A step of learning: the version follows from the rewards, is judged beside what stands, and promoted once."""

import asyncio
from typing import Any

from pipeline.learning.learn import Learned, learn
from pipeline.learning.learner import Learner
from pipeline.learning.store import promote, read_promotions, read_versions, roll_back, standing
from pipeline.taxonomy.tree import ROOT
from schemas.ids import QueryId, TierName
from schemas.records import Pin, Plan, Query
from tests.unit.learning.rewards import TIERS, answers, learner_of, reward, spec_of

QUERIES = [Query(query_id=QueryId(f"n{number}"), text=f"text {number}") for number in range(200)]


async def learned(learner: Learner, **given: Any) -> Learned:
    found = await learn(learner, 5_000, **given)
    assert found is not None
    return found


async def plans(learner: Learner) -> list[Plan]:
    policy = await learner.standing()
    pin = Pin(policy_version=policy.version, price_of_money=policy.price_of_money(float("inf")), seed=1)
    return policy.plan(QUERIES, [ROOT] * len(QUERIES), pin)


def first(planned: list[Plan]) -> float:
    """Share of queries that the cheapest tier alone answers."""
    return sum(plan.tiers[0] == "t0" and plan.accept[0] == 0 for plan in planned) / len(planned)


async def test_a_cheap_tier_that_is_as_good_answers_alone() -> None:
    # Given a job whose cheapest tier was right as often as the last, and a ladder that asks all
    learner = learner_of()
    assert first(await plans(learner)) < 0.1
    await reward(learner, answers(learner, "j1"))
    # When it is learned from
    said = await learned(learner)
    # Then the version stands, by what the answers of held-out queries say
    assert said.promoted
    assert (said.verdict.how, said.verdict.queries) == ("direct", 600 - said.rows / 3)
    assert said.verdict.accuracy >= said.verdict.accuracy_before - 0.02
    assert said.verdict.usd < 0.3 * said.verdict.usd_before
    assert first(await plans(learner)) > 0.4


async def test_a_version_that_is_worse_does_not_stand() -> None:
    # Given training rows that praise the cheapest tier, and held-out rows that do not
    learner = learner_of()
    praise, blame = answers(learner, "j1"), answers(learner, "j1", skill=(0.5, 0.5, 0.99))
    mixed = [bad if bad["query_key"] % 5 == 0 else good for good, bad in zip(praise, blame, strict=True)]
    await reward(learner, mixed)
    # When it is learned from
    said = await learned(learner)
    # Then the version is kept, and what stood goes on
    assert not said.promoted
    assert "accuracy may be lower" in said.verdict.reason
    assert [each.version for each in await read_versions(learner.storage, learner.policy)] == [said.version]
    assert await standing(learner.storage, learner.policy) is None


async def test_too_few_labels_judge_nothing() -> None:
    learner = learner_of()
    await reward(learner, answers(learner, "j1", queries=60))
    said = await learned(learner)
    assert not said.promoted
    assert "50 are needed" in said.verdict.reason
    # And the word of judges, or labels that someone chose to give, count for nothing there
    for number, change in enumerate(
        ({"label_source": "judges"}, {"label_source": "human", "p_labelled": None})
    ):
        await reward(learner, answers(learner, f"j{number + 2}", **change))
        assert not (await learned(learner)).promoted


async def test_learning_again_changes_nothing() -> None:
    learner = learner_of()
    await reward(learner, answers(learner, "j1"))
    one = await learned(learner)
    before = dict(learner.storage.objects)  # type: ignore[attr-defined]
    again = await learned(learner)
    assert (again.version, again.new, again.promoted) == (one.version, False, True)
    assert learner.storage.objects == before  # type: ignore[attr-defined]


async def test_two_that_learn_at_once_make_one_version_and_one_promotion() -> None:
    learner = learner_of()
    await reward(learner, answers(learner, "j1"))
    said = await asyncio.gather(*(learned(learner) for _ in range(3)))
    assert {each.version for each in said} == {said[0].version}
    assert sorted(each.new for each in said) == [False, False, True]
    assert len(await read_promotions(learner.storage, learner.policy)) == 1


async def test_a_step_that_knew_less_does_not_replace_what_stands() -> None:
    # Given a version fitted on two jobs that stands
    learner = learner_of()
    await reward(learner, answers(learner, "j1"))
    second = await reward(learner, answers(learner, "j2", seed=1))
    more = await learned(learner)
    # When one that saw the first job alone comes late
    data = await learner.storage.read(second)
    await learner.storage.delete([second])
    less = await learned(learner)
    await learner.storage.write(second, data)
    # Then it does not stand
    assert more.promoted
    assert not less.promoted
    assert "more" in less.verdict.reason


async def test_rolled_back_it_routes_as_before_until_someone_learns_by_hand() -> None:
    learner = learner_of({"name": "thompson", "epsilon": 0.05})
    at_first = await plans(learner)
    await reward(learner, answers(learner, "j1"))
    one = await learned(learner)
    then = await plans(learner)
    assert one.promoted
    await reward(learner, answers(learner, "j2", seed=1))
    two, last = await learned(learner), await standing(learner.storage, learner.policy)
    if not two.promoted:  # whatever judges said of it
        await promote(learner.storage, learner.policy, two.version, last, reason="test", at=1)
    assert await plans(learner) != then
    # When it is rolled back once, and once more
    await roll_back(learner.storage, learner.policy, None, 9_000)
    assert await plans(learner) == then
    await roll_back(learner.storage, learner.policy, None, 9_000)
    assert await plans(learner) == at_first
    # Then jobs that close promote nothing, and a person does
    assert not (await learned(learner)).promoted
    assert (await learned(learner, by_hand=True)).promoted
    how = [each.how for each in await read_promotions(learner.storage, learner.policy)]
    assert how == ["learned", "learned", "rollback", "rollback", "learned"]


async def test_a_new_tier_begins_with_its_trust_and_a_share_of_exploration() -> None:
    # Given what was learned of three tiers
    curious = {"name": "epsilon-greedy", "epsilon": 0.3}
    learner = learner_of(curious)
    await reward(learner, answers(learner, "j1"))
    assert (await learned(learner)).promoted
    # When a job of the same task adds a tier, and one asks another model under an old name
    spec = spec_of(curious, tiers=4)
    more = learner_of(storage=learner.storage, spec=spec)
    other = {name: f"m{name[1:]}" for name in TIERS} | {TierName("t0"): "another"}
    changed = learner_of(curious, storage=learner.storage, models=other)
    # Then both go on with the version, which knows nothing of what is new
    assert more.policy == changed.policy == learner.policy
    planned = await plans(more)
    alone = [plan for plan in planned if plan.tiers[0] == "t3"]
    assert alone
    assert {plan.route for plan in alone} == {"explore"}
    assert first(await plans(changed)) < 0.5 * first(await plans(learner))


async def test_a_better_label_replaces_a_weaker_one_and_no_answer_counts_twice() -> None:
    # Given what judges said, then gold for the same answers
    learner = learner_of()
    await reward(learner, answers(learner, "j1", label_source="judges", weight=0.1), "a")
    await reward(learner, answers(learner, "j1", labelled_at=2_000), "b")
    both = await learned(learner)
    # Then it is as if gold alone had been given
    alone = learner_of()
    await reward(alone, answers(alone, "j1"))
    one = await learned(alone)
    assert (both.rows, both.sources) == (one.rows, one.sources)
    assert both.sources.keys() == {"gold"}
    assert await plans(learner) != []
    assert [plan.tiers for plan in await plans(learner)] == [plan.tiers for plan in await plans(alone)]


async def test_older_jobs_weigh_less_by_the_discount() -> None:
    # Given two jobs, the first an update before the second
    learner = learner_of({"name": "thompson", "gamma": 0.5})
    first = answers(learner, "first", finished_at=1_000)
    await reward(learner, answers(learner, "second", queries=300, finished_at=2_000))
    await reward(learner, first)
    # When they are learned from
    version = (await learned(learner)).version
    # Then what the first taught weighs half
    known = await learner.snapshot(version)
    assert known is not None
    trained = {job: sum(row["query_key"] % 5 > 0 for row in rows) / 3 for job, rows in (
        ("first", first), ("second", answers(learner, "second", queries=300)),
    )}  # fmt: skip
    assert known.statistics.weight.tolist() == [trained["first"] / 2 + trained["second"]] * 3
