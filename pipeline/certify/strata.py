"""A claim for each label: of the rows that a job answered with it, so many agree with the reference.

Each label is a population of its own, known once the job is answered. Rows whose reference answer is known by then
(those that were escalated to it, pilot and audit) count as what they are: whatever chose them, they are facts. Of the
others a fixed number is drawn by the hash that drew pilot and audit. Given which rows came first by that hash, the
order of the others is still uniform, and nothing that answered them had seen it: so whatever plan the first audit
chose, this draw is uniform without replacement among the others, and its count is hypergeometric. Over the labels Holm,
"A simple sequentially rejective multiple test procedure" (1979): P(any claim is wrong) <= delta, whatever is true.
"""

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from pipeline.certify.bounds import rows_needed, tail


class Stratum(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that were answered with one label."""

    label: str
    rows: int
    known: int = 0  # of these, rows whose reference answer was known before the draw
    sure: int = 0  # of the known, those that agree
    drawn: int = 0  # of the others, those drawn
    unasked: int = 0  # of the drawn, those the reference could not be asked about; they count as disagreeing
    agreeing: int = 0  # of the drawn

    @property
    def rest(self) -> int:
        """Rows to draw from."""
        return self.rows - self.known

    def p_value(self, target: float) -> float:
        """Of the hypothesis that the label lies below the target."""
        return tail(self.agreeing, self.drawn, self.rest, self._too_few(target))

    def fewest(self, target: float, delta: float) -> int | None:
        """Rows to draw at least, so that they can reject that hypothesis at delta: if all agree. None: no number."""
        good = self._too_few(target)
        if good == self.rest:
            return None
        return bisect_left(
            range(self.rest + 1), x=True, key=lambda drawn: tail(drawn, drawn, self.rest, good) <= delta
        )

    def _too_few(self, target: float) -> int:
        """Agreeing rows among the rest at most, where the label lies below the target."""
        return min(rows_needed(self.rows, target) - self.sure - 1, self.rest)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A stratum after its test. The one claim is "at least the target"."""

    stratum: Stratum
    certified: bool
    p: float  # of the hypothesis that the label lies below the target
    fewest: int | None  # rows to draw at least to certify it alone; None: it is known to lie below


def test_strata(strata: Sequence[Stratum], target: float, delta: float) -> list[Claim]:
    """Holm's step-down over the labels whose draw can certify them at all, which is known before it is looked at; in
    the order of `strata`."""
    fewest = [stratum.fewest(target, delta) for stratum in strata]
    p = [stratum.p_value(target) for stratum in strata]
    family = [
        at for at, (stratum, least) in enumerate(zip(strata, fewest, strict=True))
        if least is not None and least <= stratum.drawn
    ]  # fmt: skip
    passed = set[int]()
    for step, at in enumerate(sorted(family, key=p.__getitem__)):
        if p[at] > delta / (len(family) - step):
            break
        passed.add(at)
    return [
        Claim(stratum=stratum, certified=at in passed, p=p[at], fewest=fewest[at])
        for at, stratum in enumerate(strata)
    ]
