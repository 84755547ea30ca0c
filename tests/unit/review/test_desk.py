"""The reviewer's desk: what comes next, what is kept, the way back, and others at the same queue."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline import labels as given
from pipeline.labels import Label, Labels
from pipeline.review import desk as desks
from pipeline.review.desk import Desk, NoLabel, NotQueued, Shown
from pipeline.review.queue import read_queue
from pipeline.storage.final import write_final
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.views import connect
from schemas.errors import LakeUnreachable, NoSuchObject
from tests.contract.storage.rows import filled
from tests.reviewing import CLASSIFY, JOB, WHY, queued
from tests.unit.review.test_sheet import task_of

TEXTS = [f"text {number}" for number in range(1, 6)]


class Failing(MemoryStorage):
    """A lake that can be out of reach."""

    down = False

    async def create(self, key: str, data: bytes) -> bool:
        if self.down:
            raise LakeUnreachable(url="memory://", why="down")
        return await super().create(key, data)


async def lake() -> Failing:
    storage = Failing()
    await queued(storage, CLASSIFY, TEXTS, [("billing", "other")] * len(TEXTS))
    return storage


@contextmanager
def seated(storage: MemoryStorage, reviewer: str = "anna") -> Iterator[Desk]:
    with connect(storage) as connection:
        queue = read_queue(connection, JOB)
        yield Desk(connection, Labels(storage, JOB), JOB, task_of(CLASSIFY), queue, reviewer, lambda: 1_000)


def at(shown: Shown) -> str | None:
    return shown.item.query.query_id if shown.item else None


def counted(shown: Shown) -> tuple[int, int, int, int]:
    counts = shown.counts
    return counts.total, counts.waiting, counts.skipped, counts.by_you


def stored(storage: MemoryStorage) -> list[tuple[str, str | None, str]]:
    with connect(storage) as connection:
        return connection.execute(
            "SELECT query_id, label, reviewer FROM feedback ORDER BY given_at, query_id"
        ).fetchall()


async def test_the_queue_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "PAGE", 2)  # pages end in the middle of it
    storage = await lake()
    with seated(storage) as desk:
        shown = await desk.show()
        assert (at(shown), counted(shown)) == ("q1", (5, 5, 0, 0))
        shown = await desk.take("q1", "BILLING")
        assert (at(shown), counted(shown)) == ("q2", (5, 4, 0, 1))
        shown = await desk.skip("q2")
        assert (at(shown), counted(shown)) == ("q3", (5, 4, 1, 1))
        for query in ("q3", "q4", "q5"):
            shown = await desk.take(query, "other")
        assert (at(shown), counted(shown)) == ("q2", (5, 1, 1, 4))
        shown = await desk.take("q2", "outage")
        assert (at(shown), counted(shown)) == (None, (5, 0, 0, 5))
    assert storage is not None
    labels = Labels(storage, JOB)
    await labels.refresh()
    assert labels.latest["q1"] == Label("q1", "billing", "human", "anna", "review", 0.51, WHY)


async def test_the_way_back() -> None:
    storage = await lake()
    with seated(storage) as desk:
        assert at(await desk.undo()) == "q1"  # nothing to undo
        await desk.take("q1", "billing")
        await desk.skip("q2")
        shown = await desk.undo()
        assert (at(shown), shown.label, counted(shown)) == ("q2", None, (5, 4, 0, 1))
        shown = await desk.undo()
        assert (at(shown), shown.label, counted(shown)) == ("q1", "billing", (5, 5, 0, 0))
        assert at(await desk.take("q1", "outage")) == "q2"
    # Every word is kept, in its order
    assert stored(storage) == [("q1", "billing", "anna"), ("q1", None, "anna"), ("q1", "outage", "anna")]


async def test_what_is_no_label_changes_nothing() -> None:
    storage = await lake()
    with seated(storage) as desk:
        with pytest.raises(NoLabel, match="outside the label set"):
            await desk.take("q1", "weather")
        for asked in (desk.take("q0", "billing"), desk.skip("q9")):
            with pytest.raises(NotQueued):
                await asked
        assert counted(await desk.show()) == (5, 5, 0, 0)
    assert stored(storage) == []


async def test_two_reviewers_share_a_queue() -> None:
    storage = await lake()
    with seated(storage) as anna, seated(storage, "ben") as ben:
        await anna.show()
        assert at(await ben.take("q1", "billing")) == "q2"
        # What one has labelled the other does not see again
        shown = await anna.show()
        assert (at(shown), counted(shown)) == ("q2", (5, 4, 0, 0))
        # Both at once: both are kept, the later one stands, and an undo leaves it alone
        await anna.take("q2", "other")
        await ben.take("q2", "outage")
        await anna.undo()
        assert counted(await ben.show()) == (5, 3, 0, 2)
        # What is withdrawn waits again, also for one who was through
        for query in ("q2", "q3", "q4", "q5"):
            shown = await anna.take(query, "other")
        assert at(shown) is None
        await ben.undo()
        await ben.undo()
        assert at(await anna.show()) == "q1"


async def test_a_label_that_cannot_be_kept_is_not_counted() -> None:
    storage = await lake()
    with seated(storage) as desk:
        await desk.take("q1", "billing")
        storage.down = True
        with pytest.raises(LakeUnreachable):
            await desk.take("q2", "billing")
        with pytest.raises(LakeUnreachable):
            await desk.undo()
        storage.down = False
        shown = await desk.show()
        assert (at(shown), counted(shown)) == ("q2", (5, 4, 0, 1))
        assert at(await desk.undo()) == "q1"


async def test_many_labels_become_few_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "MOST_OWN", 2)
    storage = await lake()
    here, there = Labels(storage, JOB), Labels(storage, JOB)
    with seated(storage) as desk:
        for number in range(1, 6):
            await desk.take(f"q{number}", "billing")
            if number == 3:
                await there.refresh()
    # Then no row is lost or there twice, for one who had read some of them before, too
    keys = [key for key in storage.objects if key.startswith(f"feedback/job={JOB}/")]
    assert len(keys) <= 3
    assert stored(storage) == [(f"q{number}", "billing", "anna") for number in range(1, 6)]
    for labels in (here, there):
        await labels.refresh()
        assert sorted(labels.latest) == [f"q{number}" for number in range(1, 6)]


class Folding(Failing):
    """A lake in which someone folds an object between its listing and its reading."""

    gone = ""

    async def read(self, key: str) -> bytes:
        if key == self.gone:
            raise NoSuchObject(key=key)
        return await super().read(key)

    async def list(self, prefix: str) -> list[str]:
        found = await super().list(prefix)
        if self.gone:
            self.objects.pop(self.gone, None)
        return found


async def test_an_object_that_is_folded_while_it_is_read_is_no_error() -> None:
    storage = Folding()
    await queued(storage, CLASSIFY, TEXTS, [("billing", "other")] * len(TEXTS))
    with seated(storage) as desk:
        await desk.take("q1", "billing")
        await desk.take("q2", "billing")
    storage.gone = next(key for key in storage.objects if key.startswith(f"feedback/job={JOB}/"))
    labels = Labels(storage, JOB)
    await labels.refresh()
    assert len(labels.latest) == 1


async def test_what_was_drawn_comes_first_and_nothing_leads_who_labels_it() -> None:
    # Given a job whose certificate is about an answered query and one that ended for review
    storage = await lake()
    drawn = filled("certificates", ["-"], job=JOB, drawn=["q0", "q4"])
    await write_final(storage, "certificates", JOB, drawn)
    # And a label of one of them that no reviewer gave
    others = Labels(storage, JOB)
    await others.keep([Label("q0", "billing", "human")], 500)
    with seated(storage) as desk:
        shown = await desk.show()
        # Then these two are asked about before the rest
        assert (at(shown), counted(shown)) == ("q0", (6, 6, 0, 0))
        assert shown.item is not None
        said = shown.item.query
        assert (said.drawn, said.answer, said.tier, said.confidence, said.cost_usd) == (True, *[None] * 4)
        assert "is not shown" in said.reason
        assert (shown.item.text, shown.item.candidates) == ("settled", [])
        shown = await desk.take("q0", "other")
        assert shown.item is not None
        assert (at(shown), shown.item.candidates) == ("q4", [])
        shown = await desk.take("q4", "other")
        assert shown.item is not None
        assert (at(shown), len(shown.item.candidates)) == ("q1", 2)
        # And their labels say that chance chose them
        await others.refresh()
        given = [others.audited[name] for name in ("q0", "q4")]
        assert [(each.label, each.selected_by, each.score) for each in given] == [
            ("other", "audit", None)
        ] * 2
        # And a withdrawn one waits again, whatever else was said of it
        await others.keep([Label("q4", "billing", "human")], 2_000)
        assert counted(await desk.show())[1] == 4
        shown = await desk.undo()
        assert (at(shown), shown.label, counted(shown)[1]) == ("q4", "other", 5)
        await others.refresh()
        assert others.audited["q4"].label is None
