"""A schedule's money by the month: what is short is deferred, says why, and comes again."""

from decimal import Decimal

from pipeline.wiring.services import now_ms
from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise
from tests.end_to_end.test_schedule import DAY, NIGHTLY, comes_due, ran, spec_of
from tests.upstream.client import start_upstream
from tests.upstream.config import config_from

LABELS = ["billing", "refund"]
A_CENT = {"input": "0", "output": "0", "request": "0.01"}


def test_a_job_that_starts_when_the_months_money_is_used_up_is_deferred(place: Tierwise) -> None:
    config = {"rule": "echo-label", "labels": LABELS, "accuracy": {"small": 1.0}, "prices": {"small": A_CENT}}
    with start_upstream(config_from(config)) as upstream:
        # Given two and a half cents a month, for three rows of a cent each
        rows = [f"{number},[gold=billing] mail {number}" for number in range(3)]
        (place.folder / "mails.csv").write_text("\n".join(["id,text", *rows]) + "\n")
        tier = {
            "name": "small", "provider": "openai", "model": "small", "base_url": upstream.url,
            "api_key_env": None, "price": A_CENT, "accept": 0.0,
        }  # fmt: skip
        spec = spec_of(
            place,
            tiers=[tier],
            schedule={"cron": NIGHTLY, "incremental": True},
            budget={"usd": 1, "per": {"week": 9, "month": "0.025"}},
        )
        tierwise(place, "schedule", "add", spec)
        # When it runs twice in it, then the rows that are left come again, and find no money
        for number, (statuses, note) in enumerate(
            [
                ({"answered": 2, "deferred": 1}, "3 new, 0 changed, 0 unchanged"),
                ({"deferred": 1}, "1 new, 0 changed, 2 unchanged"),
            ]
        ):
            comes_due(place, now_ms() - (5 - number) * DAY)
            [told] = ran(place, code=3)
            assert (told["statuses"], told["note"], told["exit_code"]) == (statuses, note, 3)
        assert upstream.meter_total_nano() == 2 * 10**7
    # And the row says which money it was
    [short] = place.rows(f"SELECT reason FROM results WHERE job = '{told['job']}'")
    assert "nightly/month:" in short["reason"]
    assert "$0.005" in short["reason"]
    # And the list says what is left of each period
    [listed] = tierwise(place, "schedule", "list", "--json").json()
    spent = [(Decimal(each["spent_usd"]), Decimal(each["cap_usd"])) for each in listed["periods"]]
    assert spent == [(Decimal("0.02"), Decimal(9)), (Decimal("0.02"), Decimal("0.025"))]
    assert "nightly/month:" in tierwise(place, "schedule", "list").out
