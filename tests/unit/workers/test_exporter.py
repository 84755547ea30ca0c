"""What is served of several processes, of which one is dead, with nothing else in reach."""

import time
from pathlib import Path

import pytest
from prometheus_client.samples import Sample

from pipeline.monitoring.meters import Histogram, Readings
from pipeline.settings import Settings
from workers.exporter import STALE_S, Exporter
from workers.gauge import Gauge

NOWHERE = "127.0.0.1:1"


def write(folder: Path, number: int, calls: int, late: list[float], at: float) -> None:
    histogram = Histogram.of((0.1, 1.0))
    for each in late:
        histogram.observe(each)
    name = str(number)
    Gauge(number, folder).write(
        Readings(
            counters={("tierwise_batches_total", "committed"): calls},
            gauges={("tierwise_batches_running", name): 2.0},
            histograms={("tierwise_batch_seconds",): histogram},
            at=at,
        )
    )


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Of three processes: the first well, the second dead, the third with a loop that stands still."""
    write(tmp_path, 0, 3, [0.05, 0.1, 5.0], time.time())
    write(tmp_path, 1, 4, [0.5], time.time())
    write(tmp_path, 2, 0, [], time.time() - 2 * STALE_S)
    settings = Settings(
        lake=str(tmp_path), broker=f"amqp://{NOWHERE}//", ledger=f"postgresql://{NOWHERE}/none"
    )
    exporter = Exporter(settings, tmp_path, lambda: [True, False, True])
    return [sample for family in exporter.collect() for sample in family.samples]


def test_what_was_counted_stays_and_what_was_under_way_goes(samples: list[Sample]) -> None:
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert values["tierwise_batches_total", "committed"] == 7
    assert [values["tierwise_process_up", str(number)] for number in range(3)] == [1, 0, 0]
    assert values["tierwise_batches_running", "0"] == 2
    assert ("tierwise_batches_running", "1") not in values
    # buckets are cumulative, a bound belongs to its own
    assert [values["tierwise_batch_seconds_bucket", bound] for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert values["tierwise_batch_seconds_sum",] == pytest.approx(5.65)
    # out of reach is said, not raised
    assert values["tierwise_ledger_up",] == 0
    assert not [name for name, *_ in values if name.startswith(("tierwise_account", "tierwise_queue"))]
