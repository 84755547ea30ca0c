"""One step of learning: fit all rewards of a scope, keep the version, judge it, promote it if it is not worse.

Done twice, or by two processes at once, it changes nothing: a version's id follows from the rewards it is fitted on.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence

import msgspec

from pipeline.learning import fitting
from pipeline.learning.held import Held, read_held
from pipeline.learning.judging import Verdict, judge
from pipeline.learning.learner import Learner
from pipeline.learning.rewards import grade, reward_files
from pipeline.learning.source import open_source
from pipeline.learning.store import (
    UNLEARNED,
    Promotion,
    Version,
    create_version,
    promote,
    read_promotions,
    read_version,
)
from pipeline.router import snapshot
from pipeline.router.snapshot import Snapshot
from pipeline.storage.final import Part, fetch_parts, scratch
from schemas.errors import NoSuchObject

FITTED_AS = "fit-1"  # another way to fit gives another version


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What a step came to."""

    policy: str
    version: str
    new: bool  # no step before made this version
    promoted: bool
    verdict: Verdict
    jobs: int
    rows: int  # answers that counted
    sources: dict[str, int]  # of their labels


async def learn_from(
    learner: Learner, tables: Mapping[str, Sequence[Part]], now: int, *, by_hand: bool = False
) -> Learned | None:
    """Grade what these tables of the job hold, then learn. `tables`: as `grade` takes them."""
    await grade(learner, tables)
    return await learn(learner, now, by_hand=by_hand)


async def learn(learner: Learner, now: int, *, by_hand: bool = False) -> Learned | None:
    """None where nothing was rewarded yet. `by_hand`: promotes again after a rollback."""
    storage = learner.storage
    keys = sorted(await reward_files(storage, learner.scope))
    if not keys:
        return None
    async with scratch(storage) as folder:
        paths = await fetch_parts(storage, keys, folder)
        source = await asyncio.to_thread(open_source, storage.uri, keys, paths, folder)
        fitted = await asyncio.to_thread(fitting.fit, source, learner.features, learner.gamma)
        held = await asyncio.to_thread(read_held, source, learner)
    version = _version(learner, keys)
    new = await create_version(storage, await _made(learner, version, keys, fitted, now))
    candidate = snapshot.decode((await read_version(storage, learner.policy, version)).snapshot)
    verdict, promoted = await _promote(learner, held, candidate, now, by_hand)
    return Learned(
        policy=learner.policy, version=version, new=new, promoted=promoted, verdict=verdict,
        jobs=len(source.jobs), rows=fitted.rows, sources=fitted.sources,
    )  # fmt: skip


def _version(learner: Learner, keys: Sequence[str]) -> str:
    """An id of what the version is a function of."""
    made_from = json.dumps([FITTED_AS, learner.policy, learner.gamma, keys])
    return hashlib.sha256(made_from.encode()).hexdigest()[:12]


async def _made(
    learner: Learner, version: str, keys: Sequence[str], fitted: fitting.Fit, now: int
) -> Version:
    promotions = await read_promotions(learner.storage, learner.policy)
    parents = (promotions[-1].version,) if promotions else ()
    learned = Snapshot(
        version=f"{learner.policy}@{version}",
        parents=tuple(f"{learner.policy}@{parent}" for parent in parents),
        rewards=tuple(keys),
        statistics=fitted.statistics,
    )
    return Version(
        policy=learner.policy, version=version, parents=parents, rewards=tuple(keys), rows=fitted.rows,
        created_at=now, snapshot=snapshot.encode(learned),
    )  # fmt: skip


async def _promote(
    learner: Learner, held: Held, candidate: Snapshot, now: int, by_hand: bool
) -> tuple[Verdict, bool]:
    """Judged again whenever another version was promoted in the meantime."""
    version = candidate.version.partition("@")[2]
    while True:
        promotions = await read_promotions(learner.storage, learner.policy)
        last = promotions[-1] if promotions else None
        before = await _before(learner, last)
        if reason := _held_back(candidate, before, last, by_hand):
            stands = last is not None and last.version == version
            return Verdict(as_good=False, how="none", reason=reason), stands
        verdict = await asyncio.to_thread(judge, learner, held, learner.own(candidate), before)
        if not verdict.as_good:
            return verdict, False
        if await promote(learner.storage, learner.policy, version, last, reason=verdict.reason, at=now):
            return verdict, True


def _held_back(candidate: Snapshot, before: Snapshot | None, last: Promotion | None, by_hand: bool) -> str:
    if before is not None and before.version == candidate.version:
        return "it stands already"
    if before is not None and set(candidate.rewards) < set(before.rewards):
        return "the version that stands has learned from more"
    if last is not None and last.how == "rollback" and not by_hand:
        return "the policy was rolled back; `tierwise learn` promotes again"
    return ""


async def _before(learner: Learner, last: Promotion | None) -> Snapshot | None:
    try:
        return await learner.snapshot(last.version if last else UNLEARNED)
    except NoSuchObject:  # deleted from the lake: judged beside the policy as it began
        return None
