"""A job as learning sees it: what its rewards are filed under, and the policy as its versions come and go."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from msgspec import structs

from pipeline.features.features import Features
from pipeline.learning.store import UNLEARNED, read_version, standing
from pipeline.ports.policy import Policy
from pipeline.ports.storage import Storage
from pipeline.router import snapshot
from pipeline.router.outlook import Ladder
from pipeline.router.planned import Features as Columns
from pipeline.router.snapshot import Snapshot
from schemas.ids import JobId, TierName


class Build(Protocol):
    """The job's policy with what was learned; `epsilon` and `features` in place of its own."""

    def __call__(
        self, snapshot: Snapshot | None, *, epsilon: float | None = None, features: Columns | None = None
    ) -> Policy: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Learner:
    storage: Storage
    job: JobId
    policy: str  # KIND-SCOPE
    scope: str  # jobs of one scope learn from one another
    frozen: str | None  # the version that the spec stays with
    features: Features
    arms: Mapping[TierName, TierName]  # "TIER MODEL" as rewards name it -> tier
    ladder: Ladder
    reference: TierName  # whose answers the audit's rows are held against
    gamma: float
    build: Build
    _known: dict[str, Policy] = field(default_factory=dict)

    async def standing(self) -> Policy:
        """The version that routes from now on: the one the spec names, else the promoted one."""
        if self.frozen:
            return await self.at(f"{self.policy}@{self.frozen}")
        promoted = await standing(self.storage, self.policy)
        return await self.at(f"{self.policy}@{promoted.version if promoted else UNLEARNED}")

    async def at(self, version: str) -> Policy:
        """The policy as it was at a version, `POLICY@VERSION`. Raises NoSuchObject."""
        if version not in self._known:
            known = await self.snapshot(version.partition("@")[2])
            self._known[version] = self.build(known)
        return self._known[version]

    async def snapshot(self, version: str) -> Snapshot | None:
        if version == UNLEARNED:
            return None
        return self.own(snapshot.decode((await read_version(self.storage, self.policy, version)).snapshot))

    def own(self, learned: Snapshot) -> Snapshot:
        """With this job's names of its tiers and its trust in them; a tier that asks another model is a new one."""
        stats = learned.statistics
        tiers = tuple(self.arms.get(arm, arm) for arm in stats.tiers)
        trust = [
            self.ladder.trust.get(tier, old) for tier, old in zip(tiers, stats.trust.tolist(), strict=True)
        ]
        return structs.replace(learned, statistics=replace(stats, tiers=tiers, trust=np.array(trust)))


def arm_of(tier: TierName, model: str) -> TierName:
    """What rewards are learned by: a tier that asks another model is another one. A student is one, however often it
    was taught anew."""
    return TierName(f"{tier} {'student' if model.startswith('student-') else model}")


def scope_of(prompt_hash: str, features: Features) -> str:
    """What is asked and how queries are seen: what was learned of one task says nothing of another."""
    return hashlib.sha256(f"{prompt_hash}/{features.version}".encode()).hexdigest()[:12]


def policy_name(kind: str, scope: str) -> str:
    return f"{kind}-{scope}"
