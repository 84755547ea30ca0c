"""What is drawn instead of the best plan, and its exact probability."""

from collections import Counter

import numpy as np
import pytest

from pipeline.router.mixture import Mixture, mix
from schemas.ids import QueryId

COUNT = 20_000
IDS = [QueryId(f"q{number}") for number in range(COUNT)]
BEST = np.full(COUNT, 1)
FRONTED = np.array([[3, 4], [4, 2], [3, 3]])  # of each of three listed paths; 3 and 4 are no listed ones


def expected(mixture: Mixture) -> dict[tuple[int, bool], float]:
    """Of each path, and whether it was drawn by chance, where that makes another plan of it."""
    epsilon, profile = mixture.epsilon, mixture.profile if mixture.fronted is not None else 0.0
    made = Counter[tuple[int, bool]]()
    for path in range(3):
        made[path, mixture.apart] += (1 - profile) * epsilon / 3
    for path in (4, 2) if mixture.fronted is not None else ():
        made[path, mixture.apart] += profile / 2
    made[1, False] += (1 - profile) * (1 - epsilon)
    return {kind: chance for kind, chance in made.items() if chance}


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("fronted", [None, FRONTED], ids=["known", "strange"])
@pytest.mark.parametrize("apart", [False, True])
def test_each_plan_is_drawn_with_the_propensity_it_is_given(
    epsilon: float, fronted: np.ndarray | None, apart: bool
) -> None:
    mixture = Mixture(paths=3, epsilon=epsilon, profile=0.2, fronted=fronted, apart=apart)
    mixed = mix(BEST, mixture, 7, IDS)
    kinds = list(zip(mixed.path.tolist(), (mixed.explored & apart).tolist(), strict=True))
    told = dict(zip(kinds, mixed.propensity.tolist(), strict=True))

    assert told == pytest.approx(expected(mixture))
    assert sum(told.values()) == pytest.approx(1.0)
    for kind, drawn in Counter(kinds).items():
        assert abs(drawn - COUNT * told[kind]) <= 5 * (COUNT * told[kind] * (1 - told[kind])) ** 0.5 + 1e-6


def test_a_draw_hangs_on_seed_and_id_alone() -> None:
    mixture = Mixture(paths=3, epsilon=0.3, profile=0.2, fronted=FRONTED)
    forward, backward = mix(BEST, mixture, 7, IDS), mix(BEST, mixture, 7, IDS[::-1])

    assert forward.path.tolist() == backward.path[::-1].tolist()
    assert forward.path.tolist() != mix(BEST, mixture, 8, IDS).path.tolist()
