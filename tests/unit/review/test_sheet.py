"""The queue as a file: written whole or not at all, read with every mistake at its line."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from pipeline.labels import Label, Labels
from pipeline.review.queue import Item, Selected, read_items, read_queue
from pipeline.review.sheet import COLUMNS, read_sheet, write_sheet
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.views import connect, prepare_lake
from pipeline.task.parse import parser_of
from schemas.errors import InputError, JobNotClosed, OutputError, ReviewError
from schemas.ids import JobId
from schemas.job import Task
from tests.reviewing import CLASSIFY, EXTRACT, JOB, MULTI, WHY, queued

TEXTS = ["=1+1\nand two lines", "plain", "@you"]
ANSWERS = [("billing", "=account"), ("other", "outage"), ("other", "other")]


def task_of(spec: dict[str, Any]) -> Task:
    task: Task = TypeAdapter(Task).validate_python(spec)
    return task


async def opened(
    task: dict[str, Any] = CLASSIFY, answers: list[tuple[Any, Any]] = ANSWERS
) -> tuple[dict[str, Selected], list[Item]]:
    storage = MemoryStorage()
    await queued(storage, task, TEXTS, answers)
    with connect(storage) as connection:
        queue = read_queue(connection, JOB)
        items = read_items(connection, JOB, task_of(task), queue)
    return {each.query_id: each for each in queue}, items


def fill(path: Path, labels: list[str], **more: list[str]) -> Path:
    """What a person does in a spreadsheet, by rows."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for at, label in enumerate(labels):
        rows[at]["label"] = label
        for name, values in more.items():
            rows[at][name] = values[at]
    target = path.with_name("filled.csv")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return target


async def test_what_waits_has_its_document_its_answers_and_what_judges_said() -> None:
    queue, items = await opened()
    assert list(queue) == ["q1", "q2", "q3"]
    assert (queue["q1"].answer, queue["q1"].confidence, queue["q1"].reason) == ("=account", 0.51, WHY)
    first = items[0]
    assert (first.text, first.fields) == (TEXTS[0], {"from": "a@b.example"})
    assert [(each.tier, each.answer, each.confidence) for each in first.candidates] == [
        ("small", "billing", 0.4),
        ("large", "=account", 0.55),
    ]
    assert [(vote.judge, vote.score) for vote in first.candidates[1].votes] == [("confidence", 0.55)]


async def test_a_masked_answer_is_shown_as_the_result_has_it() -> None:
    storage = MemoryStorage()
    task = {**EXTRACT, "mask": ["email"], "schema": {"type": "object"}}
    await queued(storage, task, ["from x@y.example"], [({"who": "[EMAIL_1]"}, {"who": "[EMAIL_1]"})])
    with connect(storage) as connection:
        [item] = read_items(connection, JOB, task_of(task), read_queue(connection, JOB))
    assert item.candidates[0].answer == '{"who": "x@y.example"}'


async def test_a_job_that_is_not_closed_has_no_queue() -> None:
    storage = MemoryStorage()
    await queued(storage, CLASSIFY, TEXTS, ANSWERS)
    with connect(storage) as connection, pytest.raises(JobNotClosed):
        read_queue(connection, JobId("other"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_a_file_goes_out_and_comes_back(tmp_path: Path, kind: str) -> None:
    queue, items = await opened()
    path = tmp_path / f"review.{kind}"
    known = {"q2": Label("q2", "billing", "human", reviewer="ben")}
    assert write_sheet(path, items, known) == 3
    if kind == "csv":
        raw = path.read_text(encoding="utf-8-sig")
        assert "\"'=1+1\n" in raw
        assert '"\'@you"' in raw
        assert '"\'=account"' in raw
        filled = fill(path, ["'=account", "", "OUTAGE"], reviewer=["", "", "cleo"])
    else:
        rows = pq.read_table(path).to_pylist()
        assert [row["text"] for row in rows] == TEXTS
        assert (rows[1]["reviewed_label"], rows[1]["reviewed_by"]) == ("billing", "ben")
        for row, label, who in zip(rows, ("=account", "", "outage"), ("", "", "cleo"), strict=True):
            row |= {"label": label, "reviewer": who}
        filled = tmp_path / "filled.parquet"
        pq.write_table(pa.Table.from_pylist(rows), filled)
    given, skipped = read_sheet(filled, queue, parser_of(task_of(CLASSIFY)), "anna")
    assert skipped == 1
    assert given == [
        Label("q1", "=account", "human", "anna", "review", 0.51, WHY),
        Label("q3", "outage", "human", "cleo", "review", 0.53, WHY),
    ]


async def test_every_mistake_is_said_with_its_line_and_the_fix(tmp_path: Path) -> None:
    queue, items = await opened()
    path = tmp_path / "review.csv"
    write_sheet(path, [*items, items[0]], {})
    names = ["q1", "q0", "q3", "q1"]
    bad = fill(path, ["weather", "billing", "other", "billing"], query_id=names, reviewer=["", "", "\a", ""])
    with bad.open("a") as file:
        file.write("q2,billing\n")
    with pytest.raises(ReviewError) as caught:
        read_sheet(bad, queue, parser_of(task_of(CLASSIFY)), "anna")
    problems = [(each.line, each.path) for each in caught.value.problems]
    # the first document has two lines: what follows stands one line lower
    assert problems == [(2, "label"), (4, "query_id"), (5, "reviewer"), (8, "row")]
    assert all(each.fix for each in caught.value.problems)
    for piece in (
        "outside the label set: 'weather'",
        "'q0' did not end for review",
        "2 cells",
        "none was stored",
    ):
        assert piece in str(caught.value)


async def test_a_query_has_one_label_a_file(tmp_path: Path) -> None:
    queue, items = await opened()
    path = tmp_path / "review.csv"
    write_sheet(path, [items[1], items[1], items[1]], {})
    with pytest.raises(ReviewError, match="line 2 gives 'q2' another label") as caught:
        read_sheet(fill(path, ["other", "other", "billing"]), queue, parser_of(task_of(CLASSIFY)), "anna")
    assert [each.line for each in caught.value.problems] == [4]


async def test_a_wrong_header_is_said_once(tmp_path: Path) -> None:
    queue, _ = await opened()
    path = tmp_path / "x.csv"
    path.write_text("id,label\nq1,billing\nq2,billing\n")
    with pytest.raises(ReviewError, match="as in the export") as caught:
        read_sheet(path, queue, parser_of(task_of(CLASSIFY)), "anna")
    assert len(caught.value.problems) == 1


async def test_a_spreadsheet_may_save_it_with_semicolons(tmp_path: Path) -> None:
    queue, _ = await opened()
    path = tmp_path / "x.csv"
    path.write_text("query_id;label\nq1;billing\n")
    given, _ = read_sheet(path, queue, parser_of(task_of(CLASSIFY)), "anna")
    assert [(each.query_id, each.label) for each in given] == [("q1", "billing")]


@pytest.mark.parametrize(
    ("task", "answer", "said", "kept"),
    [
        (MULTI, ["billing"], "outage, billing", '["billing", "outage"]'),
        (MULTI, ["billing"], "[]", "[]"),
        (EXTRACT, {"total": 1}, '{"total": 2}', '{"total": 2}'),
    ],
)
async def test_labels_are_read_as_answers_are(
    tmp_path: Path, task: dict[str, Any], answer: Any, said: str, kept: str
) -> None:
    queue, items = await opened(task, [(answer, answer)] * 3)
    path = tmp_path / "review.csv"
    write_sheet(path, items, {})
    given, _ = read_sheet(fill(path, [said]), queue, parser_of(task_of(task)), "anna")
    assert [each.label for each in given] == [kept]


async def test_lists_and_objects_of_a_file_are_labels_too(tmp_path: Path) -> None:
    queue, _ = await opened(EXTRACT, [({"total": 1}, {"total": 1})] * 3)
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"query_id": "q1", "label": {"total": 3}}) + "\n{]\n")
    with pytest.raises(ReviewError, match="not JSON"):
        read_sheet(path, queue, parser_of(task_of(EXTRACT)), "anna")
    path.write_text(json.dumps({"query_id": "q1", "label": {"total": 3}}))
    given, _ = read_sheet(path, queue, parser_of(task_of(EXTRACT)), "anna")
    assert [each.label for each in given] == ['{"total": 3}']


async def test_a_file_is_never_written_over_nor_left_half(tmp_path: Path) -> None:
    _, items = await opened()
    path = tmp_path / "review.csv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="filled it in"):
        write_sheet(path, items, {})
    assert path.read_text() == "mine"

    def broken() -> Any:
        yield items[0]
        raise InputError(path="x", why="y")

    for name in ("a.csv", "a.parquet"):
        with pytest.raises(InputError):
            write_sheet(tmp_path / name, broken(), {})
    with pytest.raises(OutputError, match=r"\.csv or \.parquet"):
        write_sheet(tmp_path / "a.xlsx", items, {})
    with pytest.raises(OutputError):
        write_sheet(tmp_path / "no" / "a.csv", items, {})
    assert [each.name for each in tmp_path.iterdir()] == ["review.csv"]


async def test_a_second_review_is_kept_and_the_latest_stands() -> None:
    storage = MemoryStorage()
    await queued(storage, CLASSIFY, TEXTS, ANSWERS)
    here, there = Labels(storage, JOB), Labels(storage, JOB)
    anna, ben = (
        Label("q1", each, "human", reviewer=name) for each, name in (("other", "anna"), ("billing", "ben"))
    )
    assert await here.keep([anna], 1_000) == [anna]
    assert await here.keep([anna], 2_000) == []
    # a clock that is behind does not make the later word the earlier one
    assert await there.keep([ben], 500) == [ben]
    await here.refresh()
    assert here.latest == there.latest == {"q1": ben}
    with connect(storage) as connection:
        history = connection.execute("SELECT reviewer FROM feedback ORDER BY given_at").fetchall()
        stands = connection.execute("SELECT reviewer, label, agrees, status FROM reviewed").fetchall()
    assert history == [("anna",), ("ben",)]
    assert stands == [("ben", "billing", False, "review")]
    # and one that is withdrawn is none
    await there.keep([Label("q1", None, "human", reviewer="ben")], 3_000)
    with connect(storage) as connection:
        assert connection.execute("SELECT * FROM reviewed").fetchall() == []


async def test_labels_of_an_older_lake_are_read() -> None:
    storage = MemoryStorage()
    await queued(storage, CLASSIFY, TEXTS, ANSWERS)
    labels = Labels(storage, JOB)
    await labels.keep([Label("q1", "other", "human")], 1_000)
    old = ["job", "query_id", "label", "label_source", "given_at"]
    for key in [key for key in storage.objects if key.startswith("feedback/")]:
        sink = pa.BufferOutputStream()
        pq.write_table(pq.read_table(pa.BufferReader(storage.objects[key])).select(old), sink)
        storage.objects[key] = sink.getvalue().to_pybytes()
    await prepare_lake(storage)  # as every job and `doctor` do
    with connect(storage) as connection:
        assert connection.execute("SELECT label, reviewer FROM reviewed").fetchall() == [("other", None)]
    again = Labels(storage, JOB)
    await again.refresh()
    assert again.latest == {"q1": Label("q1", "other", "human")}
