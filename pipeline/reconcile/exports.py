"""Usage exports as they lie on disk, told apart by what is in them."""

import csv
import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.reconcile import anthropic, cur, openai
from pipeline.reconcile.usage import Export, Place, days_between
from schemas.errors import UsageError

FORMS = (
    "Give pages of OpenAI's /v1/organization/usage/completions or Anthropic's /v1/organizations/usage_report/messages "
    "(JSON, grouped by model), OpenAI's CSV export, or AWS cost and usage reports (CSV or Parquet)."
)
Bucket = tuple[Mapping[str, Any], Place]
_PAGES: dict[str, Callable[[Sequence[Bucket]], Export]] = {
    "start_time": openai.read_pages,
    "starting_at": anthropic.read_pages,
}


def read_exports(paths: Sequence[Path]) -> Export:
    """All files as one export; they must be of one provider. Raises UsageError."""
    _refuse_copies(paths)
    pages = [path for path in paths if _starts_as_json(path)]
    found = [_read_table(path) for path in paths if path not in pages]
    if pages:
        found.append(_read_pages(pages))
    forms = sorted({export.form for export in found})
    if len(forms) > 1:
        raise UsageError(
            path=paths[0], why=f"together they are of {' and '.join(forms)}", fix="One at a time."
        )
    sparse = any(export.sparse for export in found)
    days = frozenset[date]().union(*(export.days for export in found))
    if not days and not any(export.billed for export in found):
        raise UsageError(
            path=paths[0], why="it has no whole day and no usage", fix="Export whole days, in UTC."
        )
    left_out: Counter[str] = Counter()
    for export in found:
        left_out.update(export.left_out)
    return Export(
        form=found[0].form,
        billed=tuple(line for export in found for line in export.billed),
        days=frozenset(days_between(min(days), max(days))) if sparse else days,
        sparse=sparse,
        left_out=dict(left_out),
    )


def _refuse_copies(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        with _said_by_path(path), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest in seen:
            raise UsageError(path=path, why=f"it is the same as {seen[digest]}", fix="Give each file once.")
        seen[digest] = path


def _starts_as_json(path: Path) -> bool:
    with _open(path) as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def _read_pages(paths: Sequence[Path]) -> Export:
    pages = [(page, place) for path in paths for page, place in _pages(path)]
    if all(page.get("has_more") for page, _ in pages):
        why, fix = "every page of it says has_more", "Fetch the pages to the end (page=NEXT_PAGE)."
        raise UsageError(path=paths[-1], why=why, fix=fix)
    buckets = [bucket for page, place in pages for bucket in _buckets(page, place)]
    if not buckets:
        raise UsageError(path=paths[0], why="it holds no bucket", fix=FORMS)
    first, place = buckets[0]
    form = next((name for name in _PAGES if name in first), None)
    if form is None:
        raise place.wrong(f"it has neither start_time nor starting_at, but {', '.join(first)}", FORMS)
    return _PAGES[form](buckets)


def _pages(path: Path) -> Iterator[Bucket]:
    """One page, a list of pages, or pages one after the other."""
    values = list(_values(path))
    pages = [page for value in values for page in (value if isinstance(value, list) else [value])]
    for number, page in enumerate(pages, 1):
        place = Place(path, f"page {number}" if len(pages) > 1 else "")
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise place.wrong("it has no list `data`", FORMS)
        yield page, place


def _buckets(page: Mapping[str, Any], place: Place) -> Iterator[Bucket]:
    for number, bucket in enumerate(page["data"]):
        inside = Place(place.path, f"{place.at}, data[{number}]".removeprefix(", "))
        yield _checked(bucket, inside), inside


def _checked(bucket: Any, place: Place) -> Mapping[str, Any]:
    if not isinstance(bucket, dict):
        raise place.wrong("it is no object")
    results = bucket.get("results", [])
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise place.wrong("`results` is no list of objects", FORMS)
    return bucket


def _values(path: Path) -> Iterator[Any]:
    with _open(path) as file:
        data = file.read()
    decoder, at = json.JSONDecoder(), 0
    try:
        text = data.decode("utf-8-sig")
        while text[at:].strip():
            at += len(text[at:]) - len(text[at:].lstrip())
            value, at = decoder.raw_decode(text, at)
            yield value
    except UnicodeDecodeError as error:
        raise UsageError(path=path, why=f"it is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        why = f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        raise UsageError(path=path, why=why, fix="Save the reply as it came, whole.") from None
    except RecursionError:
        raise UsageError(path=path, why="it is nested too deep", fix=FORMS) from None


def _read_table(path: Path) -> Export:
    rows = _parquet_rows(path) if _is_parquet(path) else _csv_rows(path)
    header = next(rows, {})
    if all(name in header for name in openai.MARKS):
        return openai.read_table(rows, path)
    if cur.USAGE_TYPE in header:
        return cur.read_lines(rows, path)
    raise UsageError(
        path=path, why=f"its columns are those of no export known: {', '.join(header)}"[:300], fix=FORMS
    )


def _is_parquet(path: Path) -> bool:
    with _open(path) as file:
        start: bytes = file.read(4)
    return start == b"PAR1"


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """First the header alone, as a row of nothing."""
    opened = gzip.open if path.suffix == ".gz" else open
    with _said_by_path(path), opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [cur.column(name) for name in next(reader, [])]
        yield dict.fromkeys(header)
        for cells in reader:
            if len(cells) != len(header):
                why = f"line {reader.line_num}: {len(cells)} cells, the header has {len(header)}"
                raise UsageError(path=path, why=why, fix="Export it again; was it edited in a spreadsheet?")
            yield dict(zip(header, cells, strict=True))


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with _said_by_path(path), pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if cur.column(name) in cur.COLUMNS]
        yield dict.fromkeys(map(cur.column, names or file.schema_arrow.names))
        for batch in file.iter_batches(columns=names):
            yield from ({cur.column(name): value for name, value in row.items()} for row in batch.to_pylist())


@contextmanager
def _said_by_path(path: Path) -> Iterator[None]:
    """A file that is not there, or not what its name says, is bad input, not a crash."""
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error, pa.ArrowException) as error:
        raise UsageError(path=path, why=str(error) or type(error).__name__) from None


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with _said_by_path(path), gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield file
