"""What quality costs, said for the price of a pilot; what is out of reach is named before more is spent."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec, write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.upstream.client import Upstream, start_upstream
from tests.upstream.config import config_from

ROWS, PILOT = 2000, 100
SURE = 400  # rows: a pilot whose luck does not decide what is out of reach (the draw differs with each job)
LABELS = ["billing", "refund", "other"]
PRICES = {"small": {"input": "1", "output": "4"}, "large": {"input": "50", "output": "200"}}


@contextmanager
def models(small: float, large: float) -> Iterator[Upstream]:
    accuracy = {"small": small, "large": large}
    config = {"rule": "echo-label", "labels": LABELS, "accuracy": accuracy, "prices": PRICES}
    with start_upstream(config_from(config)) as running:
        yield running


def spec_of(place: Tierwise, upstream: Upstream, **more: Any) -> dict[str, Any]:
    gold = [LABELS[number % 3] for number in range(ROWS)]
    texts = [f"[gold={label}] message {number}" for number, label in enumerate(gold)]
    return {
        "name": "priced",
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {
            "path": str(write_documents(place.folder / "documents.parquet", texts, gold)), "id": "id", "gold": "gold",
        },
        "tiers": model_tiers(upstream.url, PRICES, ("small", "large"), accept=0.8),
        "budget": {"usd": "50"},
        **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("large", "reference", "target", "feasible"),
    [
        (1.0, "gold", 0.95, True),
        (0.75, "gold", 0.95, False),  # at best .925
        (0.9, "gold", 0.995, False),  # at best .97
        (0.8, "large", 0.95, True),  # the top tier agrees with itself
        (0.8, "gold", 0.7, True),
    ],
)
def test_what_is_out_of_reach_is_named(
    place: Tierwise, large: float, reference: str, target: float, feasible: bool
) -> None:
    with models(0.7, large) as upstream:
        # When a job is quoted
        path = write_spec(place, spec_of(place, upstream))
        given = ("--reference", reference, "--target", str(target), "--pilot", str(SURE))
        said = tierwise(place, "quote", path, *given, "--json", code=0 if feasible else 7).json()

        # Then the pilot alone was asked and paid for, and the verdict is right
        assert upstream.stats().served <= 2 * SURE
        assert Decimal(said["pilot_usd"]) * 10**9 == upstream.meter_total_nano()
        assert (said["wanted"] is not None) is feasible
        assert (said["best"] >= target) is feasible
        assert place.rows("SELECT count(*) AS n FROM results WHERE status = 'answered'") == [{"n": 0}]


def test_offers_are_cheaper_step_by_step_and_people_can_read_them(place: Tierwise) -> None:
    with models(0.7, 1.0) as upstream:
        path = write_spec(place, spec_of(place, upstream))
        said = tierwise(place, "quote", path, "--pilot", str(PILOT), "--json").json()
        costs = [offer["cost"] for offer in said["offers"]]
        assert costs == sorted(costs, reverse=True)
        assert all(offer["low"] <= offer["agreement"] <= offer["high"] for offer in said["offers"])
        assert said["reference"] == "large"
        printed = tierwise(place, "quote", path, "--pilot", str(PILOT))
        assert "about $" in printed.err
        assert "95.0% agreement with large at confidence 95% costs about $" in printed.out
        assert "small ≥" in printed.out


def test_a_quote_says_what_each_label_needs(place: Tierwise) -> None:
    with models(0.7, 1.0) as upstream:
        # Given a job whose labels are to be certified too, by an audit of some rows of each
        spec = spec_of(place, upstream, quality={"target": 0.9, "reference": "large", "per_label": 200})
        path = write_spec(place, spec)
        # When it is quoted
        said = tierwise(place, "quote", path, "--pilot", str(SURE), "--json").json()
        # Then each label has its rows, about, and how many of them have to be drawn
        offers = {offer["label"]: offer for offer in said["labels"]}
        assert sorted(offers) == sorted(LABELS)
        for offer in offers.values():
            assert abs(offer["rows"] - ROWS / 3) < ROWS / 8
            assert offer["drawn"] is None or offer["drawn"] <= offer["unknown"] <= offer["rows"]
        # And an estimate counts them, at most
        without = write_spec(
            place, spec | {"name": "without", "quality": {"target": 0.9, "reference": "large"}}
        )
        audits = [
            Decimal(tierwise(place, "estimate", each, "--json").json()["audit_usd"])
            for each in (path, without)
        ]
        assert audits[0] > audits[1]


def test_the_job_costs_what_was_quoted(place: Tierwise) -> None:
    # Given a quote for a target
    with models(0.7, 1.0) as upstream:
        quality = {"target": 0.95, "reference": "large", "pilot": PILOT, "audit": 300}
        spec = spec_of(place, upstream, quality=quality)
        said = tierwise(place, "quote", write_spec(place, spec), "--json").json()

        # When the job is run; then it is certified, at about that price
        summary = run_spec(place, spec, "certified")
        assert summary["certificate"]["certified"] is True
        # and its pilot is audited too: with the reference above a single tier, thresholds are nested
        assert (summary["certificate"]["pilot"], summary["certificate"]["audited"]) == (0, PILOT + 300)
        assert float(summary["cost_usd"]) == pytest.approx(said["wanted"]["cost"], rel=0.25)


def test_a_quoted_job_is_not_resumed(place: Tierwise) -> None:
    with models(0.7, 1.0) as upstream:
        path = write_spec(place, spec_of(place, upstream))
        job = tierwise(place, "quote", path, "--pilot", "20", "--json").json()["job"]
        assert "only its price was asked for" in tierwise(place, "resume", job, code=None).err


def test_a_pilot_that_money_ends_is_said(place: Tierwise) -> None:
    with models(0.7, 1.0) as upstream:
        path = write_spec(place, spec_of(place, upstream))
        said = tierwise(place, "quote", path, "--pilot", str(PILOT), "--budget", "0.001", code=3)
        assert "could not be asked to its end" in said.err
        assert upstream.meter_total_nano() <= 1_000_000
