"""The short form of the fault campaign; `make faults` is the long one."""

from pathlib import Path

import pytest

from tests.faults.campaign import Campaign, ample, fight, full_disks, table, tight

SIZE = {"queries": 240, "others": 1, "batch": 6, "slots": 3, "lease_s": 3.0}


@pytest.mark.parametrize(
    "campaign",
    [ample(kills=8, **SIZE), tight(kills=8, **SIZE), full_disks(kills=2, **SIZE)],
    ids=["ample cap", "tight cap", "full disks"],
)
@pytest.mark.timeout(600)
def test_nothing_is_lost(campaign: Campaign, tmp_path: Path) -> None:
    verdict, log = fight(campaign, 1, tmp_path)
    assert verdict.broken == [], f"{table([verdict])}\n{log[-3000:]}"
    assert verdict.kills >= campaign.kills
    assert (verdict.rows_lost, verdict.rows_doubled, verdict.settled_paid_twice) == (0, 0, 0)
    assert verdict.metered_usd <= verdict.recorded_usd <= verdict.cap_usd
    assert verdict.presumed <= verdict.in_flight_at_kills
    assert verdict.samples > 50
