"""The cap under concurrency, in short: `python -m tests.faults.cap` plays it in full."""

from collections.abc import Iterator

import pytest

from tests.faults.cap import play
from tests.faults.scenario import PRICES, SCENARIOS
from tests.faults.stage import Stage, stage

NAMED = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Three workers, which play one scenario after the other."""
    with stage("PostgreSQL", 3, tmp_path_factory.mktemp("postgresql"), PRICES) as ready:
        yield ready


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two workers."""
    with stage("SQLite", 2, tmp_path_factory.mktemp("sqlite"), PRICES) as ready:
        yield ready


@pytest.mark.parametrize("name", ["hold-is-cost", "hold-6x", "hold-6x-fits", "two-jobs", "two-jobs-kills"])
def test_a_cap_on_postgresql_buys_what_it_can_and_never_more(postgresql: Stage, name: str) -> None:
    outcome = play(postgresql, NAMED[name].short())
    assert outcome.broken == [], outcome


@pytest.mark.parametrize(
    "name", ["hold-is-cost", "hold-6x-fits", "two-jobs", "taxonomy", "hold-is-cost-kills"]
)
def test_a_cap_on_sqlite_buys_what_it_can_and_never_more(sqlite: Stage, name: str) -> None:
    outcome = play(sqlite, NAMED[name].short())
    assert outcome.broken == [], outcome
