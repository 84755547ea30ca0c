"""What waits for a person, read from the final tables of a closed job."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.report.sql import Row, first, rows_of
from pipeline.rows import answer_text
from pipeline.storage.sql import named
from pipeline.task.mask import mask, unmask
from schemas.errors import JobNotClosed
from schemas.ids import JobId
from schemas.job import ExtractTask, Task

SELECTED_BY = "review"  # as labels of these rows say what chose them


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """A query that ended for review, or was drawn for a certificate: then nothing is said of its answers, so that
    nobody is led."""

    query_id: str
    answer: str | None  # the best there is
    tier: str | None
    confidence: float | None  # P(correct) of that answer: the score that selected the row
    reason: str
    category: str
    cost_usd: Decimal | None
    drawn: bool = False


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """A judge's word on an answer."""

    judge: str
    score: float | None
    reason: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What one tier answered. `answer` None: nothing that counts, and `reason` says why."""

    tier: str
    answer: str | None
    confidence: float
    reason: str
    votes: list[Opinion]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A query as a reviewer sees it."""

    query: Selected
    text: str
    fields: dict[str, str]  # the other columns of its row
    candidates: list[Candidate]


def count_queues(connection: DuckDBPyConnection, job: JobId | None) -> list[Row]:
    """Of one job, or of every job that sent queries to review."""
    return _rows(connection, "jobs", job=job)


def count_reasons(connection: DuckDBPyConnection, job: JobId) -> list[Row]:
    return _rows(connection, "reasons", job=job)


def count_reviewers(connection: DuckDBPyConnection, job: JobId) -> list[Row]:
    return _rows(connection, "reviewers", job=job)


def read_queue(connection: DuckDBPyConnection, job: JobId) -> list[Selected]:
    """All that people are asked about, reviewed since or not: what was drawn for a certificate, then what ended for
    review, the least sure first. Raises JobNotClosed."""
    if first(connection, "job", job=job) is None:
        raise JobNotClosed(job=job, state="not closed yet, or not in this lake")
    return [Selected(**row) for row in _rows(connection, "selected", job=job)]


def read_items(
    connection: DuckDBPyConnection, job: JobId, task: Task, queries: Sequence[Selected]
) -> list[Item]:
    """In the order given. A masked answer is shown as it stands in the result, so that it can be taken as it is."""
    every = [query.query_id for query in queries]
    documents = {row["query_id"]: row for row in _rows(connection, "documents", job=job, ids=every)}
    ids = [query.query_id for query in queries if not query.drawn]
    votes: dict[tuple[str, int, int], list[Opinion]] = defaultdict(list)
    for row in _rows(connection, "votes", job=job, ids=ids):
        key = (row["query_id"], row["asked_in"], row["position"])
        votes[key].append(Opinion(judge=row["judge"], score=row["score"], reason=row["reason"] or ""))
    asked: dict[str, list[Row]] = defaultdict(list)
    for row in _rows(connection, "decisions", job=job, ids=ids):
        asked[row["query_id"]].append(row)
    return [_item(task, query, documents[query.query_id], asked[query.query_id], votes) for query in queries]


def _item(
    task: Task,
    query: Selected,
    document: Row,
    asked: Sequence[Row],
    votes: dict[tuple[str, int, int], list[Opinion]],
) -> Item:
    restored = mask(document["text"], task.mask)[1] if task.mask else {}
    candidates = [
        Candidate(
            tier=row["tier"],
            answer=_restored(task, row["answer"], restored),
            confidence=row["confidence"],
            reason=row["reason"],
            votes=votes[query.query_id, row["asked_in"], row["position"]],
        )
        for row in asked
    ]
    fields = msgspec.json.decode(document["fields"] or "{}", type=dict[str, str])
    return Item(query=query, text=document["text"], fields=fields, candidates=candidates)


def _restored(task: Task, answer: str | None, restored: dict[str, str]) -> str | None:
    if answer is None or not restored or not isinstance(task, ExtractTask):
        return answer if answer is None else str(unmask(answer, restored))
    return answer_text(unmask(msgspec.json.decode(answer), restored))


def _rows(connection: DuckDBPyConnection, name: str, **values: object) -> list[Row]:
    text = (files("pipeline.review") / "queue.sql").read_text(encoding="utf-8")
    return rows_of(connection, named(text)[name], values)
