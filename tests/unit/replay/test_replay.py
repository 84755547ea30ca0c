from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.replay.figures import figures
from pipeline.replay.outcomes import Outcomes
from pipeline.replay.plot import plot
from pipeline.replay.replay import replay
from schemas.errors import InputError
from tests.unit.router.rows import confident


def outcomes(count: int, seed: int = 0) -> Outcomes:
    return Outcomes(
        dataset="d", models=("cheap", "dear"), texts=tuple(f"text number {n}" for n in range(count)),
        observed=confident(count, seed), left_out=0, priced=False,
    )  # fmt: skip


def test_methods_stand_beside_singles_and_the_reference() -> None:
    # Given a cheap model whose confidence is true, and a dear one, When both are replayed in folds
    one = replay(outcomes(500), None, target=0.97)
    said = figures(one, 0.97)
    # Then what Tierwise would run is cheaper than the dear one at nearly its accuracy
    assert said["best_single"]["model"] == "dear"
    assert set(said["singles"]) == {"cheap", "dear"}
    chosen = said["policies"][said["chosen"]]
    assert chosen["times_cheaper"] > 1.05
    assert chosen["fraction_of_reference"] > 0.96
    assert 1 < chosen["calls_per_query"] < 2
    assert "taxonomy" not in said["policies"]  # the outcomes have no category
    # And its curve, set in hindsight, is at least as cheap, and cheaper than the bandit, which asks one model
    assert chosen["curve_times_cheaper_at_target"] > 1.05
    assert said["chosen_above"]["metallm-linucb"] > 0.5


def test_a_true_confidence_is_found_to_be_true() -> None:
    said = figures(replay(outcomes(500), None, target=0.97), 0.97)
    assert said["calibration"]["brier"] < said["calibration"]["brier_base_rate"]
    assert abs(said["calibration"]["brier"] - said["own_confidence"]["brier"]) < 0.02


def test_fitted_elsewhere_every_query_is_judged_once() -> None:
    one = replay(outcomes(200, seed=1), outcomes(300), target=0.97, repeats=3)
    assert (one.repeats, one.queries) == (1, 200)
    assert one.reference.cost.mean() == pytest.approx(5e-3)


def test_audited_rows_are_paid_for_at_every_model_and_change_the_choice() -> None:
    # Given fitting rows on which the cheap model is all but always right, and a job on which it seldom is
    train, test = outcomes(300), outcomes(300, seed=1)
    right = np.column_stack([np.arange(300) % 100 > 0, np.ones(300)]).astype(float)
    fooled = replace(train, observed=replace(train.observed, correct=right))
    hard = np.column_stack([np.arange(300) % 5 == 0, np.ones(300)]).astype(float)
    job = replace(test, observed=replace(test.observed, correct=hard))
    blind = replay(job, fooled, target=0.97)
    # When a hundred rows are audited
    audited = replay(job, fooled, target=0.97, audit=100)
    # Then the choice is better, the audit's calls are counted, and baselines stay as they were
    name = blind.chosen
    assert blind.methods[name].point.correct.mean() < 0.3
    assert audited.methods[name].point.correct.mean() == 1
    assert (audited.methods[name].point.calls == 2).sum() >= 100
    assert audited.methods["two-model"].point.cost.sum() == blind.methods["two-model"].point.cost.sum()


def test_another_reference_than_the_best_single_model() -> None:
    one = replay(outcomes(100), None, target=1.0, reference="cheap")
    assert one.reference.cost.mean() == pytest.approx(1e-4)
    assert one.best_single == "dear"
    with pytest.raises(InputError, match="not among the models"):
        replay(outcomes(100), None, target=1.0, reference="other")


def test_seeds_reproduce() -> None:
    one, two = (figures(replay(outcomes(100), None, target=0.95, seed=3), 0.95) for _ in range(2))
    assert one == two


def test_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="other models"):
        replay(outcomes(100), replace(outcomes(100), models=("x", "y")), target=0.9)


def test_the_plot_is_one_panel_a_dataset_with_its_models_and_methods() -> None:
    one = replay(outcomes(100), None, target=0.95)
    drawing = ElementTree.fromstring(plot([one, replace(one, dataset="a < b")]))
    words = [each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert any("below: cheap" in (word or "") for word in words)  # too far below the rest to be drawn
    assert {"d", "a < b", "dear", "all", "two-model", "accuracy", "USD per 1,000 queries"} <= set(words)
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}polyline"))) >= 10
