"""How far P(correct) can be taken at its word."""

from dataclasses import dataclass

import numpy as np

from pipeline.router.statistics import Floats

BINS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    brier: float  # mean squared error; 0 is best, the base rate alone gets `base`
    base: float
    table: list[
        tuple[int, float, float]
    ]  # predictions in a tenth of 0..1, their mean, the share that was right

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of predicted and right, weighted by predictions."""
        total = sum(count for count, _, _ in self.table)
        return sum(count * abs(said - right) for count, said, right in self.table) / total

    def lines(self) -> list[str]:
        """For people."""
        head = f"Brier {self.brier:.4f} (base rate alone {self.base:.4f}), calibration error {self.error:.4f}"
        return [head, *(f"{count:>8} said {said:.3f} right {right:.3f}" for count, said, right in self.table)]


def calibration(likely: Floats, correct: Floats) -> Calibration:
    """likely, correct: [n] in 0..1."""
    rate = correct.mean()
    tenth = np.minimum((likely * BINS).astype(np.intp), BINS - 1)
    table = [
        (int(here.sum()), float(likely[here].mean()), float(correct[here].mean()))
        for here in (tenth == number for number in range(BINS))
        if here.any()
    ]
    return Calibration(float(((likely - correct) ** 2).mean()), float(((rate - correct) ** 2).mean()), table)
