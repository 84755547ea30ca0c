import numpy as np
import pytest

from pipeline.router.calibration import calibration


def test_who_says_what_comes_true_has_no_calibration_error() -> None:
    random = np.random.default_rng(1)
    likely = random.random(50_000)
    correct = (random.random(50_000) < likely).astype(float)
    found = calibration(likely, correct)
    assert found.error < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.005)  # the mean of p(1-p)
    assert found.base == pytest.approx(1 / 4, abs=0.005)
    assert [round(said, 1) for _, said, _ in found.table] == pytest.approx(
        [0.1 * n for n in range(10)], abs=0.1
    )
    assert len(found.lines()) == 11


def test_who_is_always_sure_is_found_out() -> None:
    found = calibration(np.ones(4), np.array([1.0, 0.0, 0.0, 0.0]))
    assert (found.brier, found.error) == (0.75, 0.75)
    assert found.table == [(4, 1.0, 0.25)]
