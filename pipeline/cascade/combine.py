"""From the judges' scores to P(correct): a logistic combiner, with stated weights until rewards fit better ones."""

from collections.abc import Mapping, Sequence
from math import exp, log

import msgspec

from schemas.records import AGREEMENT, Step, Vote

_EDGE = 1e-4


class Combiner(msgspec.Struct, frozen=True, kw_only=True):
    """The log-odds of a right answer, as a weighted sum. But for `bias`, no weight is negative: more support never
    makes an answer less likely."""

    version: str = "stated"
    bias: float = 0.0
    confidence: float = 1.0  # of the log-odds of the tier's own confidence
    trust: float = 1.0  # of the log-odds of the tier's trust, where it states no confidence
    beside: float = 0.0  # of the same, where it states one
    judges: dict[str, float]  # of 2·score - 1, by the judge's name: log-odds of a score of 1, against .5

    def weights(self, names: Sequence[str]) -> list[float]:
        """In the order of `evidence`."""
        return [self.bias, self.confidence, self.trust, self.beside, *map(self.of, names)]

    def of(self, judge: str) -> float:
        """1 for a judge that nothing is stated of."""
        return self.judges.get(judge, 1.0)


STATED = Combiner(
    judges={"agreement": AGREEMENT, "self-consistency": 1.5, "model-graded": 2.0, "student": 2.0}
)


def combine(votes: Sequence[Vote], trust: float, by: Combiner = STATED) -> float:
    """P(correct) of one answer. `trust` stands in where nobody knows the tier's confidence."""
    scores = {vote.judge: vote.score for vote in votes if vote.score is not None}
    if scores.pop("valid", None) == 0.0:
        return 0.0
    confidence = scores.pop("confidence", None)
    if confidence is None:
        odds = by.bias + by.trust * _logit(trust)
    else:
        odds = by.bias + by.confidence * _logit(confidence) + by.beside * _logit(trust)
    for judge, score in scores.items():
        odds += by.of(judge) * (2 * score - 1)
    return _probability(odds)


def evidence(scores: Mapping[str, float], trust: float, names: Sequence[str]) -> list[float]:
    """What the weights are multiplied with; a judge that is silent says nothing either way."""
    confidence, believed = scores.get("confidence"), _logit(trust)
    own = [0.0, believed, 0.0] if confidence is None else [_logit(confidence), 0.0, believed]
    return [1.0, *own, *(2 * scores.get(name, 0.5) - 1 for name in names)]


def alone(step: Step) -> float:
    """Log-odds of an answer by its own votes: its agreement with those before it is left out."""
    before = next((vote.score for vote in step.votes if vote.judge == "agreement"), None)
    return _logit(step.confidence) - (0.0 if before is None else step.agreement * (2 * before - 1))


def standing(steps: Sequence[Step]) -> list[float]:
    """P(correct) of each answer in the light of all, as if it had come last: who was asked first could not yet know
    who would disagree. 0 without a valid answer."""
    values = [step.answer.value for step in steps]
    stands = []
    for position, step in enumerate(steps):
        others = [value for at, value in enumerate(values) if at != position and value is not None]
        if values[position] is None or not others:
            stands.append(step.confidence if values[position] is not None else 0.0)
            continue
        agreed = sum(value == values[position] for value in others) / len(others)
        stands.append(_probability(alone(step) + step.agreement * (2 * agreed - 1)))
    return stands


def _probability(odds: float) -> float:
    return 1 / (1 + exp(-odds))


def _logit(probability: float) -> float:
    kept = min(max(probability, _EDGE), 1 - _EDGE)
    return log(kept / (1 - kept))
