"""Choosing among fitted rules: at a price of accuracy (a curve's knob), or at a target (an operating point)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.router.observed import Matrix, Observed, Rows, Tried, Vector, joined
from pipeline.router.rules import Rule

MARGIN = 1.0  # standard errors of the paired difference that a rule must clear its target by
PARTS = 5  # of cross-fitting
KNOBS = 40


@dataclass(frozen=True, slots=True)
class Fitted:
    """Candidate rules of one method with what they got on the rows they are chosen on: [rules, n] each.

    Where a rule's fit could have learned those rows by heart, the tables are cross-fitted.
    """

    rules: Sequence[Rule]
    correct: Matrix
    cost: Matrix

    def at_prices(self, usd: Vector) -> list[int]:
        """Numbers of the rules that maximise accuracy - cost / usd: what one more right answer may cost, [k]."""
        value = self.correct.mean(axis=1) - self.cost.mean(axis=1) / usd[:, None]
        return [int(number) for number in np.argmax(value, axis=1)]

    def at_target(self, fraction: float, reference: Vector, margin: float = MARGIN) -> int | None:
        """Number of the cheapest rule whose accuracy is at least `fraction` of the reference's, less luck.

        reference: [n] correctness of the reference model on the same rows. Whoever is cheapest among thousands of
        candidates is also the luckiest: the paired difference must be above zero by `margin` standard errors.
        """
        difference = self.correct - fraction * reference
        error = difference.std(axis=1) / np.sqrt(len(reference))
        enough = np.flatnonzero(difference.mean(axis=1) - margin * error >= 0)
        if not len(enough):
            return None
        return int(enough[np.argmin(self.cost[enough].mean(axis=1))])

    def seen_on(self, rows: Observed) -> "Fitted":
        """The same rules, to be chosen on these rows too: audited ones, where every model was asked."""
        runs = [rule.run(rows) for rule in self.rules]
        return Fitted(
            self.rules,
            np.column_stack([self.correct, np.stack([run.correct for run in runs])]),
            np.column_stack([self.cost, np.stack([run.cost for run in runs])]),
        )


def prices(rows: Observed, count: int = KNOBS) -> Vector:
    """[count] USD that one more right answer may cost, from a twentieth of the dearest model's call to 500 of them."""
    usd: Vector = np.geomspace(0.05, 500, count) * rows.cost.mean(axis=0).max()
    return usd


def together(fitted: Sequence[Fitted]) -> Fitted:
    """The candidates of several methods as one, all chosen on the same rows."""
    return Fitted(
        [rule for each in fitted for rule in each.rules],
        np.concatenate([each.correct for each in fitted]),
        np.concatenate([each.cost for each in fitted]),
    )


def cross_fitted(fit: Callable[[Observed], Sequence[Rule]], rows: Observed, seed: int = 0) -> Fitted:
    """Rules fitted on all rows, beside what their twins, fitted on the other parts, got on each part.

    fit: gives the same number of rules in the same order (of knobs) whatever the rows.
    """
    part = np.random.default_rng(seed).permutation(len(rows)) % PARTS
    parts: list[list[tuple[Rows, Tried]]] = []
    for held_out in (np.flatnonzero(part == number) for number in range(PARTS)):
        twins = fit(rows.take(np.setdiff1d(np.arange(len(rows)), held_out)))
        others = rows.take(held_out)
        parts.append([(held_out, twin.run(others)) for twin in twins])
    runs = [joined(knob, len(rows)) for knob in zip(*parts, strict=True)]
    return Fitted(fit(rows), np.stack([run.correct for run in runs]), np.stack([run.cost for run in runs]))
