"""Fusion: the answers already paid for vote, each by the log-odds that it is right. No call is made for the vote."""

from collections.abc import Mapping, Sequence
from math import exp, log

import msgspec

from pipeline.cascade.combine import alone
from schemas.ids import TierName
from schemas.records import Step, Value

SHARED = 0.5  # of what a further voice for the same answer says: models err together


class Fused(msgspec.Struct, frozen=True, kw_only=True):
    step: Step  # the surest of those that gave the answer
    confidence: float  # P(correct) by the vote
    voices: tuple[TierName, ...]  # tiers that gave it
    against: tuple[TierName, ...]  # tiers that gave another

    @property
    def told(self) -> str:
        others = f" against {' + '.join(self.against)}" if self.against else ""
        return f"fused: {' + '.join(self.voices)}{others}"


Voices = Mapping[TierName, tuple[float, float]]


def fuse(steps: Sequence[Step], choices: int, voices: Voices) -> Fused | None:
    """The answer that most speaks for; None where none is valid. `choices`: answers there could be; `voices`: what is
    known of each tier's own word, which else counts as it is."""
    valid = [step for step in steps if step.answer.value is not None]
    if not valid:
        return None
    odds = [_calibrated(alone(step), *voices.get(step.tier, (0.0, 1.0))) for step in valid]
    group, confidence = weigh([step.answer.value for step in valid], odds, choices)
    return Fused(
        step=valid[max(group, key=lambda at: (odds[at], at))],
        confidence=confidence,
        voices=tuple(valid[at].tier for at in group),
        against=tuple(step.tier for at, step in enumerate(valid) if at not in group),
    )


def weigh(values: Sequence[Value | None], odds: Sequence[float], choices: int) -> tuple[list[int], float]:
    """Places of the likeliest answer, and P(correct) of it; among equals the one that came last.

    A tier that is right with probability p and else gives any other of L answers speaks for its own with
    log(p (L - 1) / (1 - p)); every answer that nobody gave keeps exp(0). The surest voice for an answer counts in
    full, each further one less what it shares with it.
    """
    groups: list[list[int]] = []
    for at, value in enumerate(values):
        same = next((group for group in groups if values[group[0]] == value), None)
        if same is None:
            groups.append([at])
        else:
            same.append(at)
    rest = max(choices - 1, 1)
    weights = [_weight([odds[at] + log(rest) for at in group]) for group in groups]
    best = max(range(len(groups)), key=lambda number: (weights[number], groups[number][-1]))
    nobodys = max(rest + 1 - len(groups), 0)
    return groups[best], exp(weights[best]) / (sum(map(exp, weights)) + nobodys)


def _calibrated(odds: float, shift: float, scale: float) -> float:
    return shift + scale * odds


def _weight(voices: Sequence[float]) -> float:
    surest = max(voices)
    return surest + (1 - SHARED) * (sum(voices) - surest)
