"""The queue as a file that people fill in, and back."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.labels import AUDIT, Label, label_of
from pipeline.review.cells import guard, unguard
from pipeline.review.queue import SELECTED_BY, Item, Selected
from pipeline.sources import UNREADABLE, Row, is_csv, numbered_rows
from pipeline.task.parse import Parser
from schemas.errors import OutputError, Problem, ReviewError

# `label` and `reviewer` are for people to fill in; the rest is there to be read.
COLUMNS = (
    "query_id", "label", "reviewer", "text", "answer", "confidence", "reason", "candidates", "category",
    "cost_usd", "reviewed_label", "reviewed_by",
)  # fmt: skip
FORMATS = (".csv", ".parquet")
LONGEST_NAME = 100  # characters of a reviewer's name
_CHUNK = 1000  # rows of a Parquet file written at a time
_SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_HOW = "Write the label as the task has it; leave the cell empty to leave the row for later."


def write_sheet(path: Path, items: Iterable[Item], reviewed: Mapping[str, Label]) -> int:
    """As .csv or .parquet, by its name; returns the number of rows. Never writes over a file, and leaves no half of
    one."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise OutputError(path=path, why="unknown format", fix=f"Name it {' or '.join(FORMATS)}.")
    try:
        file = path.open("xb")
    except FileExistsError:
        fix = "Give another name, or remove it: someone may have filled it in."
        raise OutputError(path=path, why="it exists already", fix=fix) from None
    except OSError as error:
        raise OutputError(path=path, why=error.strerror) from None
    try:
        with file:
            rows = (_row(item, reviewed.get(item.query.query_id)) for item in items)
            return _write_csv(file, rows) if kind == ".csv" else _write_parquet(file, rows)
    except BaseException:
        path.unlink()
        raise


def read_sheet(
    path: Path, queue: Mapping[str, Selected], parse: Parser, reviewer: str | None
) -> tuple[list[Label], int]:
    """The labels filled in, and how many rows were left empty. `reviewer` stands where a row names none. Raises
    ReviewError with every row that is wrong."""
    given: dict[str, Label] = {}
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    skipped = 0
    for line, row in numbered_rows(path, "auto"):
        cells = _cells(row) if is_csv(path) else row
        if not _is_filled(cells):
            skipped += 1
            continue
        found = _label(line, cells, queue, parse, reviewer)
        if isinstance(found, Problem):
            problems.append(found)
            if found.path == "header":
                break  # as it would be said of every row
        elif given.setdefault(found.query_id, found) != found:
            above = lines[found.query_id]
            fix = "Keep one of the two rows."
            problems.append(
                Problem("label", f"line {above} gives {found.query_id!r} another label", fix, line)
            )
        else:
            lines.setdefault(found.query_id, line)
    if problems:
        raise ReviewError(str(path), problems)
    return list(given.values()), skipped


def name_problem(reviewer: str) -> str:
    """Why this is no name to keep; empty: it is one."""
    if not reviewer.strip():
        return "is empty"
    if len(reviewer) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    return "holds control characters" if _CONTROL.search(reviewer) else ""


def _is_filled(row: Row) -> bool:
    if UNREADABLE in row or "query_id" not in row or "label" not in row:
        return True  # and wrong, as will be said
    label = row["label"]
    return bool(label.strip()) if isinstance(label, str) else label is not None


def _label(
    line: int, row: Row, queue: Mapping[str, Selected], parse: Parser, reviewer: str | None
) -> Label | Problem:
    if UNREADABLE in row:
        return Problem("row", str(row[UNREADABLE]), "Export again and fill that in.", line)
    if missing := [name for name in ("query_id", "label") if name not in row]:
        return _no_column(line, missing, row)
    query = queue.get(str(row["query_id"]))
    if query is None:
        why = f"{str(row['query_id'])!r} did not end for review in this job, nor was it drawn"
        return Problem(
            "query_id", why, "Remove the row; `tierwise feedback` takes labels of any query.", line
        )
    who = str(row.get("reviewer") or reviewer or "")
    if why := name_problem(who):
        return Problem("reviewer", why, "Write a name into the row, or give --reviewer NAME.", line)
    label, problem = label_of(parse, row["label"])
    if label is None:
        return Problem("label", f"of {query.query_id!r} is {problem}", _HOW, line)
    return review_of(query, label, who)


def review_of(query: Selected, label: str | None, reviewer: str) -> Label:
    """A person's word on a query, with the score that selected it."""
    return Label(
        query_id=query.query_id,
        label=label,
        label_source="human",
        reviewer=reviewer,
        selected_by=AUDIT if query.drawn else SELECTED_BY,
        score=query.confidence,
        reason=query.reason,
    )


def _no_column(line: int, missing: list[str], row: Row) -> Problem:
    columns = [str(name) for name in row]
    fix = f"Name the columns as in the export: {', '.join(COLUMNS)}."
    return Problem("header", f"no column {' or '.join(missing)}; there are: {', '.join(columns)}", fix, line)


def _cells(row: Row) -> Row:
    return {name: unguard(cell) if name != UNREADABLE else cell for name, cell in row.items()}


def _row(item: Item, standing: Label | None) -> dict[str, str]:
    query = item.query
    said = [f"{each.tier}: {each.answer} ({each.confidence:.2f})" for each in item.candidates if each.answer]
    known: dict[str, Any] = {
        "query_id": query.query_id,
        "text": item.text,
        "answer": query.answer,
        "confidence": None if query.confidence is None else f"{query.confidence:.4f}",
        "reason": query.reason,
        "candidates": " · ".join(said),
        "category": query.category,
        "cost_usd": None if query.cost_usd is None else f"{query.cost_usd:f}",
        "reviewed_label": standing.label if standing and not query.drawn else None,
        "reviewed_by": standing.reviewer if standing else None,
    }
    return {name: known.get(name) or "" for name in COLUMNS}


def _write_csv(file: IO[bytes], rows: Iterator[dict[str, str]]) -> int:
    """With the mark by which spreadsheets know UTF-8."""
    count = 0
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", errors="replace")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([guard(cell) for cell in row.values()])
        count += 1
    text.flush()
    text.detach()
    return count


def _write_parquet(file: IO[bytes], rows: Iterator[dict[str, str]]) -> int:
    count = 0
    with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        while chunk := list(islice(rows, _CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=_SCHEMA))
            count += len(chunk)
    return count
