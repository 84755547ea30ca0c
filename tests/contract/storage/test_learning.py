"""Learning on every kind of lake: reward files in, one version and one promotion out."""

from pipeline.learning.drift import find_drift
from pipeline.learning.learn import learn
from pipeline.learning.store import read_promotions, read_versions, roll_back
from pipeline.ports.storage import Storage
from tests.unit.learning.rewards import answers, learner_of, reward


async def test_one_version_stands_on_every_store(storage: Storage) -> None:
    # Given rewards of two jobs, some of them with a later label
    learner = learner_of(storage=storage)
    await reward(learner, answers(learner, "j1"))
    await reward(learner, answers(learner, "j1", queries=100, labelled_at=2_000), "later")
    await reward(learner, answers(learner, "j2", seed=1, finished_at=2_000))
    # When they are learned from twice
    one, two = await learn(learner, 5_000), await learn(learner, 5_000)
    # Then one version stands, and there is a way back
    assert one is not None
    assert two is not None
    assert (one.promoted, one.new, two.promoted, two.new) == (True, True, True, False)
    assert len(await read_versions(storage, learner.policy)) == 1
    await roll_back(storage, learner.policy, None, 6_000)
    assert [each.version for each in await read_promotions(storage, learner.policy)] == [one.version, "0"]
    assert (await learner.standing()).version == "epsilon-greedy@0"
    assert (await find_drift(storage, learner.scope)).latest == "j2"
