"""Parts become final tables: by generation, twice, from any store; and what is swept afterwards."""

import asyncio
import io
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ports.storage import Storage
from pipeline.storage.commits import create_commit, read_commits
from pipeline.storage.final import write_final, write_part
from pipeline.storage.sweep import delete_live
from pipeline.storage.views import prepare_lake
from schemas import lake
from schemas.errors import LeaseLost, NoSuchObject
from schemas.ids import Generation
from schemas.tables import BATCH_TABLES, TABLES
from tests.contract.storage.rows import J, filled, land_batch, merge_final, put_batch

ONE, TWO = Generation(1), Generation(2)


async def final(storage: Storage, table: str) -> pa.Table:
    """Sorted: a final table has no order."""
    rows = pq.read_table(io.BytesIO(await storage.read(lake.final(table, J))))
    return rows.sort_by("query_id") if "query_id" in rows.column_names else rows


async def origins(storage: Storage, table: str) -> list[tuple[Any, ...]]:
    rows = (await final(storage, table)).to_pylist()
    return sorted((row["query_id"], row["generation"], row["asked_in"]) for row in rows)


def types(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]


async def close_generation(storage: Storage, generation: Generation) -> None:
    """As pipeline/close.py does it."""
    commits = await read_commits(storage, J, generation)
    parts = {table: [commit.files[table] for commit in commits] for table in BATCH_TABLES}
    for table in ("calls", "call_items"):
        await merge_final(storage, table, J, generation, parts[table])
    for table in ("decisions", "votes", "results"):
        await merge_final(storage, table, J, generation, parts[table], replaced_by=parts["results"])


@pytest.mark.parametrize("table", BATCH_TABLES)
async def test_the_first_generation_keeps_every_row_and_type(storage: Storage, table: str) -> None:
    commits = [await land_batch(storage, batch, [f"{batch}-{n}" for n in range(50)]) for batch in range(3)]
    keys = [commit.files[table] for commit in commits]
    assert await merge_final(storage, table, J, ONE, keys, replaced_by=keys) == 150
    merged = await final(storage, table)
    assert types(merged.schema) == types(TABLES[table])
    parts = pa.concat_tables([pq.read_table(io.BytesIO(await storage.read(key))) for key in keys])
    assert merged.cast(TABLES[table]).equals(parts.sort_by("query_id"))


async def test_the_second_generation_replaces_results_and_adds_calls(storage: Storage) -> None:
    await land_batch(storage, 0, ["a", "b"])
    await land_batch(storage, 1, ["c"])
    await close_generation(storage, ONE)
    await land_batch(storage, 0, ["b", "c"], generation=2)
    await close_generation(storage, TWO)
    for table in ("results", "decisions", "votes"):
        assert await origins(storage, table) == [("a", 2, 1), ("b", 2, 2), ("c", 2, 2)]
    for table in ("calls", "call_items"):
        every = [("a", 2, 1), ("b", 2, 1), ("b", 2, 2), ("c", 2, 1), ("c", 2, 2)]
        assert await origins(storage, table) == every


async def test_closing_twice_gives_the_same_rows(storage: Storage) -> None:
    await land_batch(storage, 0, ["a", "b", "c"])
    await close_generation(storage, ONE)
    await land_batch(storage, 0, ["b"], generation=2)
    await close_generation(storage, TWO)
    before = {table: await origins(storage, table) for table in BATCH_TABLES}
    await close_generation(storage, TWO)
    assert {table: await origins(storage, table) for table in BATCH_TABLES} == before


async def test_rows_that_no_batch_wrote_come_from_a_local_file(storage: Storage, tmp_path: Path) -> None:
    commit = await land_batch(storage, 0, ["a"])
    pq.write_table(filled("results", ["late"], status="cancelled", asked_in=7), tmp_path / "extra.parquet")
    parts: list[str | Path] = [commit.files["results"], tmp_path / "extra.parquet"]
    for _ in range(2):
        assert await merge_final(storage, "results", J, ONE, parts, replaced_by=parts) == 2
    assert await origins(storage, "results") == [("a", 1, 1), ("late", 1, 1)]


async def test_documents_are_replaced_by_query(storage: Storage) -> None:
    for generation, names in ((ONE, ["a", "b"]), (TWO, ["b"]), (TWO, ["b"])):
        key = lake.batch_file(J, generation, 0)  # type: ignore[arg-type]
        await write_part(storage, key, filled("documents", names, text=f"in {generation}"))
        assert await merge_final(storage, "documents", J, generation, [key]) == 2
    rows = (await final(storage, "documents")).to_pylist()
    assert {(row["query_id"], row["text"], row["generation"]) for row in rows} == {
        ("a", "in 1", 2),
        ("b", "in 2", 2),
    }


async def test_a_part_of_an_older_schema_reads_as_null(storage: Storage) -> None:
    key = lake.part("results", J, ONE, 0, 1)  # type: ignore[arg-type]
    await write_part(storage, key, filled("results", ["a"]).drop_columns(["reason", "prompt_hash"]))
    await merge_final(storage, "results", J, ONE, [key])
    assert (await final(storage, "results"))["reason"].to_pylist() == [None]


async def test_no_parts_make_an_empty_table(storage: Storage) -> None:
    assert await merge_final(storage, "votes", J, ONE, []) == 0
    assert types((await final(storage, "votes")).schema) == types(TABLES["votes"])


async def test_a_missing_part_leaves_the_table_as_it_was(storage: Storage) -> None:
    commit = await land_batch(storage, 0, ["a"])
    await close_generation(storage, ONE)
    gone = lake.part("results", J, TWO, 0, 1)  # type: ignore[arg-type]
    with pytest.raises(NoSuchObject, match="g2"):
        await merge_final(storage, "results", J, TWO, [gone], replaced_by=[gone])
    assert await origins(storage, "results") == [("a", 1, 1)]
    assert await storage.list("_live/results/") == [commit.files["results"]]


async def test_an_earlier_generation_cannot_overwrite_a_later_one(storage: Storage) -> None:
    first = await land_batch(storage, 0, ["a"])
    await land_batch(storage, 0, ["a"], generation=2)
    await close_generation(storage, TWO)
    with pytest.raises(LeaseLost, match="generation 1"):
        await merge_final(storage, "results", J, ONE, [first.files["results"]])
    assert await origins(storage, "results") == [("a", 2, 2)]


async def test_merging_leaves_no_scratch(local: Storage) -> None:
    await land_batch(local, 0, ["a"])
    await close_generation(local, ONE)
    assert [*(Path(local.uri) / "_tmp").iterdir()] == []


async def test_sweeping_takes_a_generation_with_its_losers(storage: Storage) -> None:
    await prepare_lake(storage)
    await land_batch(storage, 0, ["a"], fence=2)
    lost = await put_batch(storage, 0, ["a"], fence=1)
    assert not await create_commit(storage, lost)
    later = await land_batch(storage, 0, ["a"], generation=2)

    assert await delete_live(storage, J, ONE) == 2 * len(BATCH_TABLES)
    left = {key for table in BATCH_TABLES for key in await storage.list(lake.live(table, J))}
    assert left == set(later.files.values())
    assert await storage.list("_live/results/_schema/")


async def test_commits_come_in_order(storage: Storage) -> None:
    for batch in (10, 2, 0):
        await land_batch(storage, batch, [f"q{batch}"])
    assert [commit.batch for commit in await read_commits(storage, J, ONE)] == [0, 2, 10]
    assert await read_commits(storage, J, TWO) == []


async def test_speed(local: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    """100,000 rows in 100 parts, then a second generation over a tenth of them. Printed, not asserted."""
    keys = []
    for batch in range(100):
        keys.append(lake.part("results", J, ONE, batch, 1))  # type: ignore[arg-type]
        await write_part(
            local, keys[-1], filled("results", [f"{batch}-{n}" for n in range(1_000)], batch=batch)
        )
    began = perf_counter()
    assert await merge_final(local, "results", J, ONE, keys) == 100_000
    middle = perf_counter()
    again = lake.part("results", J, TWO, 0, 1)  # type: ignore[arg-type]
    await write_part(
        local, again, filled("results", [f"{b}-{n}" for b in range(10) for n in range(1_000)], asked_in=2)
    )
    assert await merge_final(local, "results", J, TWO, [again], replaced_by=[again]) == 100_000
    with capsys.disabled():
        print(f"\nmerge: 100 parts {1e5 / (middle - began):,.0f} rows/s; "
              f"generation 2 {1e5 / (perf_counter() - middle):,.0f} rows/s")  # fmt: skip


async def test_rows_stay_in_the_order_of_their_batches(local: Storage) -> None:
    """So that the row groups of an id's neighbours are few, and readers skip the others."""
    keys = []
    for batch in range(150):
        keys.append(lake.part("results", J, ONE, batch, 1))  # type: ignore[arg-type]
        names = [f"{batch:03d}-{n:04d}" for n in range(2_000)]
        await write_part(local, keys[-1], filled("results", names, batch=batch))
    assert await merge_final(local, "results", J, ONE, keys) == 300_000
    assert await local.list("results/job=J/") == [lake.final("results", J)]
    file = pq.ParquetFile(io.BytesIO(await local.read(lake.final("results", J))))
    sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert len(sizes) == 3
    assert min(sizes[:2]) >= 120_000
    found = file.read(columns=["query_id"])["query_id"].to_pylist()
    assert found == sorted(found)


async def test_long_documents_need_no_more_memory_than_short_ones(local: Storage) -> None:
    """A row group of the usual number of rows would hold 200 MB here."""
    keys = []
    for batch in range(50):
        keys.append(lake.batch_file(J, ONE, batch))  # type: ignore[arg-type]
        texts = [f"{batch}-{n} " * 5_000 for n in range(100)]
        names = [f"{batch}-{n}" for n in range(100)]
        await write_part(local, keys[-1], _documents(names, texts))
    assert await merge_final(local, "documents", J, ONE, keys, memory="160MB") == 5_000
    merged = await final(local, "documents")
    assert set(merged["text"].to_pylist()) == {f"{b}-{n} " * 5_000 for b in range(50) for n in range(100)}


def _documents(names: list[str], texts: list[str]) -> pa.Table:
    rows = filled("documents", names)
    return rows.set_column(rows.schema.get_field_index("text"), rows.schema.field("text"), pa.array(texts))


async def test_small_tables_are_written_whole(storage: Storage) -> None:
    await write_final(storage, "jobs", J, filled("jobs", ["one"], name="first"))
    await asyncio.gather(
        *(write_final(storage, "jobs", J, filled("jobs", ["one"], name="second")) for _ in "ab")
    )
    rows = await final(storage, "jobs")
    assert rows.schema.equals(TABLES["jobs"])
    assert rows["name"].to_pylist() == ["second"]
