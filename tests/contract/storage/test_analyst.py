"""Analysts with plain DuckDB beside a lake at work: they never stop it, and never see half a generation."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.ports.storage import Storage
from pipeline.storage.final import write_final, write_part
from pipeline.storage.views import DATABASE, connect, prepare_lake, rebuild_views
from schemas import lake
from schemas.errors import LakeUnreachable
from schemas.ids import BatchIndex, Fence, Generation
from tests.contract.storage.rows import J, filled, job_row, land_batch, merge_final

# Answers each statement on stdin with one line; knows nothing of Tierwise.
ANALYST = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("open", flush=True)
for line in sys.stdin:
    try:
        print(connection.execute(line).fetchall(), flush=True)
    except Exception as error:
        print("failed:", str(error).replace(chr(10), " "), flush=True)
"""
PREPARE = """
import asyncio, sys
from pipeline.storage import open_storage
from pipeline.storage.views import prepare_lake
asyncio.run(prepare_lake(open_storage(sys.argv[1])))
"""


class Analyst:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, sql: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(sql + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def analyst(storage: Storage, mode: str, folder: Path) -> Iterator[Analyst]:
    command = [sys.executable, "-c", ANALYST, str(Path(storage.uri) / DATABASE), mode]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
    ) as process:
        opened = Analyst(process)
        assert opened.answer() == "open"
        yield opened
        process.kill()


async def work(storage: Storage) -> None:
    """A batch lands and its job closes."""
    commit = await land_batch(storage, 0, ["a", "b"])
    await merge_final(storage, "results", J, Generation(1), [commit.files["results"]])
    await write_final(storage, "jobs", J, job_row())


async def test_a_reader_who_stays_open_sees_the_lake_move(local: Storage, tmp_path: Path) -> None:
    await prepare_lake(local)
    with analyst(local, "read", tmp_path) as reader:
        assert reader.ask("SELECT count(*) FROM results") == "[(0,)]"
        await land_batch(local, 1, ["c"])
        assert reader.ask("SELECT query_id FROM results_live") == "[('c',)]"
        await work(local)
        assert reader.ask("SELECT query_id FROM results ORDER BY 1") == "[('a',), ('b',)]"
        assert reader.ask("SELECT count(*) FROM results_live") == "[(0,)]"


async def test_a_writer_who_locks_the_file_stops_nobody(local: Storage, tmp_path: Path) -> None:
    await prepare_lake(local)
    with analyst(local, "write", tmp_path) as writer:
        assert writer.ask("CREATE TABLE mine AS SELECT 1 AS x").startswith("[")
        async with asyncio.timeout(60):
            await prepare_lake(local)
            await local.probe()
            await work(local)
        with connect(local) as ours:
            assert ours.execute("SELECT count(*) FROM results").fetchall() == [(2,)]
        assert writer.ask("SELECT count(*) FROM results, mine") == "[(2,)]"
        with pytest.raises(LakeUnreachable, match="open for writing"):
            await rebuild_views(local)


async def test_each_query_sees_one_whole_generation(local: Storage, tmp_path: Path) -> None:
    """Given a final table replaced again and again, no answer is of two generations or of half of one."""
    await prepare_lake(local)
    names = [f"q{number}" for number in range(20_000)]
    first = lake.part("results", J, Generation(1), BatchIndex(0), Fence(1))
    await write_part(local, first, filled("results", names))
    await merge_final(local, "results", J, Generation(1), [first])

    async def publish() -> None:
        for generation in map(Generation, range(2, 12)):
            part = lake.part("results", J, generation, BatchIndex(0), Fence(1))
            await write_part(local, part, filled("results", names[:10], asked_in=generation))
            await merge_final(local, "results", J, generation, [part], replaced_by=[part])

    sql = "SELECT count(*), count(DISTINCT query_id), count(DISTINCT generation), max(asked_in <= generation)"
    with analyst(local, "read", tmp_path) as reader:
        publishing, answers = asyncio.create_task(publish()), []
        while not publishing.done():
            answers.append(await asyncio.to_thread(reader.ask, f"{sql} FROM results"))
        await publishing
    # DuckDB looks twice at a file; when it was replaced in between, the query fails and is asked again.
    whole = [answer for answer in answers if not answer.startswith("failed")]
    assert set(whole) == {"[(20000, 20000, 1, True)]"}
    assert len(whole) > len(answers) / 2


def test_two_processes_may_prepare_at_once(local: Storage, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PREPARE, local.uri]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in started] == [""] * 3
    with analyst(local, "read", tmp_path) as reader:
        assert reader.ask("SELECT count(*) FROM results_live") == "[(0,)]"
    assert [*(Path(local.uri) / "_tmp").iterdir()] == []


async def test_the_database_is_never_written_again(local: Storage) -> None:
    await prepare_lake(local)
    file = Path(local.uri) / DATABASE
    before = (file.stat().st_ino, file.stat().st_mtime_ns)
    await work(local)
    await prepare_lake(local)
    connect(local).close()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before
    assert file.stat().st_mode & 0o044, "other people may read it"
