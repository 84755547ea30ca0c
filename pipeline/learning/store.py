"""Versions of policies and which one is promoted: objects of the lake, created once and never changed."""

import asyncio
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ports.storage import Storage
from schemas import lake
from schemas.errors import UnknownPolicy
from schemas.tables import POLICIES

UNLEARNED = "0"  # the version of a policy that nothing was promoted of: its priors


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What was fitted, from what. Its id follows from the rewards, so that fitting again finds it made already."""

    policy: str
    version: str
    parents: tuple[str, ...]  # versions that stood promoted when it was made
    rewards: tuple[str, ...]  # keys of the reward files it is a function of
    rows: int  # answers that counted
    created_at: int  # Unix ms
    snapshot: bytes


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """From here on `version` routes. The last one stands."""

    number: int  # 1, 2, …
    version: str
    before: str  # the version that stood before
    how: Literal["learned", "rollback"]
    reason: str
    at: int  # Unix ms


async def create_version(storage: Storage, made: Version) -> bool:
    """False: the same rewards gave this version before; that one stands."""
    return await storage.create(lake.version(made.policy, made.version), _parquet(made))


async def read_version(storage: Storage, policy: str, version: str) -> Version:
    """Raises NoSuchObject."""
    return _version(await storage.read(lake.version(policy, version)))


async def read_versions(storage: Storage, policy: str) -> list[Version]:
    """In the order they were made."""
    keys = await storage.list(lake.versions(policy))
    found = await asyncio.gather(*map(storage.read, keys))
    return sorted(map(_version, found), key=lambda each: (each.created_at, each.version))


async def read_promotions(storage: Storage, policy: str) -> list[Promotion]:
    keys = await storage.list(lake.promotions(policy))
    return [
        msgspec.json.decode(data, type=Promotion) for data in await asyncio.gather(*map(storage.read, keys))
    ]


async def standing(storage: Storage, policy: str) -> Promotion | None:
    """The promotion that stands; None: nothing was promoted yet."""
    keys = await storage.list(lake.promotions(policy))
    return msgspec.json.decode(await storage.read(keys[-1]), type=Promotion) if keys else None


async def promote(
    storage: Storage,
    policy: str,
    version: str,
    after: Promotion | None,
    *,
    reason: str,
    at: int,
    how: Literal["learned", "rollback"] = "learned",
) -> Promotion | None:
    """Make the version stand, if `after` still does; None when another promotion came first."""
    made = Promotion(
        number=after.number + 1 if after else 1,
        version=version,
        before=after.version if after else UNLEARNED,
        how=how,
        reason=reason,
        at=at,
    )
    won = await storage.create(lake.promotion(policy, made.number), msgspec.json.encode(made))
    return made if won else None


async def roll_back(storage: Storage, policy: str, version: str | None, at: int) -> Promotion:
    """To a version, or to what stood before the version that stands. Raises UnknownPolicy."""
    while True:
        promotions = await read_promotions(storage, policy)
        if not promotions:
            raise UnknownPolicy(name=policy, why="nothing was promoted of it yet")
        wanted = _before(promotions) if version is None else version
        known = {UNLEARNED, *(each.version for each in await read_versions(storage, policy))}
        if wanted not in known:
            raise UnknownPolicy(name=f"{policy}@{wanted}", why="there is no such version")
        reason = f"rolled back from {promotions[-1].version}"
        made = await promote(storage, policy, wanted, promotions[-1], reason=reason, at=at, how="rollback")
        if made is not None:
            return made


def _before(promotions: Sequence[Promotion]) -> str:
    """What stood before the standing version first did: rolling back twice goes back two versions, not to and fro."""
    first = next(each for each in promotions if each.version == promotions[-1].version)
    return first.before


async def policies(storage: Storage) -> list[str]:
    """Names of all policies that learned something."""
    names = {key.split("/")[1] for key in await storage.list("policies/")}
    return sorted(names - {"_schema"})


def _parquet(made: Version) -> bytes:
    values = msgspec.structs.asdict(made) | {"created_at": _time(made.created_at)}
    columns = [pa.array([values[field.name]], field.type) for field in POLICIES]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=POLICIES), buffer, compression="zstd")
    return buffer.getvalue()


def _version(data: bytes) -> Version:
    [row] = pq.read_table(io.BytesIO(data)).to_pylist()
    at = row["created_at"].replace(tzinfo=UTC)
    return msgspec.convert(row | {"created_at": round(at.timestamp() * 1000)}, Version, strict=False)


def _time(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).replace(tzinfo=None)
