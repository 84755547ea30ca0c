"""What a report says of a job whose every row is known."""

import asyncio
import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from jobs.options import print_json
from pipeline.report.figures import MOMENTS, Figures, read_figures
from pipeline.report.headline import tiles
from pipeline.report.markdown import markdown
from pipeline.report.page import page
from pipeline.storage import open_storage
from pipeline.storage.views import connect
from schemas.ids import AccountId, JobId, TierName
from schemas.manifest import Manifest
from schemas.money import price_of
from tests.reporting import AUDITED, closed

ROWS = 600


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two nights with an audit, of which the second finds the queries harder; and one that was never audited, whose
    first tier answers everything."""
    place = tmp_path_factory.mktemp("lake")

    async def make() -> None:
        storage = open_storage(str(place))
        await closed(storage, "night-1", ROWS)
        await closed(storage, "night-2", ROWS, easy=200)
        await closed(storage, "plain", ROWS, easy=700, audited=0)
        await closed(storage, "cheap", ROWS, easy=1000, audited=0)

    asyncio.run(make())
    return str(place)


@cache
def figures_of(lake: str, job: str) -> Figures:
    with connect(open_storage(lake)) as connection:
        return read_figures(connection, JobId(job))


def ask(lake: str, sql: str) -> Any:
    with connect(open_storage(lake)) as connection:
        [row] = connection.execute(sql).fetchall()
        return row


def test_accuracy_and_its_interval(lake: str) -> None:
    found = figures_of(lake, "night-1").measured
    assert found is not None
    right, rows = ask(
        lake,
        "SELECT count(*) FILTER (answer = gold), count(*) FROM results JOIN documents USING (job, query_id) "
        "WHERE job = 'night-1' AND answer IS NOT NULL",
    )
    assert (found.accuracy.rows, found.accuracy.share) == (rows, right / rows)
    assert found.accuracy.low < found.accuracy.share < found.accuracy.high
    assert (found.reference, found.estimated) == ("gold", False)


def test_the_top_tier_by_what_it_cost(lake: str) -> None:
    # Given an audit, then its rows say what the top tier costs: they were drawn by chance
    audited = figures_of(lake, "night-1").top
    assert audited is not None
    assert (audited.tier, audited.basis, audited.seen) == ("large", "audit", AUDITED)
    [cost] = ask(
        lake, "SELECT avg(cost_usd) FROM calls WHERE job = 'night-1' AND purpose = 'audit' AND tier = 'large'"
    )
    assert float(audited.usd) == pytest.approx(cost * audited.queries)
    # Given none, then those that came to it do
    asked = figures_of(lake, "plain").top
    assert asked is not None
    [seen] = ask(lake, "SELECT count(*) FROM calls WHERE job = 'plain' AND tier = 'large'")
    assert (asked.basis, asked.seen) == ("answer", seen)
    # And it is named after what is not rejected
    [rejected] = ask(lake, "SELECT count(*) FROM results WHERE job = 'plain' AND status = 'rejected'")
    assert asked.queries == ROWS - rejected


def test_a_top_tier_that_was_never_asked_is_priced_from_tokens(lake: str) -> None:
    assert figures_of(lake, "cheap").top is None
    pinned = Manifest(
        job=JobId("cheap"), spec={}, spec_hash="", prompt_hash="", policy_version="", files={}, created_at=0,
        account=AccountId("a"), queries=ROWS, rejected=0, batches=1,
        prices={TierName("large"): price_of(input=Decimal(2), output=Decimal(8))},
    )  # fmt: skip
    with connect(open_storage(lake)) as connection:
        priced = read_figures(connection, JobId("cheap"), pinned)
    found = priced.top
    assert found is not None
    # 120 tokens at $2 a million and 8 at $8
    assert (found.basis, found.usd) == ("tokens", Decimal("0.000304") * found.queries)
    said = next(tile for tile in tiles(priced) if "large" in tile.label)
    assert "never asked" in said.note


def test_the_frontier_tells_an_audit_from_what_came_to_a_tier(lake: str) -> None:
    found = figures_of(lake, "night-1").frontier
    assert found is not None
    assert found.drawn
    kinds = [point.kind for point in found.points]
    assert kinds == ["tier"] * 3 + ["plan"] * 5 + ["run"]
    assert {point.queries for point in found.points if point.kind == "tier"} == {AUDITED}
    plain = figures_of(lake, "plain").frontier
    assert plain is not None
    assert not plain.drawn
    seen = [point.queries for point in plain.points if point.kind == "tier"]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > seen[-1]
    assert "harder ones" in markdown(figures_of(lake, "plain"))


def test_every_query_is_somewhere_in_the_flow(lake: str) -> None:
    found = figures_of(lake, "night-1")
    for row in found.flow:
        assert row["asked"] == row["accepted"] + row["escalated"] + row["ended"]
    assert sum(row["accepted"] for row in found.flow) == found.summary.statuses["answered"]
    assert sum(row["entered"] for row in found.flow) == ROWS - found.summary.statuses["rejected"]


def test_spending_ends_at_the_bill(lake: str) -> None:
    found = figures_of(lake, "night-1")
    last = found.spending[-1]["until"]
    assert sum(row["usd"] for row in found.spending if row["until"] == last) == found.summary.cost_usd
    assert len(found.spending) == MOMENTS * 3
    for tier in ("small", "middle", "large"):
        spent = [row["usd"] for row in found.spending if row["tier"] == tier]
        assert spent == sorted(spent)


def test_calibration_counts_every_graded_answer(lake: str) -> None:
    found = figures_of(lake, "night-1")
    assert found.measured is not None
    assert sum(row["queries"] for row in found.calibration) == found.measured.accuracy.rows
    assert sum(row["correct"] for row in found.calibration) == found.summary.correct
    assert all(row["tenth"] / 10 <= row["said"] <= (row["tenth"] + 1) / 10 for row in found.calibration)


def test_traces_show_each_tier_with_its_cost(lake: str) -> None:
    found = figures_of(lake, "night-1")
    assert len(found.dearest) == len(found.slowest) == 5
    for trace in found.dearest:
        assert len(trace.decisions) == len(trace.result["tiers_asked"])
        assert len(trace.votes) == 2 * len(trace.decisions)
        assert sum(call["cost_usd"] for call in trace.calls) == trace.result["cost_usd"]


def test_drift_is_told_from_chance(lake: str) -> None:
    # Given that two in three queries now go further up than before
    drift = figures_of(lake, "night-2").drift
    assert drift is not None
    moved = {change.what: change.drifted for change in drift.changes}
    # Then that is drift, and labels and categories, which are the same, are not
    assert (drift.job, moved["tier"], moved["label"], moved["category"]) == ("night-1", True, False, False)
    assert figures_of(lake, "night-1").drift is None


def test_what_was_not_answered_has_its_reason(lake: str) -> None:
    found = figures_of(lake, "night-1")
    counted: dict[str, int] = {}
    for row in found.ended:
        counted[row["status"]] = counted.get(row["status"], 0) + row["queries"]
        assert 1 <= len(row["examples"]) <= 3
    assert counted == {name: count for name, count in found.summary.statuses.items() if name != "answered"}
    # Numbers are taken out, so that one reason is one row
    assert [row["reason"] for row in found.ended if row["status"] == "deferred"] == ["exhausted: $… left"]


def test_a_report_does_not_grow_with_its_job(lake: str, tmp_path: Path) -> None:
    asyncio.run(closed(open_storage(str(tmp_path)), "night-1", 20 * ROWS))
    small, large = page(figures_of(lake, "night-1")), page(figures_of(str(tmp_path), "night-1"))
    assert len(large) < 1.1 * len(small) < 200_000
    assert len(markdown(figures_of(str(tmp_path), "night-1"))) < 50_000


def test_figures_are_json(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json(figures_of(lake, "night-2").as_dict())
    said = json.loads(capsys.readouterr().out)
    assert said["measured"]["accuracy"]["low"] < said["accuracy"] < said["measured"]["accuracy"]["high"]
    assert [change["what"] for change in said["drift"]["changes"]] == [
        "accuracy", "usd_per_query", "tier", "label", "category",
    ]  # fmt: skip
    assert len(said["traces"]["slowest"]) == 5
