"""The lake's files as BI tools, dbt and notebooks read them: plain Parquet by a glob, no view and no Tierwise."""

from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.ports.storage import Storage
from pipeline.storage import open_storage
from pipeline.storage.final import write_final
from pipeline.storage.views import prepare_lake
from schemas.ids import JobId
from schemas.tables import TABLES
from tests.contract.storage.rows import filled

JOBS = ["2026-01-01", "2026-01-02"]  # ids that a reader may take for dates


@pytest.fixture
async def plain(tmp_path: Path) -> Storage:
    storage = open_storage(str(tmp_path / "lake"))
    await prepare_lake(storage)
    for job in JOBS:
        await write_final(storage, "results", JobId(job), filled("results", ["a", "b"], job=job))
    return storage


def test_a_glob_in_duckdb(plain: Storage) -> None:
    """`job` stands in the path and in the file: as text, and the path lets a filter skip files."""
    options = "union_by_name = true, hive_types_autocast = false"
    with duckdb.connect() as connection:
        rows = connection.sql(f"FROM read_parquet('{plain.uri}/results/job=*/data.parquet', {options})")
        assert rows.columns == TABLES["results"].names
        assert str(dict(zip(rows.columns, rows.types, strict=True))["job"]) == "VARCHAR"
        counted = connection.execute(
            f"SELECT job, count(*) FROM read_parquet('{plain.uri}/results/job=*/data.parquet', {options}) "
            f"WHERE job = '{JOBS[0]}' GROUP BY ALL"
        ).fetchall()
    assert counted == [(JOBS[0], 2)]


def test_a_folder_in_pyarrow(plain: Storage) -> None:
    folder = f"{plain.uri}/results"
    for table in (pq.read_table(folder, partitioning=None), ds.dataset(folder).to_table()):
        assert sorted(table["job"].to_pylist()) == [job for job in JOBS for _ in range(2)]
        assert table.schema.equals(TABLES["results"])


def test_a_file_says_what_its_columns_hold(plain: Storage) -> None:
    """Those that Arrow wrote; the ones that DuckDB merged have their comments in the views."""
    schema = pq.read_schema(f"{plain.uri}/results/_schema/data.parquet")
    assert all(field.metadata[b"comment"] for field in schema)
