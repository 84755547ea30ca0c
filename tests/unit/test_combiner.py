"""Which answers weigh the judges: labelled ones of the same task and judges, never the audit's."""

from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

import duckdb
import pytest

from pipeline.combiner import scope_of
from pipeline.report.judges import audit_judges
from pipeline.storage.catalog import views
from pipeline.storage.sql import named
from schemas.errors import JobNotClosed
from schemas.ids import JobId
from schemas.tables import TABLES
from tests.faults.desk import job_spec, tier

AT = datetime(2026, 1, 1)
GRADED = {"name": "model-graded", "tier": "t1"}


class Lake:
    """The views of the lake as tables in memory; what a row does not say is null."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        for name, schema in TABLES.items():
            empty = schema.empty_table()
            self.connection.register(f"empty_{name}", empty)
            self.connection.execute(f"CREATE TABLE {name} AS FROM empty_{name}")
        self.connection.execute(next(view.sql for view in views() if view.name == "drawn"))

    def add(self, table: str, **row: Any) -> None:
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))

    def job(self, name: str = "j", queries: int = 4, **spec: Any) -> None:
        written = job_spec([tier(0, model="gpt-4.1-nano"), tier(1, model="claude-3-5-haiku")], **spec)
        self.add(
            "jobs", job=name, prompt_hash="p", queries=queries, closed_at=AT,
            spec=written.model_dump_json(by_alias=True),
        )  # fmt: skip

    def answer(
        self, query: str, answer: str | None = "a", *, gold: str | None = None, scores: Any = (), tier: str = "t0",
        text: str = "text", outcome: str = "ok", model: str = "gpt-4.1-nano", position: int = 0, form: str = "",
    ) -> None:  # fmt: skip
        key = {"job": "j", "query_id": query}
        call = f"{query}-{tier}"
        if not self.connection.execute("SELECT 1 FROM documents WHERE query_id = ?", [query]).fetchone():
            self.add("documents", **key, text=text, gold=gold)
        self.add("calls", **key, call_id=call, tier=tier, model=model, purpose="answer", outcome=outcome)
        self.add(
            "decisions", **key, call_id=call, tier=tier, answer=answer, confidence=0.5, position=position
        )
        for judge, score in dict(scores).items():
            self.add(
                "votes", **key, call_id=call, tier=tier, position=position, judge=judge, version=1, score=score,
                reason="" if score is not None else "failed", form=form,
            )  # fmt: skip

    def labelled(self) -> list[tuple[Any, ...]]:
        sql = named(files("pipeline").joinpath("combiner.sql").read_text(encoding="utf-8"))["labelled"]
        found = self.connection.execute(sql, {"jobs": ["j"]}).fetchall()
        return [(query, judge, score, right, fair) for _, query, _, _, right, fair, judge, score in found]


def test_labelled_votes_on_valid_answers_count() -> None:
    lake = Lake()
    lake.job(queries=3)
    lake.answer("q0", "a", gold="a", scores={"valid": 1.0, "agreement": 0.5, "model-graded": None})
    lake.answer("q1", "b", gold="a", scores={"valid": 1.0})
    lake.answer("q2", None, gold="a", scores={"valid": 0.0})
    lake.answer("q3", "a", scores={"valid": 1.0})  # nobody knows
    assert lake.labelled() == [
        ("q0", "agreement", 0.5, True, True),
        ("q0", "valid", 1.0, True, True),
        ("q1", "valid", 1.0, False, True),
    ]


def test_the_audit_teaches_nothing_and_an_answer_counts_once() -> None:
    lake = Lake()
    lake.job()
    lake.answer("q0", gold="a", scores={"valid": 1.0})
    lake.answer("q1", gold="a", scores={"valid": 1.0}, outcome="reused")
    lake.add("calls", job="j", query_id="q0", call_id="audit", tier="t1", purpose="audit", outcome="ok")
    assert lake.labelled() == []


def test_what_people_label_for_a_certificate_weighs_no_judge_but_audits_it() -> None:
    lake = Lake()
    lake.job(queries=2)
    lake.add("certificates", job="j", drawn=["q0"])
    for number, chosen in enumerate(("audit", None)):
        lake.answer(f"q{number}", "a", scores={"valid": 1.0})
        lake.add(
            "feedback", job="j", label_source="human", query_id=f"q{number}", label="a", given_at=AT,
            reviewer="anna", selected_by=chosen,
        )  # fmt: skip
    assert [row[0] for row in lake.labelled()] == ["q1"]
    assert audit_judges(lake.connection, JobId("j")).labelled == 2


def test_labels_that_someone_chose_to_give_judge_no_weights() -> None:
    lake = Lake()
    lake.job(queries=2)
    for number in range(2):
        lake.answer(f"q{number}", "a", scores={"valid": 1.0})
    given = {"job": "j", "label_source": "human"}
    lake.add("feedback", **given, query_id="q0", label="b", given_at=AT)
    assert lake.labelled() == [("q0", "valid", 1.0, False, False)]
    # And the latest label of a query counts; once all have one, nobody chose
    lake.add("feedback", **given, query_id="q0", label="a", given_at=AT + timedelta(days=1))
    lake.add("feedback", **given, query_id="q1", label="a", given_at=AT)
    assert lake.labelled() == [("q0", "valid", 1.0, True, True), ("q1", "valid", 1.0, True, True)]
    # And one that is withdrawn counts no more
    lake.add("feedback", **given, query_id="q0", label=None, given_at=AT + timedelta(days=2))
    assert lake.labelled() == [("q1", "valid", 1.0, True, False)]
    assert audit_judges(lake.connection, JobId("j")).labelled == 1


def test_reviews_teach_but_judge_nothing_and_withdrawn_ones_are_none() -> None:
    lake = Lake()
    lake.job(queries=2)
    for number in range(2):
        lake.answer(f"q{number}", "a", scores={"valid": 1.0})
        lake.add(
            "feedback", job="j", label_source="human", query_id=f"q{number}", label="a", given_at=AT,
            reviewer="anna", selected_by="review", score=0.4,
        )  # fmt: skip
    assert lake.labelled() == [(f"q{number}", "valid", 1.0, True, False) for number in range(2)]
    assert audit_judges(lake.connection.cursor(), JobId("j")).labelled == 0
    # Where the audit drew the query, a review says as much as any label
    lake.add("calls", job="j", query_id="q1", call_id="audit", tier="t1", purpose="audit", outcome="ok")
    assert lake.labelled() == [("q0", "valid", 1.0, True, False)]
    assert audit_judges(lake.connection.cursor(), JobId("j")).labelled == 1
    for number in range(2):
        lake.add(
            "feedback", job="j", label_source="human", query_id=f"q{number}", label=None, reviewer="anna",
            selected_by="review", given_at=AT + timedelta(days=1),
        )  # fmt: skip
    assert lake.labelled() == []
    assert audit_judges(lake.connection.cursor(), JobId("j")).labelled == 0


def test_other_judges_and_other_models_are_weighed_apart() -> None:
    tiers = [tier(0, model="m0"), tier(1, model="m1")]
    scopes = [
        scope_of(job_spec(tiers), "p"),
        scope_of(job_spec(tiers), "other task"),
        scope_of(job_spec(tiers, judges=["valid", GRADED]), "p"),
        scope_of(job_spec(tiers, judges=["valid", {**GRADED, "order": "both"}]), "p"),
        scope_of(job_spec([tiers[0], tier(1, model="m2")], judges=["valid", GRADED]), "p"),
    ]
    assert len(set(scopes)) == 5
    assert scope_of(job_spec(tiers, budget={"usd": "2"}), "p") == scopes[0]


def test_an_audit_finds_what_sways_a_judge() -> None:
    # Given a judge that believes what stands first, what is long, and its own kin
    lake = Lake()
    lake.job(judges=["valid", GRADED])
    for number in range(120):
        first, long, kin = number % 2 == 0, number % 3 == 0, number % 5 == 0
        score = 0.4 + 0.2 * first + 0.2 * long + 0.1 * kin
        lake.answer(
            f"q{number}", "yes" * (20 if long else 1), gold="yes" * (20 if long else 1) if number % 4 else "no",
            scores={"model-graded": score}, form="right first" if first else "wrong first",
            model="claude-opus-4" if kin else "o3-mini", text="x" * number,
        )  # fmt: skip
    lake.answer("failed", scores={"model-graded": None}, gold="a")
    # When it is audited
    audit = audit_judges(lake.connection, JobId("j"))
    # Then each group shows what it says over what is right
    said = {(row["bias"], row["group"]): row["said"] for row in audit.bias if row["judge"] == "model-graded"}
    assert said["position", "right first"] - said["position", "wrong first"] == pytest.approx(0.2)
    assert said["answer length", "2: to 60"] - said["answer length", "1: to 3"] == pytest.approx(0.2)
    assert said["family", "its own"] - said["family", "another"] == pytest.approx(0.1)
    thirds = [group for bias, group in said if bias == "document length"]
    assert thirds == ["1: to 39", "2: to 80", "3: over 80"]
    [judge] = [row for row in audit.judges if row["judge"] == "model-graded"]
    assert (judge["votes"], judge["failed"], judge["labelled"]) == (120, 1, 120)
    assert judge["was_right"] == pytest.approx(0.75)
    assert judge["brier_base_rate"] == pytest.approx(0.75 * 0.25)
    tenths = [row for row in audit.calibration if row["judge"] == "model-graded"]
    off = sum(row["answers"] * abs(row["said"] - row["was_right"]) for row in tenths)
    assert judge["calibration_error"] == pytest.approx(off / 120)


def test_a_job_that_is_not_closed_has_no_audit() -> None:
    with pytest.raises(JobNotClosed):
        audit_judges(Lake().connection, JobId("j"))
