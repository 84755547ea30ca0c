"""A plain majority repeats what models that are alike get wrong together; the weighted vote over the same answers does
not."""

from pipeline.cascade.combine import standing
from pipeline.replay.outcomes import read_outcomes
from schemas.ids import TierName
from schemas.records import Answer, Step
from tests.benchmarks.fusion import CASCADES, SIBLINGS, compare
from tests.data import data_file


def step(value: str, confidence: float) -> Step:
    return Step(
        tier=TierName("t"), call_id=None, answer=Answer(value=value), votes=(), confidence=confidence,
        accepted=False, reason="",
    )  # fmt: skip


def test_two_doubtful_voices_do_not_outvote_a_sure_one() -> None:
    stands = standing([step("a", 0.55), step("a", 0.55), step("b", 0.97)])
    assert stands[2] > max(stands[:2])
    stands = standing([step("a", 0.8), step("a", 0.8), step("b", 0.85)])
    assert stands[2] < max(stands[:2])  # and two that are nearly as sure do


def test_siblings_do_not_outvote_a_better_model() -> None:
    [outcomes] = read_outcomes(data_file(CASCADES), datasets=["cascades/medmcqa"])
    found = compare(outcomes, SIBLINGS)
    assert found.gain > found.margin
    assert found.shared > 5 * found.converse
