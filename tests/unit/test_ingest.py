"""From files to batches: order kept, bad rows rejected with a reason, memory for one batch."""

import datetime
import io
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest import check_input, ingest
from pipeline.rows import read_documents
from pipeline.storage.memory import MemoryStorage
from schemas import lake
from schemas.errors import InputError
from schemas.ids import BatchIndex, Generation, JobId
from schemas.job import Input
from schemas.records import Query

JOB = JobId("j")


async def batches(
    folder: Path, data: bytes | None = None, name: str = "a.csv", limit: int | None = None, **fields: Any
) -> list[list[Query]]:
    if data is not None:
        (folder / name).write_bytes(data)
    source = Input.model_validate({"path": name, **fields})
    storage = MemoryStorage()
    done = await ingest(storage, JOB, source, await check_input(source, folder), limit)
    found = [
        read_documents(
            pq.read_table(io.BytesIO(await storage.read(lake.batch_file(JOB, Generation(1), BatchIndex(n)))))
        )
        for n in range(done.batches)
    ]
    assert len(storage.objects) == done.batches
    assert done.queries == sum(map(len, found))
    assert done.rejected == sum(query.rejected is not None for batch in found for query in batch)
    return found


async def queries(folder: Path, data: bytes | None = None, **fields: Any) -> list[Query]:
    return [query for batch in await batches(folder, data, **fields) for query in batch]


async def test_a_row_is_its_text_its_gold_and_its_other_columns(tmp_path: Path) -> None:
    (query,) = await queries(tmp_path, b"id,text,label,lang\n7,hello,x,de\n", id="id", gold="label")

    assert query == Query(query_id="7", text="hello", gold="x", fields={"lang": "de"})  # type: ignore[arg-type]


async def test_what_is_wrong_with_a_row_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    data = b'id,text\n1,a\n2,\n3," "\n,d\n5,caf\xe9\n6\n1,again\n8,fine\n'

    found = await queries(tmp_path, data, id="id")

    assert [(query.query_id, query.rejected) for query in found] == [
        ("1", None),
        ("2", "empty text"),
        ("3", "empty text"),
        ("row-4", "no id in column 'id'"),
        ("5", "not UTF-8"),
        ("row-6", "line 7: 1 cells, the header has 2"),
        ("1#row-7", "duplicate id '1', first in row 1"),
        ("8", None),
    ]


async def test_no_two_queries_have_one_id_whatever_the_ids_look_like(tmp_path: Path) -> None:
    found = await queries(tmp_path, b"id,text\na#row-3,x\na,x\na,x\nrow-6,x\na#row-3,x\n,x\n", id="id")

    ids = [query.query_id for query in found]
    assert len(set(ids)) == len(ids) == 6
    assert [query.rejected is None for query in found] == [True, True, False, True, False, False]


async def test_without_an_id_column_rows_are_numbered_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "a1.csv").write_text("text\nx\ny\n")
    (tmp_path / "a2.csv").write_text("text\nz\n")

    found = await queries(tmp_path, name="a*.csv")

    assert [(query.query_id, query.text) for query in found] == [
        ("row-1", "x"),
        ("row-2", "y"),
        ("row-3", "z"),
    ]


async def test_batches_are_cut_by_rows_in_order(tmp_path: Path) -> None:
    data = b"text\n" + b"".join(b"t%d\n" % number for number in range(7))

    found = await batches(tmp_path, data, batch={"rows": 3})

    assert [[query.text for query in batch] for batch in found] == [
        ["t0", "t1", "t2"],
        ["t3", "t4", "t5"],
        ["t6"],
    ]


async def test_batches_are_cut_by_bytes_and_a_larger_document_has_its_own(tmp_path: Path) -> None:
    sizes = [400, 400, 400, 3000, 400, 600, 1]
    data = b"text\n" + b"".join(b"x" * size + b"\n" for size in sizes)

    found = await batches(tmp_path, data, batch={"bytes": 1000})

    assert [[len(query.text) for query in batch] for batch in found] == [
        [400, 400],
        [400],
        [3000],
        [400, 600],
        [1],
    ]


async def test_where_and_limit(tmp_path: Path) -> None:
    data = b"text,lang\na,de\nb,en\nc,fr\nd\ne,de\n"

    assert [query.text for query in await queries(tmp_path, data, where={"lang": "de"})] == ["a", "", "e"]
    many = await queries(tmp_path, data, where={"lang": ["de", "fr"]}, limit=2)
    assert [query.text for query in many] == ["a", "c"]


async def test_where_compares_what_the_fields_hold(tmp_path: Path) -> None:
    data = (
        b'{"text": "a", "on": true}\n{"text": "b", "on": false}\n{"text": "c"}\n{"text": "d", "on": null}\n'
    )

    found = await queries(tmp_path, data, name="a.jsonl", where={"on": "true"})

    assert [(query.text, query.fields) for query in found] == [("a", {"on": "true"})]
    with pytest.raises(InputError, match="no rows"):
        await queries(tmp_path, data, name="a.jsonl", where={"on": "None"})


async def test_values_of_every_type_as_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([datetime.date(2026, 11, 21)]),
            "text": pa.array([b"bytes"]),
            "n": pa.array([1]),
            "list": pa.array([["a", "b"]]),
            "at": pa.array([datetime.datetime(2026, 11, 21, 1, 2)]),
            "none": pa.array([None], pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")

    (query,) = await queries(tmp_path, name="a.parquet", id="id")

    assert (query.query_id, query.text) == ("2026-11-21", "bytes")
    assert query.fields == {"n": "1", "list": '["a", "b"]', "at": "2026-11-21 01:02:00"}


@pytest.mark.parametrize("fields", [{"text": "body"}, {"id": "key"}, {"gold": "y"}, {"where": {"z": "1"}}])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
async def test_a_missing_column_is_named_with_those_there_are(
    tmp_path: Path, fields: dict[str, Any], name: str
) -> None:
    (tmp_path / "a.csv").write_text("text,lang\n")
    pq.write_table(pa.table({"text": ["a"], "lang": ["b"]}), tmp_path / "a.parquet")
    source = Input.model_validate({"path": name, **fields})

    with pytest.raises(InputError, match="it has no column") as caught:
        await check_input(source, tmp_path)

    assert caught.value.fix == "Columns: text, lang."


@pytest.mark.parametrize("data", [b"text\n", b"text\n\n\n"])
async def test_a_file_without_rows_is_bad_input(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match="it holds no rows"):
        await queries(tmp_path, data)


class Sink(MemoryStorage):
    """Counts what is written and forgets it."""

    size = 0

    async def write(self, key: str, data: bytes) -> None:
        self.size += 1


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
async def test_a_file_of_fifty_megabytes_needs_far_less_memory(tmp_path: Path, name: str) -> None:
    text, count = "word " * 1000, 10_000
    path = tmp_path / name
    if name == "a.parquet":
        table = pa.table(
            {"id": [str(n) for n in range(count)], "text": [f"{n} {text}" for n in range(count)]}
        )
        pq.write_table(table, path, row_group_size=1000)
        del table
    else:
        with path.open("w") as file:
            if name == "a.csv":
                file.write("id,text\n")
            for n in range(count):
                file.write(
                    f"{n},{n} {text}\n" if name == "a.csv" else f'{{"id": {n}, "text": "{n} {text}"}}\n'
                )
        assert path.stat().st_size > 50_000_000
    source, sink = Input(path=name, id="id"), Sink()
    files = await check_input(source, tmp_path)

    tracemalloc.start()
    try:
        done = await ingest(sink, JOB, source, files)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (done.queries, done.rejected, done.batches) == (count, 0, sink.size)
    assert peak < 20_000_000
