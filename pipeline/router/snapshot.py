"""A policy version: what it learned, from which rewards, after which versions. Immutable once written."""

import msgspec

from pipeline.router import statistics
from pipeline.router.statistics import Statistics


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    parents: tuple[str, ...]
    rewards: tuple[str, ...]
    statistics: bytes


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    version: str  # NAME@NUMBER, such as thompson@3
    parents: tuple[str, ...]  # versions it was made from
    rewards: tuple[str, ...]  # keys of the reward files it was fitted on, its parents' included
    statistics: Statistics


def encode(snapshot: Snapshot) -> bytes:
    """The same bytes for the same content."""
    return msgspec.msgpack.encode(
        _Stored(
            version=snapshot.version,
            parents=snapshot.parents,
            rewards=snapshot.rewards,
            statistics=statistics.encode(snapshot.statistics),
        )
    )


def decode(data: bytes) -> Snapshot:
    stored = msgspec.msgpack.decode(data, type=_Stored)
    return Snapshot(
        version=stored.version,
        parents=stored.parents,
        rewards=stored.rewards,
        statistics=statistics.decode(stored.statistics),
    )
