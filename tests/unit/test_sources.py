"""Rows of files as they come: what cannot be read says why and the rest goes on."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import UNREADABLE, columns, find_files, read_rows
from schemas.errors import InputError


def rows(folder: Path, name: str, data: bytes, kind: str = "auto") -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(data)
    return list(read_rows(path, kind))


def test_csv_quotes_line_breaks_in_cells_and_empty_lines(tmp_path: Path) -> None:
    data = b'id,text\r\n1,"say ""hi"", please"\r\n\r\n2,"two\nlines"\r\n3,\r\n'

    assert rows(tmp_path, "a.csv", data) == [
        {"id": "1", "text": 'say "hi", please'},
        {"id": "2", "text": "two\nlines"},
        {"id": "3", "text": ""},
    ]


def test_csv_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.csv", b"\xef\xbb\xbfid,text\n1,a\n") == [{"id": "1", "text": "a"}]
    assert columns(tmp_path / "a.csv", "auto") == ["id", "text"]


def test_csv_rows_with_the_wrong_number_of_cells(tmp_path: Path) -> None:
    found = rows(tmp_path, "a.csv", b"id,text\n1\n2,b\n3,c,d\n")

    assert [row.get(UNREADABLE, row.get("text")) for row in found] == [
        "line 2: 1 cells, the header has 2",
        "b",
        "line 4: 3 cells, the header has 2",
    ]


def test_csv_with_nul_and_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    found = rows(tmp_path, "a.csv", b"id,text\n1,a\x00b\n2,caf\xe9\n3,c\n")

    assert [row["text"] for row in found] == ["a\x00b", "caf\udce9", "c"]


@pytest.mark.parametrize("name", ["a.tsv", "A.TSV", "a.csv.tsv"])
def test_tabs(tmp_path: Path, name: str) -> None:
    assert rows(tmp_path, name, b"id\ttext\n1\ta,b\n") == [{"id": "1", "text": "a,b"}]


@pytest.mark.parametrize("by", [";", "|", "\t"])
def test_columns_that_something_else_than_a_comma_divides(tmp_path: Path, by: str) -> None:
    assert rows(tmp_path, "a.csv", f'Nr{by}Betrag, EUR{by}Text\n1{by}3,50{by}"a{by}b, c"\n'.encode()) == [
        {"Nr": "1", "Betrag, EUR": "3,50", "Text": f"a{by}b, c"}
    ]
    assert columns(tmp_path / "a.csv", "auto") == ["Nr", "Betrag, EUR", "Text"]


def test_a_comma_where_it_is_in_doubt(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.csv", b"id,text; long\n1,a;b\n") == [{"id": "1", "text; long": "a;b"}]
    assert rows(tmp_path, "b.csv", b"text\na|b;c\n") == [{"text": "a|b;c"}]


def test_commas_in_a_csv_whatever_it_was_before(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.tsv.csv", b"id,text\n1,a\n") == [{"id": "1", "text": "a"}]


def test_jsonl_bad_lines_are_kept_with_their_reason(tmp_path: Path) -> None:
    lines = [b'{"id": 1}', b"", b"{", b"[1]", b'{"a": "\xff"}', b"[" * 5000, b'"x"', b'{"id": 2}']

    found = rows(tmp_path, "a.jsonl", b"\n".join(lines))

    said = [row.get(UNREADABLE, row.get("id")) for row in found]
    assert (said[0], said[-1], len(said)) == (1, 2, 7)
    assert said[1].startswith("line 3: not JSON")
    assert said[2] == "line 4: not a JSON object"
    assert said[3].startswith("line 5: not JSON")
    assert said[4].startswith("line 6: not JSON")
    assert said[5] == "line 7: not a JSON object"


def test_jsonl_with_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.ndjson", b'\xef\xbb\xbf{"id": 1}\r\n{"id": 2}\r\n') == [{"id": 1}, {"id": 2}]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1, 2], "text": ["a", None]}), path)

    assert list(read_rows(path, "auto")) == [{"id": 1, "text": "a"}, {"id": 2, "text": None}]
    assert columns(path, "auto") == ["id", "text"]


def test_gzip(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.csv.gz", gzip.compress(b"id\n1\n", mtime=0)) == [{"id": "1"}]
    assert rows(tmp_path, "a.jsonl.gz", gzip.compress(b'{"id": 1}\n')) == [{"id": 1}]
    assert columns(tmp_path / "a.csv.gz", "auto") == ["id"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv.gz", b"no gzip"),
        ("a.csv.gz", gzip.compress(b"id,text\n" * 99, mtime=0)[:-12]),
        ("a.jsonl.gz", b"no gzip"),
        ("a.parquet", b"no parquet"),
        ("a.parquet", b""),
        ("a.txt", b"id\n"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_bad_input(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputError, match=r"cannot be read: .*Nothing was spent"):
        rows(tmp_path, name, data)


def test_a_stated_format_goes_before_the_name(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.txt", b"id\n1\n", "csv") == [{"id": "1"}]


async def test_files_in_the_order_given_then_by_name(tmp_path: Path) -> None:
    for name in ("b/2.csv", "b/1.csv", "b/read.me", "a.csv", "c/d/3.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("id\n")

    async def found(*patterns: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in await find_files(list(patterns), tmp_path)]

    assert await found("b/*.csv", "a.csv") == ["b/1.csv", "b/2.csv", "a.csv"]
    assert await found("b") == ["b/1.csv", "b/2.csv"]
    assert await found("**/*.jsonl") == ["c/d/3.jsonl"]
    with pytest.raises(InputError, match="no such file"):
        await found("a.csv", "z*.csv")
