"""The judge audit: how true each judge of a closed job is, and what sways it that should not."""

from importlib.resources import files

import msgspec
from duckdb import DuckDBPyConnection

from pipeline.report.sql import Row
from pipeline.storage.sql import named
from pipeline.storage.views import ask
from schemas.errors import JobNotClosed
from schemas.ids import JobId
from schemas.job import JobSpec, PayingJudgeBase


class JudgeAudit(msgspec.Struct, frozen=True, kw_only=True):
    job: JobId
    labelled: int  # queries whose right answer is known
    judges: list[Row]  # one each, and one for P(correct) as the combiner made it of them
    calibration: list[Row]  # by tenths of the score
    bias: list[Row]  # said over right, by group


def audit_judges(connection: DuckDBPyConnection, job: JobId) -> JudgeAudit:
    """Raises JobNotClosed where the job has no final tables yet."""
    found = ask(connection, "SELECT spec FROM jobs WHERE job = $job", {"job": job}).fetchone()
    if found is None:
        raise JobNotClosed(job=job, state="not closed yet, or not in this lake")
    spec = JobSpec.model_validate_json(found[0])
    statements = named(files("pipeline.report").joinpath("judges.sql").read_text(encoding="utf-8"))
    for name in ("family", "third"):
        connection.execute(statements[name])
    reference = spec.quality.reference if spec.quality else spec.tiers[-1].name
    ask(connection, statements["labels"], {"job": job, "reference": reference})
    models = _models(spec)
    asked = {"job": job, "judges": list(models), "models": list(models.values())}
    ask(connection, statements["judged"], asked)
    counted = ask(connection, "SELECT count(*) FROM labels").fetchone()
    return JudgeAudit(
        job=job,
        labelled=counted[0] if counted else 0,
        judges=_rows(connection, statements["judges"]),
        calibration=_rows(connection, statements["calibration"]),
        bias=_rows(connection, statements["bias"]),
    )


def _models(spec: JobSpec) -> dict[str, str]:
    """Which model each judge that asks one asks."""
    return {
        judge.name: spec.tier(judge.tier).model for judge in spec.judges if isinstance(judge, PayingJudgeBase)
    }


def _rows(connection: DuckDBPyConnection, sql: str) -> list[Row]:
    answer = connection.execute(sql)
    names = [column[0] for column in answer.description or []]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
