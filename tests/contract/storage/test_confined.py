"""The connection that answers questions reads the lake's tables and nothing else."""

import sqlite3
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ports.storage import Storage
from pipeline.storage import open_storage
from pipeline.storage.final import write_final
from pipeline.storage.views import connect, prepare_lake
from schemas.ids import Generation
from tests.contract.storage.rows import J, job_row, land_batch, merge_final
from tests.webserver import serving

SECRET = "canary-7d1f"
REFUSED = "disabled (by|through) configuration|configuration has been locked|does not exist|PermissionError"


@pytest.fixture
async def made(storage: Storage) -> Storage:
    """A lake with one closed job, and beside its tables what nobody may read."""
    await prepare_lake(storage)
    commit = await land_batch(storage, 0, ["a", "b"])
    await merge_final(storage, "results", J, Generation(1), [commit.files["results"]])
    await write_final(storage, "jobs", J, job_row())
    await storage.write("_jobs/J/manifest.json", SECRET.encode())
    await storage.write("_ledger/notes.csv", f"a\n{SECRET}\n".encode())
    return storage


def lake_of(storage: Storage) -> str:
    if storage.uri.startswith("s3://"):
        return storage.uri.partition("?")[0]
    return "memory://lake" if storage.uri == "memory://" else storage.uri.replace("'", "''")


def refused(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises((duckdb.Error, OSError), match=REFUSED) as raised:
        connection.execute(sql).fetchall()
    assert SECRET not in str(raised.value)


async def test_it_reads_final_and_live_rows(made: Storage) -> None:
    await land_batch(made, 0, ["c"], generation=2)
    with connect(made) as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchall() == [(2,)]
        assert connection.execute("SELECT query_id FROM results_live").fetchall() == [("c",)]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_text('{lake}/_jobs/J/manifest.json')",
        "FROM read_blob('{lake}/_ledger/notes.csv')",
        "FROM read_csv('{lake}/_ledger/*.csv')",
        "FROM read_text('{lake}/results/../_ledger/notes.csv')",
        "FROM read_text('{lake}/results/../../../../../../../../../../etc/passwd')",
        "FROM glob('{lake}/*')",
        "FROM glob('{lake}/results/../*')",
        "FROM '{lake}/_ledger/notes.csv'",
        "FROM query_table('{lake}/_ledger/notes.csv')",
        "FROM sniff_csv('{lake}/_ledger/notes.csv')",
        "FROM parquet_metadata('/etc/passwd')",
        "FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd.csv'",
        "FROM read_text('/proc/self/environ')",
        "FROM read_csv('/dev/stdin')",
        "FROM read_json('http://127.0.0.1:{port}/x.json')",
        "FROM 'http://127.0.0.1:{port}/x.csv'",
        "FROM read_parquet('s3://other/x.parquet')",
        "SELECT getenv('HOME')",
        "FROM duckdb_secrets()",
        "COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "COPY (SELECT 1) TO '{lake}/stolen.csv'",
        "ATTACH '{lake}/_ledger/ledger.db' (TYPE sqlite)",
        "ATTACH '/tmp/stolen.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "RESET lock_configuration",
        "SET python_enable_replacements = true",
        "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "FROM somewhere_in_python",
    ],
)
async def test_it_reaches_nothing_else(made: Storage, door: HTTPServer, sql: str) -> None:
    somewhere_in_python = pa.table({"secret": [SECRET]})
    with connect(made) as connection:
        refused(connection, sql.format(lake=lake_of(made), port=door.server_port))
    assert somewhere_in_python.num_rows == 1
    assert not door.asked  # type: ignore[attr-defined]


async def test_a_link_in_the_lake_leads_nowhere(local: Storage, tmp_path: Path) -> None:
    await prepare_lake(local)
    outside = tmp_path / "outside"
    outside.mkdir()
    pq.write_table(pa.table({"job": [SECRET]}), outside / "data.parquet")
    folder = Path(local.uri) / "results"
    (folder / "job=link").symlink_to(outside)
    (folder / "link.parquet").symlink_to(outside / "data.parquet")
    with connect(local) as connection:
        refused(connection, "SELECT job FROM results")
        refused(connection, f"FROM '{lake_of(local)}/results/link.parquet'")


async def test_a_lake_that_is_itself_a_link_is_read(made: Storage, tmp_path: Path) -> None:
    if Path(made.uri).is_dir():
        (tmp_path / "link").symlink_to(made.uri)
        made = open_storage(str(tmp_path / "link"))
    with connect(made) as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchall() == [(2,)]


async def test_the_embedded_ledger_is_not_read(local: Storage) -> None:
    """The default ledger lies in the lake's folder."""
    await prepare_lake(local)
    path = Path(local.uri) / "_ledger" / "ledger.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as ledger:
        ledger.execute("CREATE TABLE calls (body TEXT)")
    ledger.close()
    with connect(local) as connection:
        for form in (
            "FROM sqlite_scan('{}', 'calls')",
            "FROM read_blob('{}')",
            "ATTACH '{}' AS l (TYPE sqlite)",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(form.format(f"{lake_of(local)}/_ledger/ledger.db"))


class Door(BaseHTTPRequestHandler):
    """Notes that someone knocked."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    do_HEAD = do_GET


@pytest.fixture
def door() -> Iterator[HTTPServer]:
    with serving(Door, asked=[]) as server:
        yield server
