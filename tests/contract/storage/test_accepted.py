"""Which answers of closed jobs later ones may look back at and learn from."""

import asyncio
from typing import Any

from pipeline.accepted import read_accepted
from pipeline.ports.storage import Storage
from pipeline.storage.final import write_final
from pipeline.storage.views import prepare_lake
from schemas.ids import JobId
from tests.contract.storage.rows import filled

QUERIES = ["a", "b", "c", "d", "e"]


async def close(
    storage: Storage, job: str, closed_at: int, prompt: str = "p", **changes: dict[str, Any]
) -> None:
    """A closed job whose every query was asked of one tier."""
    tables: dict[str, dict[str, Any]] = {
        "jobs": {"prompt_hash": prompt, "closed_at": closed_at},
        "documents": {"text": [f"text {query}" for query in QUERIES], "gold": [None] * len(QUERIES)},
        "results": {"status": "answered", "answer": f"of {job}", "tier": "t", "confidence": 0.9},
        "decisions": {"tier": "t", "call_id": [f"{job} {query}" for query in QUERIES]},
        "calls": {"tier": "t", "model": "m", "call_id": [f"{job} {query}" for query in QUERIES], "purpose": "answer"},
    }  # fmt: skip
    for name, columns in tables.items():
        queries = ["-"] if name == "jobs" else QUERIES
        rows = filled(name, queries, **{"job": job, **columns, **changes.get(name, {})})
        await write_final(storage, name, JobId(job), rows)


async def read(storage: Storage, most: int = 100) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await asyncio.to_thread(read_accepted, storage, "p", most)).to_pylist()
    return found


async def test_the_latest_answer_to_each_text_of_the_same_task(storage: Storage) -> None:
    await prepare_lake(storage)
    assert await read(storage) == []
    # Given two closed jobs of the task with the same texts, and one of another task
    await close(storage, "old", 1000)
    await close(storage, "new", 2000, documents={"text": ["text a", "text b", "text x", "text y", "text z"]})
    await close(storage, "other", 3000, prompt="q")
    found = await read(storage)
    assert {row["text"][-1]: row["answer"] for row in found} == {
        **dict.fromkeys("abxyz", "of new"), **dict.fromkeys("cde", "of old")
    }  # fmt: skip
    assert [row["job"] for row in found] == ["new"] * 5 + ["old"] * 3
    assert (found[0]["model"], found[0]["call_id"], float(found[0]["cost_usd"])) == ("m", "new a", 1e-6)
    assert await read(storage, most=2) == found[:2]


async def test_what_was_audited_copied_or_not_answered_teaches_nothing(storage: Storage) -> None:
    await prepare_lake(storage)
    await close(
        storage,
        "j",
        1000,
        results={
            "status": ["answered", "answered", "deferred", "review", "answered"],
            "reason": ["sure", "near-duplicate of a (cosine 0.97)", "", "", "sure"],
        },
        calls={"purpose": ["audit", "answer", "answer", "answer", "answer"]},
    )
    assert [row["query_id"] for row in await read(storage)] == ["e"]


async def test_what_was_drawn_for_people_to_label_teaches_nothing(storage: Storage) -> None:
    await prepare_lake(storage)
    await close(storage, "j", 1000)
    await close(storage, "k", 2000, prompt="q")
    assert len(await read(storage)) == len(QUERIES)
    # Labelled or not, and in its own job alone
    drawn = filled("certificates", ["-"], job="j", drawn=["a", "c", "d"])
    await write_final(storage, "certificates", JobId("j"), drawn)
    drawn = filled("certificates", ["-"], job="k", drawn=["b"])
    await write_final(storage, "certificates", JobId("k"), drawn)
    assert sorted(row["query_id"] for row in await read(storage)) == ["b", "e"]


async def test_a_person_is_believed_before_gold_and_both_before_the_answer(storage: Storage) -> None:
    await prepare_lake(storage)
    await close(storage, "j", 1000, documents={"gold": ["g", "g", None, None, None]})
    labels = filled(
        "feedback", ["b", "c", "c"], job="j", label=["late", "first", "second"], given_at=[1, 1, 2]
    )
    await write_final(storage, "feedback", JobId("j"), labels)
    assert [row["label"] for row in await read(storage)] == ["g", "late", "second", None, None]


async def test_what_a_student_passed_on_is_no_fair_sample(storage: Storage) -> None:
    await prepare_lake(storage)
    await close(storage, "j", 1000)
    # Given a student that had an answer to a and none to b, before the tier above was asked
    call_ids = [f"j {query}" for query in QUERIES]
    steps = {
        "tier": ["t"] * 5 + ["student"] * 2,
        "call_id": [*call_ids, "s1", "s2"],
        "answer": ["x"] * 6 + [None],
    }
    await write_final(
        storage, "decisions", JobId("j"), filled("decisions", [*QUERIES, "a", "b"], job="j", **steps)
    )
    models = {"call_id": [*call_ids, "s1", "s2"], "model": ["m"] * 5 + ["student-1"] * 2, "purpose": "answer"}
    await write_final(storage, "calls", JobId("j"), filled("calls", [*QUERIES, "a", "b"], job="j", **models))
    assert {row["query_id"]: row["fair"] for row in await read(storage)} == {
        "a": False, **dict.fromkeys("bcde", True)
    }  # fmt: skip
