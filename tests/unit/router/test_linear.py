"""The predictors: least squares with its uncertainty, and the table."""

import numpy as np
import pytest

from pipeline.router.linear import Linear, Prior, Table, evidence, fit_linear

M, D, E = 3, 5, 7  # tiers, features shown, features in all
NOISE = np.array([0.25, 0.2, 0.1])


def prior(ridge: float = 1.0, mean: float = 0.0) -> Prior:
    return Prior(np.full((M, E), mean), np.full(E, ridge), NOISE)


def fitted() -> tuple[Linear, np.ndarray, np.ndarray]:
    """A model, and the sums it was made of."""
    random = np.random.default_rng(1)
    x = random.standard_normal((M, 40, E))
    gram = np.einsum("mkd,mke->mde", x, x)
    moment = np.einsum("mkd,mk->md", x, random.random((M, 40)))
    model, _ = fit_linear(gram, moment, prior(), D)
    return model, gram, moment


def test_mean_and_deviation_are_the_posterior_s() -> None:
    model, gram, moment = fitted()
    x = np.random.default_rng(2).standard_normal((700, D)).astype(np.float32)
    for tier in range(M):
        covariance = np.linalg.inv(gram[tier] + np.eye(E))
        theta = covariance @ moment[tier]
        np.testing.assert_allclose(model.mean(x)[:, tier], x @ theta[:D], atol=1e-4)
        spread = np.sqrt(NOISE[tier] * np.einsum("nd,de,ne->n", x, covariance[:D, :D], x))
        np.testing.assert_allclose(model.deviation(x)[:, tier], spread, rtol=1e-3)


def test_draws_scatter_as_the_posterior_does() -> None:
    model, _, _ = fitted()
    x = np.random.default_rng(3).standard_normal((1, D)).astype(np.float32)
    drawn = np.array([model.drawn(np.random.default_rng(seed)).mean(x)[0] for seed in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=0), model.mean(x)[0], atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), model.deviation(x)[0], rtol=0.06)


def test_with_nothing_seen_the_prior_stands() -> None:
    mean = np.tile([0.7, 0, 0, 0, 0, -0.1, -0.1], (M, 1))
    model, others = fit_linear(np.zeros((M, E, E)), np.zeros((M, E)), Prior(mean, np.ones(E), NOISE), D)
    assert model.mean(np.eye(1, D, dtype=np.float32))[0].tolist() == pytest.approx([0.7] * M)
    assert others.tolist() == [[-0.1, -0.1]] * M


@pytest.mark.parametrize("said", [0.0, 0.1, 1.0])
def test_the_evidence_tells_how_much_features_say(said: float) -> None:
    # Given outcomes whose weights have a known scatter
    random = np.random.default_rng(5)
    x = random.standard_normal((M, 400, E))
    weights = said * random.standard_normal((M, E))
    y = np.einsum("mkd,md->mk", x, weights) + np.sqrt(NOISE)[:, None] * random.standard_normal((M, 400))
    gram, moment = np.einsum("mkd,mke->mde", x, x), np.einsum("mkd,mk->md", x, y)
    # When priors are compared by the evidence
    ridges = 10.0 ** np.arange(-2, 5)
    best = max(ridges, key=lambda ridge: evidence(gram, moment, prior(ridge)))
    # Then the one wins under which such weights are likely
    true = NOISE.mean() / max(said, 1e-9) ** 2
    assert best == ridges[-1] if said == 0 else abs(np.log10(best / true)) < 1


def test_the_evidence_is_the_probability_of_what_was_seen() -> None:
    # Given one tier's few outcomes, whose joint distribution can be written down
    random = np.random.default_rng(6)
    x, y = random.standard_normal((8, E)), random.random(8)
    gram, moment = (x.T @ x)[None], (x.T @ y)[None]

    def direct(ridge: float) -> float:
        covariance = 0.2 * (np.eye(8) + x @ x.T / ridge)
        off = y - x.sum(axis=1) * 0.3
        return float(-(np.linalg.slogdet(covariance)[1] + off @ np.linalg.solve(covariance, off)) / 2)

    def ours(ridge: float) -> float:
        return evidence(gram, moment, Prior(np.full((1, E), 0.3), np.full(E, ridge), np.array([0.2])))

    # Then differences between priors are the same either way
    assert ours(3.0) - ours(0.5) == pytest.approx(direct(3.0) - direct(0.5))


def test_a_table_is_surer_the_more_it_has_seen() -> None:
    table = Table(right=np.array([[8.0], [800.0]]), wrong=np.array([[2.0], [200.0]]))
    rows = np.array([0, 1])
    assert table.mean(rows)[:, 0].tolist() == pytest.approx([0.8, 0.8])
    few, many = table.deviation(rows)[:, 0]
    assert many < few / 5
    drawn = np.array([table.drawn(np.random.default_rng(seed)).mean(rows)[:, 0] for seed in range(2000)])
    np.testing.assert_allclose(drawn.std(axis=0), [few, many], rtol=0.1)
