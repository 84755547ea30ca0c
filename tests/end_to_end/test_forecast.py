"""What a job will cost is said from what its task cost before, and its report says whether that held."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

ROWS = 120
LABELS = ["billing", "refund", "other"]
PRICES = {name: {"input": "1", "output": "4"} for name in ("small", "large")}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    config = {
        "rule": "echo-label", "labels": LABELS, "accuracy": {"small": 0.7, "large": 1.0}, "prices": PRICES,
    }  # fmt: skip
    with start_upstream(config_from(config)) as running:
        yield running


def night(place: Tierwise, upstream: Upstream, number: int, **more: Any) -> dict[str, Any]:
    texts = [f"[gold={LABELS[row % 3]}] message {number} {row}" for row in range(ROWS)]
    documents = write_documents(place.folder / f"night-{number}.parquet", texts)
    return {
        "name": "nightly",
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {"path": str(documents), "id": "id"},
        "tiers": model_tiers(upstream.url, PRICES, ("small", "large"), accept=0.7),
        "budget": {"usd": "1"},
        **more,
    }


def test_the_third_night_is_forecast_and_judged(place: Tierwise, upstream: Upstream) -> None:
    # Given two nights of a task
    assert (
        tierwise(place, "estimate", write_spec(place, night(place, upstream, 1)), "--json").json()["forecast"]
        is None
    )
    first = run_spec(place, night(place, upstream, 1), "night-1")
    assert first["forecast_usd"] is None
    run_spec(place, night(place, upstream, 2), "night-2")

    # When the third is estimated, and run
    said = tierwise(place, "estimate", write_spec(place, night(place, upstream, 3)), "--json").json()[
        "forecast"
    ]
    summary = run_spec(place, night(place, upstream, 3), "night-3")

    # Then the interval is the one of the report, which says whether the bill fell into it; the bill is near its middle
    assert (said["jobs"], said["queries"]) == (2, 2 * ROWS)
    low, high = Decimal(said["low_usd"]), Decimal(said["high_usd"])
    assert [Decimal(each) for each in summary["forecast_usd"]] == [low, high]
    assert summary["forecast_held"] is (low <= Decimal(summary["cost_usd"]) <= high)
    assert Decimal(said["expected_usd"]) == pytest.approx(Decimal(summary["cost_usd"]), rel=Decimal("0.2"))
    assert low < Decimal(said["expected_usd"]) < high < Decimal("1.5") * low
    assert place.rows("SELECT forecast_low_usd AS low FROM jobs WHERE job = 'night-3'") == [{"low": low}]
    verdict = "held" if summary["forecast_held"] else "did not hold"
    assert f"(90 %): {verdict}" in tierwise(place, "report", "night-3").out


def test_new_prices_need_no_new_jobs(place: Tierwise, upstream: Upstream) -> None:
    # Given a night, and prices that have doubled since
    run_spec(place, night(place, upstream, 1), "night-1")
    spec = night(place, upstream, 2)
    before = tierwise(place, "estimate", write_spec(place, spec), "--json").json()["forecast"]
    for tier in spec["tiers"]:
        tier["price"] = {side: str(2 * int(usd)) for side, usd in tier["price"].items()}

    # Then what is forecast has doubled with them
    after = tierwise(place, "estimate", write_spec(place, spec), "--json").json()["forecast"]
    assert Decimal(after["expected_usd"]) == pytest.approx(
        2 * Decimal(before["expected_usd"]), rel=Decimal("1e-4")
    )


def test_what_was_answered_before_costs_nothing(place: Tierwise, upstream: Upstream) -> None:
    spec = night(place, upstream, 1)
    run_spec(place, spec, "night-1")
    said = tierwise(place, "estimate", write_spec(place, spec), "--json").json()["forecast"]
    assert Decimal(said["high_usd"]) == 0
    assert Decimal(run_spec(place, spec, "again")["cost_usd"]) == 0


def test_another_ladder_says_nothing_of_this_one(place: Tierwise, upstream: Upstream) -> None:
    run_spec(place, night(place, upstream, 1), "night-1")
    spec = night(place, upstream, 2)
    spec["tiers"][0]["accept"] = 0.9
    assert tierwise(place, "estimate", write_spec(place, spec), "--json").json()["forecast"] is None
