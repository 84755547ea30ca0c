"""From the judges' scores to P(correct): a logistic combiner, with stated weights until rewards fit better ones."""

from collections.abc import Sequence
from math import exp, log

from schemas.records import Vote

VERSION = 1
AGREEMENT_WEIGHT = 1.5  # log-odds of all earlier tiers agreeing, against none
_EDGE = 1e-4


def combine(votes: Sequence[Vote], trust: float) -> float:
    """P(correct) of one answer. `trust` stands in where nobody knows the tier's confidence."""
    scores = {vote.judge: vote.score for vote in votes}
    if scores.get("valid") == 0.0:
        return 0.0
    confidence = scores.get("confidence")
    odds = _logit(trust if confidence is None else confidence)
    agreement = scores.get("agreement")
    if agreement is not None:
        odds += AGREEMENT_WEIGHT * (2 * agreement - 1)
    return 1 / (1 + exp(-odds))


def _logit(probability: float) -> float:
    kept = min(max(probability, _EDGE), 1 - _EDGE)
    return log(kept / (1 - kept))
