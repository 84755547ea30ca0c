"""Policies by name, what they know of a query, and what learns for them between batches."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from pipeline.audit.ruling import Ruling
from pipeline.features.features import Features
from pipeline.features.hashing import HashingEncoder
from pipeline.features.stored import StoredVectors
from pipeline.learning.learner import Learner, arm_of, policy_name, scope_of
from pipeline.ports.encoder import Encoder
from pipeline.ports.policy import Policy
from pipeline.ports.storage import Storage
from pipeline.router.outlook import Ladder
from pipeline.router.planned import Features as Columns
from pipeline.router.planned import PlannedPolicy
from pipeline.router.policies import SCORINGS
from pipeline.router.policies.fixed_ladder import FixedLadder
from pipeline.router.snapshot import Snapshot
from pipeline.taxonomy.classify import Taxonomy
from schemas.ids import TierName
from schemas.job import EndpointEncoder, JobSpec
from schemas.manifest import Manifest
from schemas.money import Price
from schemas.records import Assignment
from schemas.taxonomy import TaxonomySpec

POLICIES = ("fixed-ladder", *SCORINGS)
WORDS = 48  # dimensions of a text's encoding for routing


def build_policy(
    spec: JobSpec,
    taxonomy: Taxonomy | None,
    prices: Mapping[TierName, Price],
    snapshot: Snapshot | None = None,
    *,
    epsilon: float | None = None,
    features: Columns | None = None,
) -> Policy:
    """By the name before the "@"; `schemas` checked its form, `submit` that it is known. Without a snapshot a learning
    policy has learned nothing yet. The snapshot's statistics are over the columns of `build_features`; `epsilon` and
    `features` stand in place of the spec's."""

    def allowed(assignment: Assignment) -> frozenset[TierName] | None:
        return taxonomy.allowed(assignment) if taxonomy else None

    use, names = spec.policy, tuple(TierName(tier.name) for tier in spec.tiers)
    accept = [tier.accept for tier in spec.tiers]
    if use.kind == "fixed-ladder":
        return FixedLadder(names, accept, allowed)
    scoring = SCORINGS[use.kind](**({} if use.alpha is None else {"alpha": use.alpha}))
    return PlannedPolicy(
        use.kind,
        scoring,
        snapshot,
        build_ladder(spec, prices),
        allowed,
        features or build_features(taxonomy, use.encoder),
        epsilon=use.epsilon if epsilon is None else epsilon,
        price=None if use.value_usd is None else 1 / float(use.value_usd),
        profile=use.profile if epsilon is None and scoring.profiles else 0.0,
        replans=use.replan and spec.promise is None,
        fuses=use.fuse and spec.promise is None,
    )


def certified_policy(taxonomy: Taxonomy | None, ruling: Ruling) -> Policy:
    """The plan that the audit froze."""

    def allowed(assignment: Assignment) -> frozenset[TierName] | None:
        return taxonomy.allowed(assignment) if taxonomy else None

    assert ruling.plan is not None
    return FixedLadder(ruling.plan.tiers, ruling.plan.accept, allowed, ruling.version)


def build_ladder(spec: JobSpec, prices: Mapping[TierName, Price]) -> Ladder:
    return Ladder(
        tiers=tuple(TierName(tier.name) for tier in spec.tiers),
        accept=np.array([tier.accept for tier in spec.tiers]),
        trust={TierName(tier.name): tier.trust for tier in spec.tiers},
        prices=prices,
    )


def build_features(taxonomy: Taxonomy | None, encoder: str | EndpointEncoder = "hashing") -> Features:
    """What routing knows of a query; statistics of rewards must be over the same. Raises MissingExtra."""
    paths = [node.path for node in taxonomy.nodes] if taxonomy else []
    return Features(build_encoder(encoder), paths)


def build_encoder(use: str | EndpointEncoder) -> Encoder | StoredVectors:
    if isinstance(use, EndpointEncoder):
        return StoredVectors(model=use.model, dimensions=use.dimensions, shortened=use.shortened)
    if use == "minilm":
        from pipeline.features.minilm import MiniLMEncoder

        return MiniLMEncoder()
    return HashingEncoder(dimensions=WORDS)


def build_learner(
    storage: Storage,
    spec: JobSpec,
    taxonomy: Taxonomy | None,
    pinned: Manifest,
    models: Mapping[TierName, str],
) -> Learner:
    """`models`: what each tier asks."""
    features = build_features(taxonomy, spec.policy.encoder)
    scope = scope_of(pinned.prompt_hash, features)
    return Learner(
        storage=storage,
        job=pinned.job,
        policy=policy_name(spec.policy.kind, scope),
        scope=scope,
        frozen=spec.policy.version,
        features=features,
        arms={arm_of(tier, model): tier for tier, model in models.items()},
        ladder=build_ladder(spec, pinned.prices),
        reference=TierName(spec.quality.reference if spec.quality else spec.tiers[-1].name),
        gamma=spec.policy.gamma,
        build=partial(build_policy, spec, taxonomy, pinned.prices),
    )


def build_taxonomy(spec: JobSpec) -> Taxonomy | None:
    use = spec.taxonomy
    if use is None:
        return None
    assert isinstance(use.tree, TaxonomySpec)  # submit read the file in
    return Taxonomy(
        use.tree, HashingEncoder(), familiar_margin=use.familiar_margin, slow_weight=use.slow_weight
    )
