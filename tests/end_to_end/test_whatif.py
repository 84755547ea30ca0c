"""`tierwise replay JOB`: what a closed job would have been, held against jobs that were run that way."""

import random
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import run_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import write_documents

ROWS = 240
LABELS = ["billing", "refund", "other"]
MODELS = {"small": (0.7, 0.0001), "middle": (0.85, 0.002), "large": (0.97, 0.01)}  # accuracy, USD
FIGURES = ("statuses", "tiers", "graded", "correct")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Tierwise:
    """Recorded answers of three models whose confidence is worth something, and the job `was` on them."""
    place, rng = Tierwise(folder=tmp_path_factory.mktemp("whatif")), random.Random(5)
    texts = [f"message number {number}" for number in range(ROWS)]
    gold = [LABELS[number % 3] for number in range(ROWS)]
    write_documents(place.folder / "in.parquet", texts, gold)
    rows = []
    for number, (text, label) in enumerate(zip(texts, gold, strict=True)):
        for model, (accuracy, usd) in MODELS.items():
            right = rng.random() < accuracy
            rows.append(
                {
                    "dataset": "d", "query_id": f"q{number}", "text": text, "model": model, "cost_usd": usd,
                    "response": label if right else rng.choice([each for each in LABELS if each != label]),
                    "confidence": rng.uniform(0.6, 0.99) if right else rng.uniform(0.3, 0.9),
                }
            )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), place.folder / "outcomes.parquet")
    run_spec(place, spec_of(place, "was"), "was")
    return place


def spec_of(place: Tierwise, name: str, *, small: float = 0.8, middle: float = 0.8, **more: Any) -> Any:
    accept = {"small": small, "middle": middle, "large": 0.0}
    tiers = [
        {
            "name": model, "provider": "recorded", "outcomes": str(place.folder / "outcomes.parquet"),
            "dataset": "d", "model": model, "accept": accept[model],
        }
        for model in MODELS
    ]  # fmt: skip
    return {
        "name": name,
        "task": {"kind": "classify", "instructions": "Sort the message.", "labels": LABELS},
        "input": {
            "path": str(place.folder / "in.parquet"), "id": "id", "gold": "gold", "batch": {"rows": 70},
        },
        "tiers": tiers,
        "budget": {"usd": "10"},
        "history": "none",
        **more,
    }  # fmt: skip


def replayed(place: Tierwise, *arguments: str) -> dict[str, Any]:
    said: dict[str, Any] = tierwise(place, "replay", *arguments, "--json").json()
    return said


def truth(place: Tierwise, job: str) -> dict[str, Any]:
    [row] = place.rows(
        "SELECT sum(r.cost_usd) AS cost, count(*) FILTER (r.answer = d.gold) AS correct "
        f"FROM results r JOIN documents d USING (job, query_id) WHERE r.job = '{job}'"
    )
    return row


def test_unchanged_a_job_is_decided_as_it_was(shop: Tierwise) -> None:
    said = replayed(shop, "was")
    before, after = said["before"], said["after"]
    assert after["replayed"] == ROWS
    assert (after["changed"], after["not_replayable"], said["answers"]) == (0, {}, [])
    assert {name: after[name] for name in FIGURES} == {name: before[name] for name in FIGURES}
    assert Decimal(before["cost_usd"]) == Decimal(after["cost_low_usd"]) == Decimal(after["cost_high_usd"])
    assert Decimal(before["cost_usd"]) == truth(shop, "was")["cost"]
    assert min(before["tiers"].values()) > 10  # every tier has answers that stand


def test_a_lower_threshold_is_what_a_job_with_it_comes_to(shop: Tierwise) -> None:
    # Given a job that was run with what the replay supposes
    run_spec(shop, spec_of(shop, "lax", small=0.55, middle=0.6), "lax")
    paid = shop.rows("SELECT count(*) AS calls FROM calls WHERE job = 'was'")
    # When the stricter job is decided again
    said = replayed(shop, "was", "--accept", "small=0.55", "--accept", "middle=0.6")
    # Then answers, tiers and cost are the other job's, to the nano-dollar, and nothing was asked
    after, real = said["after"], replayed(shop, "lax")["before"]
    assert after["replayed"] == ROWS
    assert {name: after[name] for name in FIGURES} == {name: real[name] for name in FIGURES}
    assert Decimal(after["cost_low_usd"]) == truth(shop, "lax")["cost"] < truth(shop, "was")["cost"]
    assert after["changed"] > 0
    assert shop.rows("SELECT count(*) AS calls FROM calls WHERE job = 'was'") == paid


def test_what_was_never_asked_is_said_and_bounds_the_rest(shop: Tierwise) -> None:
    run_spec(shop, spec_of(shop, "strict", small=0.93), "strict")
    after = replayed(shop, "was", "--accept", "small=0.93")["after"]
    assert after["not_replayable"].keys() == {"middle"}
    assert after["replayed"] + after["not_replayable"]["middle"] == ROWS
    real = truth(shop, "strict")
    assert Decimal(after["cost_low_usd"]) < real["cost"] < Decimal(after["cost_high_usd"])
    assert after["accuracy_low"] <= real["correct"] / ROWS <= after["accuracy_high"]
    printed = tierwise(shop, "replay", "was", "--accept", "small=0.93").out
    assert f"{after['not_replayable']['middle']} queries cannot be replayed" in printed


def test_the_drawn_rows_answer_for_every_tier(shop: Tierwise) -> None:
    """Given a job that asked every tier on drawn rows, when another ladder is supposed, then these rows know it all."""
    quality = {"reference": "large", "audit": 60}
    run_spec(shop, spec_of(shop, "audited", quality=quality), "audited")
    said = replayed(shop, "audited", "--tiers", "large")
    assert said["after"]["not_replayable"].keys() == {"large"}
    drawn = said["drawn"]
    assert drawn["queries"] == drawn["after"]["replayed"] == 60
    assert drawn["after"]["tiers"] == {"large": 60}
    assert Decimal(drawn["after"]["cost_low_usd"]) == Decimal("0.01") * 60
    assert drawn["after"]["accuracy_low"] == drawn["after"]["accuracy_high"] > 0.85
    # And how sure a tier was that the audit alone asked is on record: they go the way of a job with that ladder
    spec = spec_of(shop, "two", middle=0.8)
    run_spec(shop, {**spec, "tiers": spec["tiers"][1:]}, "two")
    supposed = replayed(shop, "audited", "--tiers", "middle,large")["drawn"]["after"]
    [real] = shop.rows(
        "SELECT count(*) FILTER (t.tier = 'middle') AS middle, sum(t.cost_usd) AS cost FROM results t "
        "WHERE t.job = 'two' AND t.query_id IN (SELECT query_id FROM calls WHERE job = 'audited' AND purpose = 'audit')"
    )
    assert supposed["not_replayable"] == {}
    assert (supposed["tiers"]["middle"], Decimal(supposed["cost_low_usd"])) == (real["middle"], real["cost"])
    assert tierwise(shop, "replay", "audited", "--tiers", "large").out.count("as it was") == 2


def test_a_certified_job_is_decided_by_the_plan_that_was_frozen(shop: Tierwise) -> None:
    """Whichever it is: the surest, the reference alone, agrees with itself, so there is one."""
    quality = {"target": 0.6, "reference": "large", "pilot": 30, "audit": 80}
    run_spec(shop, spec_of(shop, "sure", quality=quality), "sure")
    said = replayed(shop, "sure")
    assert (said["after"]["replayed"], said["after"]["changed"]) == (ROWS, 0)
    assert said["after"]["tiers"] == said["before"]["tiers"]
    assert Decimal(said["after"]["cost_low_usd"]) == Decimal(said["before"]["cost_usd"])
    assert said["drawn"]["queries"] == 110


def test_a_policy_that_learns_is_replayed_by_the_version_of_each_batch(shop: Tierwise) -> None:
    for job in ("taught", "learned"):
        run_spec(shop, spec_of(shop, job, policy={"name": "epsilon-greedy", "epsilon": 0.2}), job)
    after = replayed(shop, "learned")["after"]
    assert (after["replayed"], after["changed"]) == (ROWS, 0)
    # And under the fixed ladder it goes where that leads, as far as tiers were asked
    ladder = replayed(shop, "learned", "--policy", "fixed-ladder")
    assert ladder["change"] == {"policy": "fixed-ladder"}
    back = replayed(shop, "was", "--policy", "epsilon-greedy")["after"]
    assert back["replayed"] + sum(back["not_replayable"].values()) == ROWS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("was", "--accept", "small"), "TIER=P"),
        (("was", "--accept", "small=2"), "TIER=P"),
        (("was", "--accept", "nobody=0.5"), "One of small, middle, large."),
        (("was", "--tiers", "small,none"), "One of small, middle, large."),
        (("was", "--policy", "magic"), "fixed-ladder"),
        (("was", "--policy", "thompson@0123456789ab"), "policy history"),
        (("nobody",), "no job 'nobody'"),
        (("gone.parquet",), "no such file"),
    ],
    ids=str,
)
def test_bad_input(shop: Tierwise, arguments: tuple[str, ...], said: str) -> None:
    assert said in tierwise(shop, "replay", *arguments, code=2).err
