"""`tierwise replay` on recorded outcomes of real models."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data import data_file
from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise


def test_every_method_stands_beside_the_best_single_model(tmp_path: Path) -> None:
    file = data_file("outcomes_cascades9_train.parquet")
    models = [word for model in ("gpt-4o-mini", "llama3.1-70b", "gpt-4o") for word in ("--model", model)]
    place = Tierwise(folder=tmp_path)
    asked = [
        "replay",
        str(file),
        "--dataset",
        "cascades/triviaqa",
        *models,
        "--target",
        "0.99",
        "--repeats",
        "1",
    ]
    [(dataset, said)] = tierwise(place, *asked, "--json").json().items()
    assert dataset == "cascades/triviaqa"
    assert said["best_single"]["model"] == "gpt-4o"
    assert set(said["policies"]) == {
        "two-model", "frugal-gpt", "metallm-linucb",
        "single", "learned", "cascade", "escalation", "fusion", "all",
    }  # fmt: skip
    chosen = said["policies"][said["chosen"]]
    assert 1 < chosen["calls_per_query"] < 2
    assert chosen["accuracy"] > 0.97 * said["best_single"]["accuracy"]
    assert chosen["cost_per_query_usd"] < 0.5 * said["best_single"]["cost_per_query_usd"]


def test_table_calibration_and_plot(tmp_path: Path) -> None:
    # Given outcomes made up here: a cheap model that is right where it says so, and a dear one
    rng = random.Random(1)
    rows = []
    for number in range(120):
        sure = rng.random() < 0.6
        for model, right, usd in (("cheap", sure, 0.001), ("dear", rng.random() < 0.95, 0.1)):
            confidence = (0.95 if sure else 0.2) if model == "cheap" else 0.9
            rows.append(
                {"dataset": "made up", "query_id": f"q{number}", "text": f"question {number}", "model": model,
                 "correct": float(right), "cost_usd": usd, "confidence": confidence}
            )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "outcomes.parquet")
    # When they are replayed with an audit, a calibration table and a plot
    plot = tmp_path / "plot.svg"
    asked = ["replay", str(tmp_path / "outcomes.parquet"), "--repeats", "1", "--audit", "20"]
    printed = tierwise(Tierwise(folder=tmp_path), *asked, "--calibration", "--plot", str(plot)).out
    # Then all three are there
    assert "Chosen: all" in printed
    assert "Brier score" in printed
    assert plot.read_text().startswith("<svg")


def test_costs_that_were_not_recorded_need_prices(tmp_path: Path) -> None:
    file = data_file("outcomes_textclass_en.parquet")
    models = [
        word for model in ("gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14") for word in ("--model", model)
    ]
    asked = ["replay", str(file), "--dataset", "textclass/env_claims_en", *models, "--repeats", "1"]
    place = Tierwise(folder=tmp_path)
    refused = tierwise(place, *asked, code=2)
    assert "--prices" in refused.err
    prices = tmp_path / "prices.csv"
    prices.write_text("model,input,output\ngpt-4o-mini-2024-07-18,0.15,0.6\ngpt-4.1,2,8\n")
    printed = tierwise(place, *asked, "--prices", str(prices)).out
    assert "costs from the price list" in printed
