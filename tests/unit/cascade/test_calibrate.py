"""The combiner's weights from labelled votes."""

import numpy as np
import pytest

from pipeline.cascade.calibrate import Labelled, calibrate, fitness
from pipeline.cascade.combine import STATED, combine
from schemas.records import Vote


def labelled(count: int = 2000, seed: int = 0, useful: float = 0.9, contrary: bool = False) -> list[Labelled]:
    """A tier that overstates its confidence, a judge that is right so often, and one that knows nothing."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        right = bool(random.random() < 0.7)
        says = right == (random.random() < useful)
        rows.append(
            Labelled(
                scores={
                    "valid": 1.0,
                    "confidence": float(np.clip(random.normal(0.93 if right else 0.88, 0.05), 0, 1)),
                    "model-graded": float(says != contrary),
                    "agreement": float(random.random()),
                },
                trust=0.6,
                right=right,
            )
        )
    return rows


def test_what_judges_know_weighs_and_what_they_do_not_does_not() -> None:
    made = calibrate(labelled())

    assert made.judges["model-graded"] > 1.5  # log-odds of .9 are 2.2
    assert made.judges["agreement"] < 0.3 < STATED.judges["agreement"]
    held = labelled(seed=1)
    before, after = fitness(STATED, held), fitness(made, held)
    assert after.brier < 0.7 * before.brier
    assert after.log_loss < 0.7 * before.log_loss


def test_a_judge_that_is_wrong_more_often_than_not_gets_no_voice() -> None:
    made = calibrate(labelled(contrary=True))
    assert made.judges["model-graded"] == 0.0


def test_few_labels_leave_the_weights_where_they_were_stated() -> None:
    expected = Labelled(scores={"confidence": 0.9, "model-graded": 1.0}, trust=0.6, right=True)
    made = calibrate([expected] * 3)
    assert made.confidence == pytest.approx(STATED.confidence, abs=0.1)
    assert made.judges["model-graded"] == pytest.approx(STATED.judges["model-graded"], abs=0.1)
    assert made.judges["student"] == STATED.judges["student"]


def test_probabilities_that_are_true_score_best() -> None:
    rows = [Labelled(scores={"confidence": 0.8}, trust=0.5, right=number < 8) for number in range(10)]
    assert fitness(STATED, rows).brier == pytest.approx(0.16)
    assert combine([Vote(judge="confidence", version=1, score=0.8)], 0.5) == pytest.approx(0.8)
