"""What a policy version expects of the tiers of one job: P(correct), what judges let pass, cost, latency."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.router.linear import Linear, Prior, Table, evidence, fit_linear
from pipeline.router.logistic import fit_logistic, logit
from pipeline.router.statistics import BINS, LENGTH, SPENT, Codes, Floats, Matrix32, Statistics, with_tier
from schemas.ids import TierName
from schemas.money import FREE, NANO_PER_USD, TOKEN_CLASSES, Price

TRUST_COUNTS = 10.0  # answers that a tier's stated trust weighs as much as
HARDER = (
    -0.12
)  # on P(correct), of a query that a tier has left, before anything is known: as recorded of nine models
HARDER_COUNTS = 50.0  # they differ by .05 to .24
RIDGES = (3, 10, 30, 100, 300, 1000, 3000)  # of features: the larger, the less they say
SURE = 0.02  # least variance of right or wrong
PASSING = (0.3, 0.7)  # of wrong and of right answers that are believed, before anything is known
PASSING_COUNTS = 4.0
SUITED_COUNTS = 20.0  # answers in a category that the learned model weighs as much as
LITTLE = (1e-9, 0.1)  # ridge of a call's spending over (1, length)
FAR = 4.6  # log-odds beyond which a confidence says nothing more: .99
KNOWN = 30.0  # weight of answers in a category from which its table is gone by


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """The tiers of a job, in the spec's order."""

    tiers: tuple[TierName, ...]
    accept: Floats  # [m], P(correct) from which a tier is believed
    trust: Mapping[TierName, float]
    prices: Mapping[TierName, Price]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """Tiers in the order of the ladder."""

    learned: Linear  # P(correct | features) of a query that no tier has left
    suited: Table  # P(correct | category), likewise
    known: np.ndarray[tuple[int], np.dtype[np.bool_]]  # [c], categories whose table has weight enough
    harder: Floats  # [m, m], [i, j]: added to P(correct) of j once i has left the query
    passing: Floats  # [m, 2], share believed of wrong and of right answers
    voices: Floats  # [m, 2], what rewards add to a tier's log-odds of being right, and multiply them by
    usd: Floats  # [m, LENGTH], expected cost of a call = (1, length) · usd
    latency_ms: Floats  # [m, LENGTH], likewise

    def cost(self, x: Matrix32) -> Floats:
        """[n, m] USD a call, of features x [n, d]."""
        return np.maximum(x[:, :LENGTH] @ self.usd.T, 0.0)


def outlook_of(stats: Statistics, ladder: Ladder) -> Outlook:
    """Tiers that the statistics do not know begin with their trust."""
    for tier in ladder.tiers:
        stats = with_tier(stats, tier, ladder.trust[tier])
    own = np.array([stats.tiers.index(tier) for tier in ladder.tiers])
    learned, harder = _learned(stats)
    usd, latency = _spending(stats, [ladder.prices.get(TierName(tier), FREE) for tier in stats.tiers])
    learned = Linear(learned.theta[own], learned.root[own])
    return Outlook(
        learned=learned,
        suited=_suited(stats, own, learned),
        known=stats.suited[:, own, 0].sum(axis=1) >= KNOWN,
        harder=harder[np.ix_(own, own)].T,
        passing=_passing(stats.judged[own], ladder.accept),
        voices=_voices(stats.judged[own]),
        usd=usd[own],
        latency_ms=latency[own],
    )


def _learned(stats: Statistics) -> tuple[Linear, Floats]:
    """How much features may say at all is itself learned: the ridge under which the rewards are most probable."""
    e, d = stats.moment.shape[1], stats.dimensions
    mean = np.zeros_like(stats.moment)
    mean[:, 0], mean[:, d:] = stats.trust, HARDER
    right = (stats.moment[:, 0] + TRUST_COUNTS * stats.trust) / (stats.weight + TRUST_COUNTS)
    noise = np.maximum(right * (1 - right), SURE)

    def prior(ridge: float) -> Prior:
        ridges = np.full(e, ridge)
        ridges[0], ridges[d:] = TRUST_COUNTS, HARDER_COUNTS
        return Prior(mean, ridges, noise)

    best = max(map(prior, RIDGES), key=lambda each: evidence(stats.gram, stats.moment, each))
    return fit_linear(stats.gram, stats.moment, best, shown=d)


def _suited(stats: Statistics, own: Codes, learned: Linear) -> Table:
    """Each category's record, drawn towards what the learned model says of its queries."""
    asked, right = stats.suited[:, own, 0], stats.suited[:, own, 1]
    expected = np.clip(learned.mean(_typical(stats)).astype(np.float64), 0.05, 0.95)
    return Table(right + SUITED_COUNTS * expected, asked - right + SUITED_COUNTS * (1 - expected))


def _typical(stats: Statistics) -> Matrix32:
    """[c, d], the mean features of each category's queries; of all where none is known."""
    nothing = np.eye(1, stats.dimensions, dtype=np.float32)
    everyone = stats.sample if len(stats.sample) else nothing
    of = [stats.sample[stats.sample_category == code] for code in range(len(stats.categories))]
    return np.stack([(rows if len(rows) else everyone).mean(axis=0) for rows in of])


def _passing(judged: Floats, accept: Floats) -> Floats:
    """[m, 2] from weights by confidence [m, BINS, 2]."""
    weight, right = judged[..., 0], judged[..., 1]
    believed = np.arange(BINS) / (BINS - 1) >= accept[:, None] - 1e-9
    answers = np.stack([weight - right, right], axis=-1)
    passed = (answers * believed[..., None]).sum(axis=1)
    shares: Floats = (passed + PASSING_COUNTS * np.array(PASSING)) / (answers.sum(axis=1) + PASSING_COUNTS)
    return shares


def _voices(judged: Floats) -> Floats:
    """Platt's scaling of what judges said of valid answers, drawn towards their word as it is."""
    odds = np.clip(logit(np.arange(1, BINS) / (BINS - 1)), -FAR, FAR)
    x = np.column_stack([np.ones(BINS - 1), odds / FAR])
    fits = []
    for weight, right in judged[:, 1:].transpose(0, 2, 1):
        share = np.divide(right, weight, out=np.zeros(BINS - 1), where=weight > 0)
        precision, as_said = np.array([0.5, 2 / FAR**2]), np.array([0.0, FAR])
        fits.append(fit_logistic(x, share, precision, mean=as_said, start=np.zeros(2), counts=weight))
    return np.stack(fits) / (1, FAR)


def _spending(stats: Statistics, prices: list[Price]) -> tuple[Floats, Floats]:
    """USD and ms of a call over (1, length): tokens at today's prices; as billed where the tier has no price."""
    gram = stats.gram[:, :LENGTH, :LENGTH]
    anyone = np.linalg.solve(gram.sum(axis=0) + np.diag(LITTLE), stats.spent.sum(axis=0))
    few = np.diag(LITTLE) + gram.sum(axis=0) / max(stats.weight.sum(), 1.0)  # the weight of one query
    fitted = np.linalg.solve(gram + few, stats.spent + few @ anyone)  # an unseen tier spends what others do
    at = {name: number for number, name in enumerate(SPENT)}
    usd = fitted[:, :, at["cost_usd"]].copy()
    for tier, price in enumerate(prices):
        if price != FREE:
            per_token = np.array([getattr(price, name) for name in TOKEN_CLASSES])
            usd[tier] = fitted[tier, :, : len(TOKEN_CLASSES)] @ per_token
            usd[tier, 0] += price.request
            usd[tier] /= price.denominator * NANO_PER_USD
    return usd, fitted[:, :, at["latency_ms"]]
