"""A student's nights, tier or judge: taught when a job closes, kept by version, judged when the next is submitted."""

import asyncio
import logging

from pipeline.accepted import read_accepted
from pipeline.ports.storage import Storage
from pipeline.providers.student import Lesson, Student, decode, encode, teach, why_not
from schemas import lake
from schemas.ids import TierName
from schemas.job import ClassifyTask, JobSpec, StudentJudge, StudentTier
from schemas.manifest import Manifest
from schemas.money import usd_to_nano

MOST = 20_000  # lessons, the latest
log = logging.getLogger("tierwise.student")


async def train_student(storage: Storage, pinned: Manifest, now: int) -> None:
    """Keep a new version once there is enough to learn from. The same answers give the same version, kept once."""
    spec = JobSpec.model_validate(pinned.spec)  # with a student that stands aside
    students = [*spec.tiers, *spec.judges]
    needed = [each.learns_from for each in students if isinstance(each, StudentTier | StudentJudge)]
    if not needed:
        return
    folder = lake.students(pinned.prompt_hash)
    try:
        student = await asyncio.to_thread(_taught, storage, pinned.prompt_hash, spec, min(needed))
    except ValueError as error:  # answers of one label alone
        log.warning("no student was trained: %s", error)
        return
    if student and not any(key.endswith(student.version) for key in await storage.list(folder)):
        await storage.create(lake.student(pinned.prompt_hash, now, student.version), encode(student))


def _taught(storage: Storage, prompt_hash: str, spec: JobSpec, needed: int) -> Student | None:
    lessons = _lessons(storage, prompt_hash, spec)
    return teach(lessons) if len(lessons) >= needed else None


def _lessons(storage: Storage, prompt_hash: str, spec: JobSpec) -> list[Lesson]:
    """Accepted answers, but for those of a student itself: it would only grow more sure of them."""
    assert isinstance(spec.task, ClassifyTask)
    names = {label.name for label in spec.task.labels}
    lessons = []
    for row in read_accepted(storage, prompt_hash, MOST).to_pylist():
        label = row["answer"] if row["label"] is None else row["label"]
        if label in names and not row["model"].startswith("student-"):
            weight = float(row["confidence"] or 0) if row["label"] is None else 1.0
            lessons.append(Lesson(row["text"], label, weight, usd_to_nano(row["cost_usd"]), row["fair"]))
    return lessons


async def pick_students(
    storage: Storage, spec: JobSpec, prompt_hash: str
) -> tuple[dict[TierName, str], dict[TierName, str]]:
    """The latest version for each student tier that pays, and why the others stand aside."""
    files, aside = {}, {}
    tiers = [tier for tier in spec.tiers if isinstance(tier, StudentTier)]
    kept = await storage.list(lake.students(prompt_hash)) if tiers else []
    student = decode(await storage.read(kept[-1])) if kept else None
    for tier in tiers:
        name = TierName(tier.name)
        if student is None or student.lessons < tier.learns_from:
            aside[name] = f"closed jobs of this task have fewer than {tier.learns_from} answers to learn from"
        elif why := why_not(student, tier.accept):
            aside[name] = why
        else:
            files[name] = kept[-1]
    return files, aside


async def pick_judge(storage: Storage, spec: JobSpec, prompt_hash: str) -> str | None:
    """Key of the student that judges; None where the spec wants none, or it knows too little yet."""
    judge = next((each for each in spec.judges if isinstance(each, StudentJudge)), None)
    kept = await storage.list(lake.students(prompt_hash)) if judge else []
    if judge is None or not kept:
        return None
    return kept[-1] if decode(await storage.read(kept[-1])).lessons >= judge.learns_from else None
