"""The certificate of a closing job: what its frozen plan promises, and whether the job kept to it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.audit.ruling import Ruling
from pipeline.audit.stratified import read_labels
from pipeline.certify.certify import Verdict as Test
from pipeline.certify.estimate import estimate, estimate_each
from pipeline.storage.final import fetch_parts, scratch, write_final
from pipeline.storage.merge import connect, view
from pipeline.storage.sql import named
from pipeline.work import Work
from schemas import lake
from schemas.ids import Generation, QueryId
from schemas.job import ClassifyTask, ExtractTask, Quality, Task
from schemas.tables import CERTIFICATES, TABLES

T = TypeVar("T")
_REFERENCE = pa.schema([("query_id", pa.string()), ("label", pa.string())])


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """One audited row as it ended, beside what the reference says. Answers as text; None: there is none."""

    category: str
    answer: str | None
    predicted: float  # P(correct)
    reference: str | None
    rejected: bool = False
    alike: bool = False  # says in other words what the reference says

    @property
    def agrees(self) -> bool:
        return self.answer is not None and (self.answer == self.reference or self.alike)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What the final tables say."""

    off_plan: int
    audit_usd: Decimal
    categories: list[tuple[str, int, float]]  # name, rows, mean P(correct) predicted
    audited: list[Audited]  # the audited rows
    alike: list[QueryId]  # drawn rows that agree with the reference in other words


async def certify(work: Work, generation: Generation, now: int) -> bool | None:
    """Writes the job's row of `certificates`, from its published results and calls; idempotent. Whether it is
    certified; None where nothing was to be."""
    use, ruling = work.spec.quality, await work.ruling(generation)
    if use is None or ruling is None or ruling.kind == "quoted":
        return None
    async with scratch(work.services.storage) as folder:
        paths = {
            name: await fetch_parts(work.services.storage, [lake.final(name, work.job)], folder)
            for name in ("results", "calls")
        }
        run = await asyncio.to_thread(read_run, paths, ruling.reference, ruling.version, folder, ruling.alike)
    row = _certificate(work, use, ruling, run)
    found = await read_labels(work.services.storage, work.job, generation)
    row["labels"] = None if found is None else json.dumps(msgspec.to_builtins(found), ensure_ascii=False)
    stamp = {"job": work.job, "generation": generation, "issued_at": time_of(now)}
    table = pa.Table.from_pylist([row | stamp], schema=CERTIFICATES)
    await write_final(work.services.storage, "certificates", work.job, table)
    return bool(row["certified"])


def statements_of(name: str) -> str:
    return named(files("pipeline.audit").joinpath("certificate.sql").read_text(encoding="utf-8"))[name]


def read_run(
    paths: Mapping[str, list[Path]],
    reference: Mapping[QueryId, str | None],
    version: str,
    folder: Path,
    alike: Mapping[QueryId, Sequence[str]] = {},
) -> Run:
    """From the job's results and calls. `version`: of the plan it ran under; `alike`: what says of a row the same as
    its reference, in other words. Blocking."""
    said_alike = [(query, text) for query, texts in alike.items() for text in texts]
    with closing(connect(folder)) as connection:
        for name, found in paths.items():
            view(connection, name, found, TABLES[name], folder)
        said = {"query_id": list(reference), "label": list(reference.values())}
        connection.register("reference", pa.table(said, schema=_REFERENCE))
        off_plan = connection.execute(statements_of("off_plan"), {"version": version}).fetchall()[0][0]
        audit_usd = connection.execute(statements_of("audit_usd")).fetchall()[0][0]
        categories = connection.execute(statements_of("categories")).fetchall()
        audited = connection.execute(statements_of("audited")).fetchall()
        columns = {"query_id": [query for query, _ in said_alike], "label": [text for _, text in said_alike]}
        connection.register("alike", pa.table(columns, schema=_REFERENCE))
        agreeing = [row[0] for row in connection.execute(statements_of("alike")).fetchall()]
    known = set(agreeing)
    return Run(
        off_plan=off_plan,
        audit_usd=audit_usd,
        categories=categories,
        audited=[
            Audited(
                category=category,
                answer=answer,
                predicted=predicted,
                reference=label,
                rejected=rejected,
                alike=query in known,
            )
            for query, category, answer, predicted, label, rejected in audited
        ],
        alike=agreeing,
    )


def _certificate(work: Work, use: Quality, ruling: Ruling, run: Run) -> dict[str, Any]:
    draw, population = work.manifest.draw, work.manifest.queries
    assert draw is not None  # quality was asked for
    share = run.off_plan / population if work.spec.promise else None
    reason = _why_not(use, ruling, run, share)
    tests = ruling.tested.tests if ruling.tested else ()
    chosen = ruling.test
    return {
        "certified": not reason,
        "pending": False,
        "reason": reason,
        "target": use.target,
        "reference": use.reference,
        **_judged(work, ruling, run),
        "confidence": use.confidence,
        "bound": ruling.tested.bound if ruling.tested else None,
        "population": population,
        "pilot": draw.pilot,
        "audited": draw.audit,
        "unavailable": ruling.unavailable,
        "agreeing": chosen.agreeing if chosen else None,
        "p_value": chosen.p if chosen else None,
        "sure": ruling.best,
        "plan": plan_of(work, ruling) if ruling.plan else None,
        "chain": json.dumps([_tested(test) for test in tests]),
        "off_plan": run.off_plan if work.spec.promise else None,
        "off_plan_share": share,
        "off_plan_allowed": use.off_plan if work.spec.promise else None,
        "audit_usd": run.audit_usd,
        **(accuracy_of(work.spec.task, run) if ruling.runs else {}),
        "graded": ruling.graded,
        "reference_accuracy": ruling.right / ruling.graded if ruling.graded else None,
        "repeated": ruling.repeated,
        "self_agreement": ruling.repeated_alike / ruling.repeated if ruling.repeated else None,
    }


def _judged(work: Work, ruling: Ruling, run: Run) -> dict[str, Any]:
    """Who told that answers in free text agree, and how often it was asked."""
    judge = work.agreement
    if judge is None:
        return {}
    name = f"{judge.name}@{judge.version} on {judge.tier}"
    return {"judge": name, "judged": ruling.judged, "unread": ruling.unread, "alike": run.alike}


def accuracy_of(task: Task, run: Run) -> dict[str, Any]:
    """Agreement of all rows, estimated: in total, by category, and of the answers' parts. No bound covers it."""
    predicted = np.array([row.predicted for row in run.audited])
    agrees = np.array([row.agrees for row in run.audited], dtype=np.bool_)
    population = {name: rows for name, rows, _ in run.categories}
    means = {name: mean for name, _, mean in run.categories}
    rows = sum(population.values())
    predicted_mean = sum(means[name] * population[name] for name in population) / rows
    whole = estimate(predicted_mean, rows, predicted, agrees)
    each = estimate_each(means, population, [row.category for row in run.audited], predicted, agrees)
    parts = {
        "categories": {name or "(root)": msgspec.to_builtins(found) for name, found in each.items()},
        **agreement_of_parts(task, run.audited),
    }
    return {
        "accuracy": whole and whole.share,
        "accuracy_low": whole and whole.low,
        "accuracy_high": whole and whole.high,
        "parts": json.dumps(parts, ensure_ascii=False),
    }


def agreement_of_parts(task: Task, rows: Sequence[Audited]) -> dict[str, dict[str, float]]:
    """Share of the audited rows on which a label of a set, or a field of an object, is the same."""
    match task:
        case ClassifyTask(mode="multi"):
            sets = _decoded(rows, list)
            names = [label.name for label in task.labels] if sets else []
            return {"labels": {name: mean((name in a) == (name in b) for a, b in sets) for name in names}}
        case ExtractTask():
            objects = _decoded(rows, dict)
            fields = sorted({name for pair in objects for each in pair for name in each})
            return {"fields": {name: mean(a.get(name) == b.get(name) for a, b in objects) for name in fields}}
        case _:
            return {}


def _decoded(rows: Sequence[Audited], kind: type[T]) -> list[tuple[T, T]]:
    """Answers and references that are both there; gold may be anything."""
    pairs = []
    for row in rows:
        try:
            pair = json.loads(row.answer or ""), json.loads(row.reference or "")
        except ValueError:
            continue
        if isinstance(pair[0], kind) and isinstance(pair[1], kind):
            pairs.append(pair)
    return pairs


def _why_not(use: Quality, ruling: Ruling, run: Run, share: float | None) -> str:
    """Empty: it is certified."""
    if ruling.kind == "measured":
        return "no target was asked for"
    if ruling.test is None or share is None:
        return ruling.reason
    strayed = ruling.test.agreeing - sum(row.agrees for row in run.audited)
    if strayed > run.off_plan:
        return f"{strayed} audited rows were answered otherwise in the job than in the audit"
    return why_off_plan(use, run.off_plan, share)


def why_off_plan(use: Quality, rows: int, share: float) -> str:
    """Empty: so few of the job's rows may."""
    if share <= use.off_plan:
        return ""
    return (
        f"{rows:,} rows ({share:.2%}) did not end under the certified plan, {use.off_plan:.2%} may; "
        "`tierwise resume` asks those that were deferred or cancelled again"
    )


def _tested(test: Test) -> dict[str, Any]:
    return {
        "tiers": test.candidate.tiers,
        "accept": test.candidate.accept,
        "agreeing": test.agreeing,
        "audited": test.drawn,
        "p_value": test.p,
        "usd_per_row": test.cost,
    }


def plan_of(work: Work, ruling: Ruling) -> str:
    """JSON of all that decides what a row is answered: with any of it changed, the certificate says nothing."""
    assert ruling.plan is not None
    asking, spec = work.asking, work.spec
    tree = spec.taxonomy.model_dump_json() if spec.taxonomy else ""
    plan = {
        "version": ruling.version,
        "tiers": [
            {"tier": tier, "model": asking.rungs[tier].provider.model, "accept": accept}
            for tier, accept in zip(ruling.plan.tiers, ruling.plan.accept, strict=True)
        ],
        "prompt_hash": work.manifest.prompt_hash,
        "judges": {judge.name: judge.version for judge in (*asking.judging.judges, *asking.judging.paying)},
        **({"agreement": _agreement(work)} if work.agreement else {}),
        "combiner": asking.judging.combiner.version,
        "taxonomy_hash": blake2b(tree.encode(), digest_size=8).hexdigest() if tree else None,
        "min_confidence": dict(asking.min_confidence),
        "mask": list(asking.masked),
        "too_long": asking.too_long,
        "max_tokens": asking.max_tokens,
        "examples": spec.history.examples,
    }
    return json.dumps(plan, ensure_ascii=False)


def _agreement(work: Work) -> dict[str, Any]:
    judge = work.agreement
    assert judge is not None
    model = work.asking.rungs[judge.tier].provider.model
    return {
        "judge": f"{judge.name}@{judge.version}", "tier": judge.tier, "model": model, "order": judge.order,
        "prompt_hash": judge.prompt_hash,
    }  # fmt: skip


def time_of(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).replace(tzinfo=None)
