"""Whether the latest job is still like those that routing learned from: rewards, categories, answers."""

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from math import erfc, sqrt
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.learning.rewards import reward_files
from pipeline.learning.source import open_rewards
from pipeline.ports.storage import Storage
from pipeline.storage.final import fetch_parts, scratch
from pipeline.storage.sql import named

ALPHA = 0.01  # chance of one false alarm over all tests of a job
LEAST_REWARD = 0.02  # change of a tier's accuracy that matters
LEAST_SHARES = 0.05  # part of the queries that moved to another category or answer

What = Literal["reward", "categories", "labels"]


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of the latest job with those before."""

    what: What
    name: str  # "TIER MODEL" of a reward; else ""
    before: int  # answers or queries
    now: int
    change: float  # of accuracy; of shares, the part that moved (total variation)
    p: float  # that chance alone does this
    drifted: bool


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    latest: str | None  # job; None: nothing was rewarded
    tests: tuple[Test, ...]

    @property
    def found(self) -> bool:
        return any(test.drifted for test in self.tests)


async def find_drift(storage: Storage, scope: str) -> Drift:
    async with scratch(storage) as folder:
        paths = await fetch_parts(storage, sorted(await reward_files(storage, scope)), folder)
        if not paths:
            return Drift(latest=None, tests=())
        return await asyncio.to_thread(_find, storage.uri, paths, folder)


def _find(uri: str, paths: Sequence[Path], folder: Path) -> Drift:
    statements = named((files("pipeline.learning") / "drift.sql").read_text(encoding="utf-8"))
    with open_rewards(uri, paths, folder) as connection:
        connection.execute(statements["once"])
        [(latest,)] = connection.execute(statements["latest"]).fetchall()
        counted = {
            what: connection.execute(statements[what], {"latest": latest}).fetchall()
            for what in ("rewards", "categories", "labels")
        }
    rewards = [row for row in counted["rewards"] if row[1] and row[2]]
    level = ALPHA / (len(rewards) + 2)  # Bonferroni's correction
    tests = [_reward(*row, level=level) for row in rewards]
    tests += [_shares(what, [row[1:] for row in counted[what]], level) for what in ("categories", "labels")]
    return Drift(latest=latest, tests=tuple(tests))


def _reward(name: str, before: int, now: int, before_right: float, now_right: float, *, level: float) -> Test:
    change, p = compare_shares(before, now, before_right, now_right)
    drifted = p < level and abs(change) >= LEAST_REWARD
    return Test(what="reward", name=name, before=before, now=now, change=change, p=p, drifted=drifted)


def _shares(what: What, counts: Sequence[tuple[int, int]], level: float) -> Test:
    before, now = sum(row[0] for row in counts), sum(row[1] for row in counts)
    change, p = compare_mixes(counts)
    drifted = p < level and change >= LEAST_SHARES
    return Test(what=what, name="", before=before, now=now, change=change, p=p, drifted=drifted)


def compare_shares(before: int, now: int, before_right: float, now_right: float) -> tuple[float, float]:
    """Change of a share, and the p-value of two proportions, pooled. Both counts are above zero."""
    change = now_right / now - before_right / before
    pooled = (now_right + before_right) / (now + before)
    error = sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / now + 1 / before))
    return change, erfc(abs(change) / error / sqrt(2))


def compare_mixes(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Part that moved (total variation) between two rows of counts, and the p-value of Pearson's χ² with as many
    degrees of freedom as names less one."""
    before, now = sum(row[0] for row in counts), sum(row[1] for row in counts)
    if not before or not now or len(counts) < 2:
        return 0.0, 1.0
    change = sum(abs(b / before - n / now) for b, n in counts) / 2
    expected = [((b + n) * before / (before + now), (b + n) * now / (before + now)) for b, n in counts]
    pairs = zip(counts, expected, strict=True)
    statistic = sum((b - eb) ** 2 / eb + (n - en) ** 2 / en for (b, n), (eb, en) in pairs)
    return change, _exceeds(statistic, len(counts) - 1)


def _exceeds(statistic: float, freedom: int) -> float:
    """P(χ² > statistic), by Wilson and Hilferty's cube root (PNAS 17, 1931): within .001 of exact at such levels."""
    spread = 2 / (9 * freedom)
    z = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / sqrt(spread)
    return erfc(z / sqrt(2)) / 2
