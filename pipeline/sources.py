"""Rows of CSV, JSONL and Parquet files, streamed; what cannot be read as a row says why and is kept."""

import csv
import glob
import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import open_storage
from schemas.errors import InputError

LONGEST_CELL = 32_000_000  # characters; an unclosed quote would otherwise swallow the file
Row = dict[str, Any]
UNREADABLE = "\0unreadable"  # key of a row that is no row; its value says why

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


async def find_files(patterns: list[str], base: Path) -> list[Path]:
    """The local files behind paths, globs and s3:// URLs (which are fetched), in the order given, then by name."""
    files: list[Path] = []
    for pattern in patterns:
        found = await _fetch_s3(pattern) if pattern.startswith("s3://") else _find_local(pattern, base)
        if not found:
            raise InputError(path=pattern, why="no such file", fix="Paths are relative to the spec's folder.")
        files += found
    return files


def _find_local(pattern: str, base: Path) -> list[Path]:
    path = base / pattern
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(each for each in path.iterdir() if _format(each) in _FORMATS.values())
    return sorted(Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).is_file())


async def _fetch_s3(url: str) -> list[Path]:
    """Fetched whole into a temporary folder: a row is then read in one pass, whatever the format."""
    plain, _, options = url.partition("?")
    bucket, _, pattern = plain.removeprefix("s3://").partition("/")
    folder = pattern.split("*")[0].rpartition("/")[0]
    storage = open_storage(f"s3://{bucket}" + (f"?{options}" if options else ""))
    target = Path(mkdtemp(prefix="tierwise-input-"))
    try:
        keys = [key for key in await storage.list(f"{folder}/" if folder else "") if fnmatch(key, pattern)]
        paths = []
        for number, key in enumerate(keys):
            path = target / f"{number:06d}-{key.rsplit('/', 1)[-1]}"
            await storage.fetch(key, path)
            paths.append(path)
        return paths
    finally:
        await storage.close()


def _format(path: Path) -> str | None:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return _FORMATS.get(suffixes[-1].lower()) if suffixes else None


def columns(path: Path, kind: str) -> list[str] | None:
    """The columns of a file, where its format states them."""
    with _said_by_path(path):
        match _kind(path, kind):
            case "parquet":
                return list(pq.read_schema(path).names)
            case "csv":
                return _header(path, _delimiter(path))
            case _:
                return None


def read_rows(path: Path, kind: str) -> Iterator[Row]:
    """Rows as dicts, in the file's order, with memory that does not grow with the file."""
    for _, row in numbered_rows(path, kind):
        yield row


def numbered_rows(path: Path, kind: str) -> Iterator[tuple[int, Row]]:
    """Each row with the line it begins on; in a Parquet file with its number."""
    with _said_by_path(path):
        match _kind(path, kind):
            case "csv":
                yield from _read_csv(path)
            case "jsonl":
                yield from _read_jsonl(path)
            case _:
                yield from enumerate(_read_parquet(path), 1)


@contextmanager
def _said_by_path(path: Path) -> Iterator[None]:
    """A file that is not what its name says (no Parquet, a gzip cut short) is bad input, not a crash."""
    try:
        yield
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise InputError(path=path, why=str(error) or type(error).__name__) from None


def is_csv(path: Path) -> bool:
    return _format(path) == "csv"


def _kind(path: Path, kind: str) -> str:
    found = _format(path) if kind == "auto" else kind
    if found is None:
        raise InputError(path=path, why="unknown format", fix="Set input.format to csv, jsonl or parquet.")
    return found


def _delimiter(path: Path) -> str:
    """What splits the header into the most columns, a comma if in doubt: spreadsheets write semicolons where numbers
    have commas. A .tsv has tabs."""
    if [suffix.lower() for suffix in path.suffixes if suffix != ".gz"][-1:] == [".tsv"]:
        return "\t"
    return max(",;\t|", key=lambda delimiter: len(_header(path, delimiter)))


def _header(path: Path, delimiter: str) -> list[str]:
    with _open_text(path) as file:
        return next(csv.reader(file, delimiter=delimiter), [])


def _open_text(path: Path) -> IO[str]:
    """Bytes that are not UTF-8 come through as lone surrogates, to be told apart row by row."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _read_csv(path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(LONGEST_CELL)
    with _open_text(path) as file:
        reader = csv.reader(file, delimiter=_delimiter(path))
        header = next(reader, None)
        if header is None:
            return
        line = reader.line_num + 1
        for cells in _lines(path, reader):
            begun, line = line, reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                why = f"line {reader.line_num}: {len(cells)} cells, the header has {len(header)}"
                yield begun, {UNREADABLE: why}
                continue
            yield begun, dict(zip(header, cells, strict=True))


def _lines(path: Path, reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        fix = "Look for a quote that is never closed."
        raise InputError(path=path, why=f"line {reader.line_num}: {error}", fix=fix) from None


def _read_jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    decode = msgspec.json.Decoder().decode
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = decode(line.removeprefix(BOM_UTF8) if number == 1 else line)
            except (ValueError, RecursionError) as error:
                yield number, {UNREADABLE: f"line {number}: not JSON: {error}"}
                continue
            yield number, row if isinstance(row, dict) else {UNREADABLE: f"line {number}: not a JSON object"}


def _read_parquet(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=512):
            yield from batch.to_pylist()
