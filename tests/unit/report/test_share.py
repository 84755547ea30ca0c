"""A share and how sure one may be of it."""

import pytest

from pipeline.report.share import wilson


def test_the_score_interval_is_wilson_s() -> None:
    # The values that R's prop.test(8, 10, correct = FALSE) gives
    found = wilson(8, 10)
    assert found.share == 0.8
    assert found.low == pytest.approx(0.4902, abs=1e-4)
    assert found.high == pytest.approx(0.9433, abs=1e-4)


def test_it_stays_within_bounds() -> None:
    assert 0.99 < wilson(10, 10).high <= 1
    assert 0 <= wilson(0, 10).low < 0.01
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
