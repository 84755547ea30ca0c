"""Queries scored a second on one core, beside the bare matrix products and beside MABWiser, in the same run.

python -m tests.benchmarks.routing_speed [--quick]     (for MABWiser's line: pip install mabwiser)

12 tiers, 64 features, float32; a method's rounds take turns, and each is timed in CPU seconds of its own thread.
"""

import sys
from collections.abc import Callable
from time import thread_time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.router.linear import Linear, Prior, fit_linear
from pipeline.router.planner import expect, paths_over
from pipeline.router.policies.linucb import LinUCB
from pipeline.router.policies.thompson import Thompson
from tests.benchmarks.figures import summed, write
from tests.unit.router.game import outlook_for

TIERS, FEATURES = 12, 64
QUERIES = {"thompson": 1_000_000, "linucb": 40_000, "mabwiser": 1_000, "plans": 2_000}
BLOCK = 256  # rows of LinUCB's bare products: one large product would leave the cache and be slower

Method = tuple[int, Callable[[], Any]]  # queries it scores, and how


def main() -> None:
    rounds = 3 if "--quick" in sys.argv else 9
    with threadpool_limits(1):
        rates = measure(methods(), rounds)
    figures = {name: summed(rate, "queries/s", 0) for name, rate in rates.items()}
    for name, figure in figures.items():
        low, high = figure["spread"]
        print(f"{name:24} {figure['median']:>14,.0f} queries/s   ({low:,.0f} to {high:,.0f})")
    for name in ("thompson", "linucb"):
        print(f"{name} takes {ratio(rates, f'{name}, bare products', name):.2f} times its bare products")
    if "mabwiser, linucb" in rates:
        faster = ratio(rates, "linucb, with the choice", "mabwiser, linucb")
        print(f"linucb, with the choice, is {faster:.1f} times MABWiser's predict, which reckons in float64")
    write("routing_speed", figures)


def ratio(rates: dict[str, list[float]], above: str, below: str) -> float:
    """Median over rounds."""
    return float(np.median(np.array(rates[above]) / np.array(rates[below])))


def measure(every: dict[str, Method], rounds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in every}
    for _, run in every.values():
        run()
    for _ in range(rounds):
        for name, (queries, run) in every.items():
            began = thread_time()
            run()
            rates[name].append(queries / (thread_time() - began))
    return rates


def methods() -> dict[str, Method]:
    random = np.random.default_rng(1)
    model = model_of(random)
    many, some = (
        random.random((QUERIES[name], FEATURES), dtype=np.float32) for name in ("thompson", "linucb")
    )
    return {
        "thompson": (len(many), lambda: Thompson().score(model, many, np.random.default_rng(1))),
        "thompson, bare products": (len(many), lambda: many @ model.theta.T),
        "linucb": (len(some), lambda: LinUCB().score(model, some, random)),
        "linucb, with the choice": (len(some), lambda: LinUCB().score(model, some, random).argmax(axis=1)),
        "linucb, bare products": (len(some), bare_linucb(model, some)),
        "plans of 3 tiers": (QUERIES["plans"], planning(random, 3)),
        "plans of 12 tiers": (QUERIES["plans"], planning(random, TIERS)),
        **mabwiser(random),
    }


def model_of(random: np.random.Generator) -> Linear:
    seen = random.standard_normal((TIERS, 1000, FEATURES))
    gram, moment = np.einsum("mkd,mke->mde", seen, seen), seen.sum(axis=1)
    prior = Prior(np.zeros((TIERS, FEATURES)), np.ones(FEATURES), np.full(TIERS, 0.2))
    model, _ = fit_linear(gram, moment, prior, FEATURES)
    return model


def bare_linucb(model: Linear, x: Any) -> Callable[[], Any]:
    """x θ and x L, as wide as they are; what is left out is squaring and adding up."""
    wide = np.ascontiguousarray(model.root.transpose(1, 0, 2).reshape(FEATURES, TIERS * FEATURES))
    product = np.empty((BLOCK, TIERS * FEATURES), dtype=np.float32)

    def run() -> None:
        x @ model.theta.T
        for start in range(0, len(x) - BLOCK + 1, BLOCK):
            np.matmul(x[start : start + BLOCK], wide, out=product)

    return run


def planning(random: np.random.Generator, tiers: int) -> Callable[[], Any]:
    outlook, paths = outlook_for(tiers), paths_over(range(tiers))
    likely, usd = random.random((2, QUERIES["plans"], tiers))
    return lambda: expect(outlook, paths, likely.astype(np.float32), usd).best(50.0)


def mabwiser(random: np.random.Generator) -> dict[str, Method]:
    try:
        from mabwiser.mab import MAB, LearningPolicy
    except ImportError:
        print("MABWiser is not installed; pip install mabwiser", file=sys.stderr)
        return {}
    bandit = MAB(list(range(TIERS)), LearningPolicy.LinUCB(alpha=1.0))
    bandit.fit(random.integers(0, TIERS, 2000), random.random(2000), random.random((2000, FEATURES)))
    contexts = random.random((QUERIES["mabwiser"], FEATURES))
    return {"mabwiser, linucb": (len(contexts), lambda: bandit.predict(contexts))}


if __name__ == "__main__":
    main()
