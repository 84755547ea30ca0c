"""The answers that a closed job paid for, in the place of tiers and judges: `walk` decides on them as it did live."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import numpy as np
from duckdb import DuckDBPyConnection

from pipeline.cascade.bench import Judging
from pipeline.cascade.call import Caller
from pipeline.cascade.combine import Combiner
from pipeline.cascade.judges.agreement import Agreement
from pipeline.cascade.judges.band import undecided
from pipeline.cascade.judges.valid import Valid
from pipeline.cascade.rung import Asked, Rung
from pipeline.ports.judge import Case, Judge, PayingJudge
from pipeline.report.sql import Row, rows_of
from pipeline.storage.sql import named
from schemas.ids import JobId, QueryId, TierName
from schemas.job import ClassifyTask, ExtractTask, JobSpec, PayingJudgeBase, Task
from schemas.records import Answer, Completion, Pin, Purpose, Query, Request, Vote

Key = tuple[str, str]  # query, tier


class NotAsked(Exception):
    """No answer of the tier was paid for."""


@dataclass(kw_only=True, slots=True)
class Paid:
    """One job's queries, and what was said to them."""

    rows: list[Row]  # as they ended, in the order they ran in
    queries: dict[str, Query]
    pins: dict[tuple[int, int], Pin]  # by generation and batch
    answers: dict[Key, tuple[str | None, str]]  # as text, and where it is none the reason
    votes: dict[Key, dict[str, Vote]]  # by judge
    costs: dict[Key, int]  # nano-dollars
    judging: dict[str, int]  # nano-dollars, by query
    routing: dict[str, int]
    models: dict[TierName, str]
    audited: set[Key]  # of the answers, those that the audit alone asked for
    spoke: dict[str, set[str]]  # judge -> tiers of which it said something

    def mean(self, tier: str) -> float | None:
        """Nano-dollars of asking a tier for one query, over those that did; None: none did."""
        paid = [nano for (_, asked), nano in self.costs.items() if asked == tier]
        return sum(paid) / len(paid) if paid else None


def read_paid(connection: DuckDBPyConnection, job: JobId) -> Paid:
    statements = named(files("pipeline.replay").joinpath("paid.sql").read_text(encoding="utf-8"))

    def read(name: str) -> list[Row]:
        return rows_of(connection, statements[name], {"job": job})

    answers = {(row["query_id"], row["tier"]): (row["answer"], row["reason"]) for row in read("answers")}
    audits = {(row["query_id"], row["tier"]): row for row in read("audited") if row["answer"] is not None}
    audited = {key: row for key, row in audits.items() if key not in answers}
    votes: dict[Key, dict[str, Vote]] = defaultdict(dict)
    for row in read("votes"):
        said = {name: row[name] for name in ("judge", "version", "score", "reason", "form")}
        votes[row["query_id"], row["tier"]][row["judge"]] = Vote(**said)
    for key, row in audited.items():
        if row["confidence"] is not None:
            votes[key]["confidence"] = Vote(judge="confidence", version=1, score=row["confidence"])
    spoke: dict[str, set[str]] = defaultdict(set)
    for (_, tier), heard in votes.items():
        for judge in heard:
            spoke[judge].add(tier)
    costs, judging, routing = read("costs"), defaultdict[str, int](int), defaultdict[str, int](int)
    for row in costs:
        if row["tier"] is None:
            (judging if row["judging"] else routing)[row["query_id"]] += row["nano"]
    return Paid(
        rows=read("queries"),
        queries={row["query_id"]: _query(row) for row in read("documents")},
        pins={
            (row["asked_in"], row["batch"]): Pin(
                policy_version=row["policy_version"], price_of_money=row["price_of_money"], seed=row["seed"]
            )
            for row in read("pins")
        },
        answers=answers | {key: (row["answer"], "") for key, row in audited.items()},
        votes=votes,
        costs={(row["query_id"], row["tier"]): row["nano"] for row in costs if row["tier"] is not None},
        judging=judging,
        routing=routing,
        models={TierName(row["tier"]): row["model"] for row in read("models")},
        audited=set(audited),
        spoke=spoke,
    )


def _query(row: Row) -> Query:
    vector = b"" if row["vector"] is None else np.array(row["vector"], dtype=np.float32).tobytes()
    return Query(
        query_id=QueryId(row["query_id"]),
        text=row["text"] or "",
        gold=row["gold"],
        rejected=row["rejected"],
        vector=vector,
    )


class PaidCaller:
    """For one query: gives the answers on record, in place of a `Caller`. `open_`: queries of which more would have to
    be known by now. Raises NotAsked."""

    def __init__(self, paid: Paid, query_id: str, open_: Collection[str]) -> None:
        self._paid, self._query_id, self._open = paid, query_id, open_
        self.asked: list[TierName] = []

    async def ask(
        self,
        rung: Rung,
        request: Request,
        query_id: QueryId,
        *,
        purpose: Purpose = "answer",
        sample: int = 0,
        usable: Callable[[Completion], bool] = lambda completion: True,
    ) -> Asked:
        if self._query_id in self._open:
            raise NotAsked(rung.name)
        self.asked.append(rung.name)
        found = self._paid.answers.get((self._query_id, rung.name))
        if found is None:
            raise NotAsked(rung.name)
        answer, reason = found
        if answer is None:
            return Asked(completion=None, problem=reason)
        return Asked(completion=Completion(text=answer, finish_reason="stop"))

    @property
    def as_caller(self) -> Caller:
        return cast(Caller, self)


class _Recorded:
    """What a judge said of the answer when the job ran. A query that needs more than is on record becomes open."""

    def __init__(self, name: str, paid: Paid, open_: set[str]) -> None:
        self.name, self.version, self._paid, self._open = name, 1, paid, open_

    async def score(self, case: Case) -> Vote:
        key = (case.query.query_id, case.tier)
        if found := self._paid.votes[key].get(self.name):
            return found
        spoke = self._paid.spoke[self.name]
        if key in self._paid.audited and (case.tier in spoke if self.name == "confidence" else spoke):
            self._need(case)
        return Vote(judge=self.name, version=self.version, score=None)

    def _need(self, case: Case) -> None:
        if case.needed > 0:
            self._open.add(case.query.query_id)


class _Bought(_Recorded):
    """A judge that asks: heard where it would be asked now."""

    def __init__(self, name: str, paid: Paid, open_: set[str], band: float | None) -> None:
        super().__init__(name, paid, open_)
        self._band = band
        self.heard: set[str] = set()

    async def score(self, case: Case) -> Vote:
        silent = Vote(judge=self.name, version=self.version, score=None)
        if not undecided(case, self._band):
            return silent
        found = self._paid.votes[case.query.query_id, case.tier].get(self.name)
        if found is None:
            self._need(case)
            return silent
        self.heard.add(case.query.query_id)
        return found

    def foresee(self, query: Query, document: str) -> list[tuple[TierName, Request]]:
        return []


def paid_judging(spec: JobSpec, paid: Paid, combiner: Combiner, open_: set[str]) -> Judging:
    """The spec's judges, of which agreement and validity are judged anew: they depend on who was asked before."""
    free: list[Judge] = []
    paying: list[PayingJudge] = []
    for each in spec.judges:
        if isinstance(each, PayingJudgeBase):
            paying.append(_Bought(each.name, paid, open_, each.band))
        elif each.name == "agreement":
            free.append(Agreement())
        else:
            free.append(Valid() if each.name == "valid" else _Recorded(each.name, paid, open_))
    return Judging(judges=free, paying=paying, combiner=combiner)


def bought(judging: Judging, query_id: str) -> bool:
    """Whether a judge that asks was heard of the query."""
    return any(query_id in judge.heard for judge in judging.paying if isinstance(judge, _Bought))


def reader_of(task: Task) -> Callable[[Completion], Answer]:
    """Answers as they stand in tables, back to what they were."""
    plain = not (isinstance(task, ExtractTask) or (isinstance(task, ClassifyTask) and task.mode != "single"))

    def read(completion: Completion) -> Answer:
        value: Any = completion.text if plain else json.loads(completion.text)
        return Answer(value=value)

    return read
