"""Exploration as an explicit mixture: some other plan with a stated probability, else the best one."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pipeline.router.statistics import Codes, Floats
from schemas.ids import QueryId


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Of the shares that do not go the best path."""

    paths: int  # of the list that any one is drawn from
    epsilon: float  # share that goes any path of the list
    profile: float = 0.0  # share, before that, which begins with a tier of which little is known
    fronted: Codes | None = None  # [paths, k], the best path with each such tier put in front
    apart: bool = False  # an explored path is walked as drawn, the best one is planned again on its way


@dataclass(frozen=True, slots=True)
class Mixed:
    """Of each query, [n]."""

    path: Codes
    explored: NDArray[np.bool_]
    propensity: (
        Floats  # of the path; where the best is another plan than the same path explored, of that plan
    )


def mix(best: Codes, mixture: Mixture, seed: int, query_ids: Sequence[QueryId]) -> Mixed:
    """A query's draw hangs on the seed and its own id alone: not on its batch-mates, nor on their order."""
    chance, pick = _draws(seed, query_ids)
    fronted = np.zeros((mixture.paths, 0), dtype=np.intp) if mixture.fronted is None else mixture.fronted
    profile = mixture.profile if fronted.shape[1] else 0.0
    profiled = chance < profile
    explored = chance < profile + (1 - profile) * mixture.epsilon
    path = np.where(explored, (pick * mixture.paths).astype(np.intp), best)
    drawn = fronted[best[profiled]]
    path[profiled] = drawn[np.arange(len(drawn)), (pick[profiled] * drawn.shape[1]).astype(np.intp)]
    front = (fronted[best] == path[:, None]).sum(axis=1) / max(fronted.shape[1], 1)
    by_chance = profile * front + (1 - profile) * mixture.epsilon / mixture.paths * (path < mixture.paths)
    as_best = (1 - profile) * (1 - mixture.epsilon) * (path == best)
    if mixture.apart:
        return Mixed(path, explored, np.where(explored, by_chance, as_best))
    return Mixed(path, explored, by_chance + as_best)


def _draws(seed: int, query_ids: Sequence[QueryId]) -> Floats:
    """[2, n] uniform in [0, 1), by keyed hash."""
    key = seed.to_bytes(8, "little", signed=True)
    digests = b"".join(
        blake2b(query_id.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()
        for query_id in query_ids
    )
    whole = np.frombuffer(digests, dtype="<u8").reshape(-1, 2).T
    uniform: Floats = (whole >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform
