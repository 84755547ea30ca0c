"""Plans over a ladder, what each is expected to get and cost for each query, and the one worth most.

One rule for routing and cascading: a single tier is a cascade of one (Dekoninck et al., arXiv 2410.10347).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from pipeline.router.outlook import Outlook
from pipeline.router.statistics import Codes, Floats, Matrix32

LONGEST = 3  # tiers of a plan; the whole ladder is one as well
_SURE = 0.99  # no tier is always right, or never

Path = tuple[int, ...]  # positions in the ladder


def paths_over(tiers: Sequence[int], longest: int = LONGEST) -> list[Path]:
    """Every way up the tiers in their order, of at most `longest`, and the whole ladder, which comes last."""
    sizes = range(1, min(longest, len(tiers) - 1) + 1)
    return [path for size in sizes for path in combinations(tiers, size)] + [tuple(tiers)]


@dataclass(frozen=True, slots=True)
class Expected:
    """Of each query and path, [n, paths]."""

    correct: Floats  # P(correct)
    usd: Floats

    def best(self, price: float) -> Codes:
        """[n], the path with the largest P(correct) - λ·cost; of equals, the first."""
        found: Codes = np.argmax(self.correct - price * self.usd, axis=1)
        return found


def expect(
    outlook: Outlook,
    paths: Sequence[Path],
    likely: Matrix32 | Floats,
    usd: Floats,
    standing: Floats | None = None,
) -> Expected:
    """likely: [n, m] P(correct) of each tier, asked first; usd: [n, m] cost of each tier; standing: [n] P(correct) of
    an answer that is there already, and is fused with those to come.

    A tier's judges believe a share of its right answers and a share of its wrong ones; a query whose answer was
    not believed goes on, and is then harder for the others by what rewards have shown. A fused answer gives way only to
    a likelier one.
    """

    @cache
    def unbelieved(path: Path) -> tuple[Floats, Floats, Floats]:
        """Share of queries that every tier of the path has left, P(correct) of those that stayed, USD so far."""
        if not path:
            return np.ones(len(likely)), np.zeros(len(likely)), np.zeros(len(likely))
        reached, correct, spent = unbelieved(path[:-1])
        chance, (wrong, right) = _chance(outlook, likely, path), outlook.passing[path[-1]]
        left = reached * (1 - wrong - (right - wrong) * chance)
        return left, correct + reached * right * chance, spent + reached * usd[:, path[-1]]

    made = np.empty((2, len(likely), len(paths)))
    for number, path in enumerate(paths):
        reached, correct, spent = unbelieved(path[:-1])
        chance = _chance(outlook, likely, path)
        made[0, :, number] = correct + reached * chance
        if standing is not None:
            left, believed, _ = unbelieved(path)
            made[0, :, number] = believed + np.maximum(made[0, :, number] - believed, left * standing)
        made[1, :, number] = spent + reached * usd[:, path[-1]]
    return Expected(made[0], made[1])


def _chance(outlook: Outlook, likely: Matrix32 | Floats, path: Path) -> Floats:
    """P(correct) of the path's last tier, all before it having left the query."""
    shift = outlook.harder[list(path[:-1]), path[-1]].sum()
    chance: Floats = np.clip(likely[:, path[-1]].astype(np.float64) + shift, 1 - _SURE, _SURE)
    return chance
