"""The lake as tables: binding when empty, live against final, growth of a schema."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ports.storage import Storage
from pipeline.storage import open_storage
from pipeline.storage.catalog import views
from pipeline.storage.final import write_final
from pipeline.storage.views import DATABASE, connect, prepare_lake, rebuild_views
from schemas import lake
from schemas.errors import LakeUnreachable
from schemas.ids import Generation
from schemas.tables import BATCH_TABLES, TABLES, describe
from tests.contract.storage.rows import J, filled, job_row, land_batch, merge_final, put_batch

VIEWS = [view.name for view in views()]


async def ask(storage: Storage, sql: str) -> list[Any]:
    def run() -> list[Any]:
        with connect(storage) as connection:
            return connection.execute(sql).fetchall()

    return await asyncio.to_thread(run)


async def queries(storage: Storage, view: str) -> list[str]:
    return [row[0] for row in await ask(storage, f"SELECT query_id FROM {view} ORDER BY ALL")]


def test_every_table_has_its_views() -> None:
    assert set(VIEWS) >= set(TABLES) | {f"{table}_live" for table in BATCH_TABLES}


async def test_an_empty_lake_binds(storage: Storage) -> None:
    await prepare_lake(storage)
    counts = ", ".join(f"(SELECT count(*) FROM {view})" for view in VIEWS)
    assert await ask(storage, f"SELECT {counts}") == [(0,) * len(VIEWS)]


async def test_preparing_again_changes_nothing(storage: Storage) -> None:
    await asyncio.gather(*(prepare_lake(storage) for _ in range(4)))
    before = {key: await storage.read(key) for key in await storage.list("")}
    await prepare_lake(storage)
    assert {key: await storage.read(key) for key in await storage.list("")} == before


async def test_a_lake_not_made_says_so(storage: Storage) -> None:
    with pytest.raises(LakeUnreachable, match="TIERWISE_LAKE"):
        await asyncio.to_thread(connect, storage)


async def test_a_loser_is_never_seen(storage: Storage) -> None:
    await prepare_lake(storage)
    await land_batch(storage, 0, ["a", "b"], fence=2)
    await put_batch(storage, 0, ["a", "b"], fence=1)
    await put_batch(storage, 1, ["c"])
    live = " UNION ALL ".join(f"SELECT query_id FROM {table}_live" for table in BATCH_TABLES)
    assert sorted(await ask(storage, live)) == [("a",)] * len(BATCH_TABLES) + [("b",)] * len(BATCH_TABLES)
    assert await queries(storage, "results") == []


async def test_closing_moves_rows_from_live_to_final(storage: Storage) -> None:
    await prepare_lake(storage)
    first = await land_batch(storage, 0, ["a", "b"])
    await merge_final(storage, "results", J, Generation(1), [first.files["results"]])
    await write_final(storage, "jobs", J, job_row())
    assert (await queries(storage, "results"), await queries(storage, "results_live")) == (["a", "b"], [])

    second = await land_batch(storage, 0, ["b"], generation=2)
    assert (await queries(storage, "results"), await queries(storage, "results_live")) == (["a", "b"], ["b"])

    parts = [second.files["results"]]
    await merge_final(storage, "results", J, Generation(2), parts, replaced_by=parts)
    await write_final(storage, "jobs", J, job_row(2))
    assert await queries(storage, "results_live") == []
    seen = await ask(storage, "SELECT query_id, generation, asked_in FROM results ORDER BY 1")
    assert seen == [("a", 2, 1), ("b", 2, 2)]


async def test_columns_that_came_later_read_as_null(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = TABLES["results"]
    await prepare_lake(storage)
    await write_final(storage, "results", J, filled("results", ["a"]))
    monkeypatch.setitem(TABLES, "results", old.append(pa.field("shade", pa.string())))
    await prepare_lake(storage)
    assert await ask(storage, "SELECT query_id, shade FROM results") == [("a", None)]

    monkeypatch.setitem(TABLES, "results", old)  # an older process does not take the column away
    await prepare_lake(storage)
    assert await ask(storage, "SELECT query_id FROM results") == [("a",)]
    assert "shade" in pq.read_schema(io.BytesIO(await storage.read(lake.empty("results")))).names


async def test_every_view_and_column_has_a_comment(local: Storage) -> None:
    """Given a new lake, when an analyst asks its database what is in it, then nothing is without a word."""
    import duckdb

    await prepare_lake(local)
    with duckdb.connect(str(Path(local.uri) / DATABASE), read_only=True) as analyst:
        names = analyst.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall()
        columns = analyst.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()

    assert sorted(name for name, _ in names) == sorted(VIEWS)
    assert [name for name, comment in names if not comment] == []
    assert {view for view, *_ in columns} == set(VIEWS)
    assert [(view, column) for view, column, comment in columns if not comment] == []
    said = {(view, column): comment for view, column, comment in columns}
    assert said["results", "cost_usd"] == describe(TABLES["results"].field("cost_usd"))
    assert said["results_live", "answer"] == said["results", "answer"] == said["dearest_queries", "answer"]


async def test_an_open_database_survives_a_column_that_came_later(
    local: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an analyst's database, when a newer version adds a column, then the views go on with those they have."""
    import duckdb

    await prepare_lake(local)
    with duckdb.connect(str(Path(local.uri) / DATABASE), read_only=True) as analyst:
        monkeypatch.setitem(TABLES, "results", TABLES["results"].append(pa.field("shade", pa.string())))
        await prepare_lake(local)
        await write_final(local, "results", J, filled("results", ["a"]))
        found = analyst.execute("FROM results")
        assert "shade" not in [name for name, *_ in found.description or []]
        assert len(found.fetchall()) == 1


async def test_types_are_the_declared_ones(storage: Storage) -> None:
    await prepare_lake(storage)
    described = {name: kind for name, kind, *_ in await ask(storage, "DESCRIBE results")}
    wanted = {"cost_usd": "DECIMAL(18,9)", "finished_at": "TIMESTAMP", "generation": "INTEGER"}
    assert {name: described[name] for name in wanted} == wanted
    stored = pq.read_schema(io.BytesIO(await storage.read(lake.empty("results"))))
    assert stored.equals(TABLES["results"])


async def test_the_handy_views(local: Storage) -> None:
    await prepare_lake(local)
    dear = 3 * 10**9
    calls = filled("calls", ["a", "a", "b"], tier=["cheap", "dear", "cheap"], cost_usd=[10**9, dear, 10**9])
    await write_final(local, "calls", J, calls)
    steps = {"tier": ["dear", "cheap", "cheap"], "position": [1, 0, 0], "reason": ["sure", "unsure", "sure"]}
    await write_final(local, "decisions", J, filled("decisions", ["a", "a", "b"], **steps))
    await write_final(local, "results", J, filled("results", ["a", "b"], cost_usd=[4 * 10**9, 10**9]))
    costs = await ask(local, "SELECT tier, calls, cost_usd::INT FROM cost_by_tier")
    assert sorted(costs) == [("cheap", 2, 2), ("dear", 1, 3)]
    escalated = await ask(local, "SELECT query_id, tiers, reasons FROM escalations")
    assert escalated == [("a", ["cheap", "dear"], ["unsure", "sure"])]
    assert await ask(local, "SELECT query_id, share FROM dearest_queries LIMIT 1") == [("a", 0.8)]


async def test_a_moved_lake_is_rebuilt(tmp_path: Path) -> None:
    import duckdb

    old = open_storage(str(tmp_path / "old"))
    await prepare_lake(old)
    await write_final(old, "results", J, filled("results", ["a"]))
    (tmp_path / "old").rename(tmp_path / "new place")
    moved = open_storage(str(tmp_path / "new place"))
    await prepare_lake(moved)
    with (
        duckdb.connect(str(tmp_path / "new place" / DATABASE), read_only=True) as analyst,
        pytest.raises(duckdb.Error),
    ):
        analyst.execute("FROM results")

    await rebuild_views(moved)
    with duckdb.connect(str(tmp_path / "new place" / DATABASE), read_only=True) as analyst:
        assert analyst.execute("SELECT count(*) FROM results").fetchall() == [(1,)]
    assert "new place" in (await moved.read("views.sql")).decode()
