import numpy as np

from pipeline.router.fusing import Fusion
from pipeline.router.observed import Observed, Vector
from pipeline.router.rules import Cascade, Escalation
from tests.unit.router.rows import observed

ROWS = observed(
    correct=[[1, 1, 1], [0, 1, 1], [0, 0, 1]],
    cost=[1.0, 10.0, 100.0],
    score=[[0.9, 0.9, 0.9], [0.2, 0.8, 0.9], [0.3, 0.4, 0.9]],
)


def test_a_cascade_pays_for_every_model_it_asked_and_answers_with_the_last() -> None:
    tried = Cascade((0, 1, 2), (0.5, 0.5)).run(ROWS)
    assert tried.correct.tolist() == [1, 1, 1]
    assert tried.cost.tolist() == [1, 11, 111]
    assert tried.calls.tolist() == [1, 2, 3]


def test_a_score_at_the_threshold_is_accepted() -> None:
    assert Cascade((0, 1), (0.2,)).run(ROWS).calls.tolist() == [1, 1, 1]
    assert Cascade((0, 1), (0.21,)).run(ROWS).calls.tolist() == [1, 2, 1]


def test_without_a_recorded_score_nothing_is_accepted() -> None:
    rows = observed(correct=[[1, 1]], cost=[1.0, 2.0])
    assert Cascade((0, 1), (0.01,)).run(rows).calls.tolist() == [2]


def test_one_model_alone() -> None:
    tried = Cascade((2,)).run(ROWS)
    assert np.array_equal(tried.cost, [100, 100, 100])


class Told:
    """A scorer that says what it was told: scores [n, m], and how good each model's prospects are [n, m]."""

    def __init__(self, scores: list[list[float]]) -> None:
        self.scores = np.array(scores)

    def score(self, rows: Observed, model: int, beside: int | None = None) -> Vector:
        return self.scores[:, model]

    def outlook(self, rows: Observed, asked: int, judged: int, beside: int | None = None) -> Vector:
        return self.scores[:, judged]


def test_nobody_is_asked_again_where_neither_would_be_right() -> None:
    # Given queries that the first surely answers, that only the second does, and that neither does
    told = Told([[0.9, 0.95, 0], [0.2, 0.9, 0], [0.1, 0.15, 0]])
    tried = Escalation((0, 1), 0.3, told).run(ROWS)
    # Then only where it helps is the second asked
    assert tried.calls.tolist() == [1, 2, 1]
    assert tried.cost.tolist() == [1, 11, 1]
    assert tried.correct.tolist() == [1, 1, 0]


def test_an_answer_is_outvoted_by_a_likelier_one_only() -> None:
    # Given two differing answers to each of three queries, both paid for in the first two
    rows = observed(correct=[[1, 0], [0, 1], [1, 0]], cost=[1.0, 10.0], answer=[[0, 1], [0, 1], [0, 1]])
    told = Told([[0.6, 0.3], [0.4, 0.8], [0.9, 0.0]])
    tried = Fusion((0, 1), 0.7, told).run(rows)
    assert tried.correct.tolist() == [1, 1, 1]
    assert tried.cost.tolist() == [11, 11, 1]


def test_equal_answers_have_one_voice() -> None:
    rows = observed(correct=[[1, 1]], cost=[1.0, 10.0], answer=[[5, 5]])
    assert Fusion((0, 1), 0.7, Told([[0.6, 0.3]])).run(rows).correct.tolist() == [1]
