"""P(correct) per tier with its uncertainty: least squares over features, and a table over categories."""

from dataclasses import dataclass

import numpy as np

from pipeline.router.statistics import Codes, Floats, Matrix32

_BLOCK = 256  # rows whose products stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Linear:
    """Bayesian linear regression, one per tier: θ ~ N(mean, root·rootᵀ) (Li et al., arXiv 1003.0146, section 3)."""

    theta: Matrix32  # [m, d]
    root: Matrix32  # [m, d, d]

    def mean(self, x: Matrix32) -> Matrix32:
        """[n, m] of x [n, d]; may leave 0..1."""
        return x @ self.theta.T

    def deviation(self, x: Matrix32) -> Matrix32:
        """[n, m]: the standard deviation of the mean, sqrt(xᵀ Σ x)."""
        tiers, d = self.theta.shape
        wide = np.ascontiguousarray(self.root.transpose(1, 0, 2).reshape(d, tiers * d))
        found = np.empty((len(x), tiers), dtype=np.float32)
        product = np.empty((_BLOCK, tiers * d), dtype=np.float32)
        for start in range(0, len(x), _BLOCK):
            block = x[start : start + _BLOCK]
            made = np.matmul(block, wide, out=product[: len(block)]).reshape(len(block), tiers, d)
            np.einsum("nmd,nmd->nm", made, made, out=found[start : start + _BLOCK])
        return np.sqrt(found, out=found)

    def drawn(self, random: np.random.Generator) -> "Linear":
        """One θ of each tier's, taken as certain."""
        normal = random.standard_normal(self.theta.shape).astype(np.float32)
        theta = self.theta + np.einsum("mij,mj->mi", self.root, normal)
        return Linear(theta, np.zeros_like(self.root))


@dataclass(frozen=True, slots=True)
class Prior:
    """Of the weights of one tier's model: N(mean, noise / ridge)."""

    mean: Floats  # [m, e]
    ridge: Floats  # [e]
    noise: Floats  # [m], variance of right or wrong


def fit_linear(gram: Floats, moment: Floats, prior: Prior, shown: int) -> tuple[Linear, Floats]:
    """From gram [m, e, e] and moment [m, e]: the model over the first `shown` features, the others being 0, and the
    mean weights of those others [m, e - shown]."""
    covariance, theta = _posterior(gram, moment, prior)
    root = np.linalg.cholesky(covariance[:, :shown, :shown] * prior.noise[:, None, None])
    return Linear(theta[:, :shown].astype(np.float32), root.astype(np.float32)), theta[:, shown:]


def evidence(gram: Floats, moment: Floats, prior: Prior) -> float:
    """Log of the probability of all that was seen under a prior, up to a constant (Bishop, PRML, equation 3.86)."""
    covariance, theta = _posterior(gram, moment, prior)
    fit = np.einsum("me,me->m", theta, moment + prior.mean * prior.ridge)
    fit -= (prior.mean**2 * prior.ridge).sum(axis=1)
    sizes = np.linalg.slogdet(covariance)[1] + np.log(prior.ridge).sum()
    return float((sizes + fit / prior.noise).sum() / 2)


def _posterior(gram: Floats, moment: Floats, prior: Prior) -> tuple[Floats, Floats]:
    """Covariance over noise [m, e, e], and mean [m, e]."""
    covariance = np.linalg.inv(gram + np.diag(prior.ridge)).astype(np.float64)
    return covariance, np.einsum("mij,mj->mi", covariance, moment + prior.mean * prior.ridge)


@dataclass(frozen=True, slots=True)
class Table:
    """The same by category: a share of right answers with a Beta posterior."""

    right: Floats  # [c, m], pseudo-counts
    wrong: Floats  # [c, m]

    def mean(self, category: Codes) -> Matrix32:
        """[n, m]"""
        share: Matrix32 = (self.right / (self.right + self.wrong)).astype(np.float32)
        return share[category]

    def deviation(self, category: Codes) -> Matrix32:
        """[n, m]"""
        total = self.right + self.wrong
        spread: Matrix32 = np.sqrt(self.right * self.wrong / (total**2 * (total + 1))).astype(np.float32)
        return spread[category]

    def drawn(self, random: np.random.Generator) -> "Table":
        """One share of each category's and tier's, taken as certain."""
        right = random.beta(self.right, self.wrong)
        return Table(right, 1 - right)
