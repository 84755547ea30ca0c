"""The lake's schema over time: what is added reads as null, what is renamed is migrated, what is newer is refused."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ports.storage import Storage
from pipeline.storage import open_storage, versions
from pipeline.storage.catalog import views
from pipeline.storage.final import write_final
from pipeline.storage.views import connect, prepare_lake, rebuild_views
from schemas import lake
from schemas.errors import LakeUnreachable, NewerSchema, OlderSchema
from schemas.tables import TABLES, VERSION
from tests.contract.storage.rows import J, filled, land_batch

FROZEN = Path(__file__).parent / "columns_v1.json"
# What version 1 began without, in its first lakes.
ADDED = {
    "jobs": ["forecast_low_usd", "forecast_high_usd"],
    "calls": ["reused_from"],
    "call_items": ["confidence"],
    "decisions": ["accept_planned", "replans", "tiers_replanned"],
    "votes": ["form"],
    "feedback": ["reviewer", "selected_by", "score", "reason"],
}


async def ask(storage: Storage, sql: str) -> list[Any]:
    def run() -> list[Any]:
        with connect(storage) as connection:
            return connection.execute(sql).fetchall()

    return await asyncio.to_thread(run)


def test_names_and_types_of_a_version_stay() -> None:
    """Given what tools read by name, when a column is renamed or retyped without a new version, then this fails.

    A new column passes; it goes into the file when it is released."""
    storage = open_storage("memory://")
    asyncio.run(prepare_lake(storage))
    with connect(storage) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    have = {(view, column): kind for view, column, kind in found}
    assert FROZEN.name == f"columns_v{VERSION}.json", "freeze the columns of the new version"
    for view, columns in json.loads(FROZEN.read_text()).items():
        for column, kind in columns.items():
            assert have.get((view, column)) == kind, f"{view}.{column}"


async def test_a_lake_states_its_version(storage: Storage) -> None:
    await prepare_lake(storage)
    assert json.loads(await storage.read(lake.VERSION)) == {"version": VERSION, "migrating": False}


async def test_the_first_lakes_are_read_without_a_migration(storage: Storage) -> None:
    """Given a lake without the columns and tables that came later, and without a version."""
    for table in ("jobs", "results", *ADDED):
        schema = pa.schema([each for each in TABLES[table] if each.name not in ADDED.get(table, ())])
        rows = filled(table, ["a"]).select(schema.names)
        for key, kept in ((lake.empty(table), rows.slice(0, 0)), (lake.final(table, J), rows)):
            sink = io.BytesIO()
            pq.write_table(kept, sink)
            await storage.write(key, sink.getvalue())

    await prepare_lake(storage)

    assert (await versions.read_stated(storage)).version == 1
    for table, columns in ADDED.items():
        listed = ", ".join(columns)
        assert await ask(storage, f"SELECT {listed} FROM {table}") == [(None,) * len(columns)]
    counts = ", ".join(f"(SELECT count(*) FROM {view.name})" for view in views())
    assert len(await ask(storage, f"SELECT {counts}")) == 1


async def test_parts_of_before_a_column_came_are_read_beside_new_ones(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a job under way, when the next version adds a column, then both its batches are there."""
    await prepare_lake(storage)
    await land_batch(storage, 0, ["a"])
    monkeypatch.setitem(TABLES, "votes", TABLES["votes"].append(pa.field("shade", pa.string())))
    await prepare_lake(storage)
    await land_batch(storage, 1, ["b"])
    assert await ask(storage, "SELECT query_id, shade FROM votes_live ORDER BY 1") == [
        ("a", None),
        ("b", "text"),
    ]


async def test_readers_name_the_command_that_adds_columns(
    local: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare_lake(local)
    monkeypatch.setitem(TABLES, "votes", TABLES["votes"].append(pa.field("shade", pa.string())))
    with pytest.raises(LakeUnreachable, match="tierwise doctor"):
        connect(local)
    await prepare_lake(local)
    connect(local).close()


def become_next(patched: pytest.MonkeyPatch) -> None:
    """The code of a version in which `votes.score` is called `percent` and is one."""
    at = TABLES["votes"].get_field_index("score")
    field = pa.field("percent", pa.float64(), metadata={"comment": "how likely the answer is right"})
    patched.setitem(TABLES, "votes", TABLES["votes"].set(at, field))
    patched.setattr(versions, "VERSION", VERSION + 1)

    def change(rows: pa.Table) -> pa.Table:
        if "score" not in rows.schema.names:
            return rows
        percent = pa.array(
            [None if each is None else each * 100 for each in rows["score"].to_pylist()], pa.float64()
        )
        return rows.set_column(at, "percent", percent)

    async def run(storage: Storage) -> None:
        await versions.rewrite(storage, "votes", change)

    patched.setattr(versions, "STEPS", (versions.Step("votes.score is votes.percent", run),))


async def test_a_renamed_column_is_migrated(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a closed and a running job's votes
    await prepare_lake(storage)
    await write_final(storage, "votes", J, filled("votes", ["a", "b"], score=[0.25, 0.5]))
    await land_batch(storage, 0, ["c"], votes={"score": 0.75})
    with monkeypatch.context() as patched:
        become_next(patched)
        # When the next version comes, then it neither reads nor writes before
        with pytest.raises(OlderSchema, match="doctor --migrate"):
            await asyncio.to_thread(connect, storage)
        with pytest.raises(OlderSchema):
            await prepare_lake(storage)
        # And it migrates, and again changes nothing
        assert await versions.migrate(storage) == ["votes.score is votes.percent"]
        await rebuild_views(storage)
        for _ in range(2):
            assert await ask(storage, "SELECT query_id, percent FROM votes ORDER BY 1") == [
                ("a", 25),
                ("b", 50),
            ]
            assert await ask(storage, "SELECT query_id, percent FROM votes_live") == [("c", 75)]
            assert await versions.migrate(storage) == []
    # And the version before says that it is too old for that
    with pytest.raises(NewerSchema, match="Upgrade"):
        await asyncio.to_thread(connect, storage)
    for work in (prepare_lake, versions.migrate):
        with pytest.raises(NewerSchema):
            await work(storage)


async def test_a_migration_that_breaks_off_shows_nobody_the_half(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare_lake(storage)
    for job in ("J", "K", "L"):
        await write_final(storage, "votes", job, filled("votes", ["a"], job=job, score=[0.5]))  # type: ignore[arg-type]
    become_next(monkeypatch)
    with monkeypatch.context() as patched:
        publish, left = storage.publish, 2

        async def dying(key: str, source: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise asyncio.CancelledError
            await publish(key, source)

        patched.setattr(storage, "publish", dying)
        with pytest.raises(asyncio.CancelledError):
            await versions.migrate(storage)
    with pytest.raises(OlderSchema, match="on its way"):
        await asyncio.to_thread(connect, storage)
    await versions.migrate(storage)
    await prepare_lake(storage)
    assert await ask(storage, "SELECT job, percent FROM votes ORDER BY 1") == [
        ("J", 50),
        ("K", 50),
        ("L", 50),
    ]


def test_each_version_has_its_step() -> None:
    assert len(versions.STEPS) == VERSION - 1
