"""Half the money a job needs, on workers: best gain keeps more right answers than first come."""

from decimal import Decimal
from pathlib import Path

from tests.data import data_file
from tests.end_to_end.command import Tierwise, workers
from tests.end_to_end.conftest import textclass, write_spec
from tests.jobs import ladder_spec, recorded
from tests.services import RABBITMQ, broker_queue, postgresql_schema
from tests.upstream.client import Upstream

ROWS = 265


def test_at_half_the_money_best_gain_beats_first_come(tmp_path: Path) -> None:
    with (
        postgresql_schema() as ledger,
        broker_queue("RabbitMQ", RABBITMQ) as queue,
        textclass("env_claims_en") as upstream,
    ):
        settings = {"TIERWISE_LEDGER": ledger, "TIERWISE_BROKER": RABBITMQ, "TIERWISE_QUEUE": queue}
        place = Tierwise(folder=tmp_path, settings=settings)
        with workers(place, 2):
            # Given what the job needs when money is ample
            need = submitted(place, upstream, "ample", 20 * 10**9, "best_gain")
            # When it gets half of that, under either rule
            halves = {
                rule: submitted(place, upstream, rule, need // 2, rule)
                for rule in ("first_come", "best_gain")
            }
            # Then the cap holds, by the upstream's own meter too
            assert all(spent <= need // 2 for spent in halves.values())
            assert upstream.meter_total_nano() == need + sum(halves.values())
            # And best gain has an answer for every row, and clearly more right ones
            assert {row["status"] for row in results(place, "ample")} == {"answered"}
            best, first = results(place, "best_gain"), results(place, "first_come")
            assert (
                {row["status"] for row in best}
                == {row["status"] for row in first}
                == {"answered", "deferred"}
            )
            assert all(row["answer"] is not None for row in best)
            assert right(best) > right(first) + 0.05 * ROWS
            # And with the rest of the money, the calls that were missing are bought, and no others
            place.run("resume", "best-gain", "--add-budget", "20")
            place.wait_closed("best-gain")
            assert {row["status"] for row in results(place, "best_gain")} == {"answered"}
            missing = {row["query_id"] for row in best if row["status"] == "deferred"}
            asked = {row["query_id"] for row in results(place, "best_gain") if row["asked_in"] == 2}
            assert asked == missing
            assert place.money("best-gain").spent == need
            assert upstream.meter_total_nano() == 2 * need + halves["first_come"]


def submitted(place: Tierwise, upstream: Upstream, name: str, cap: int, rule: str) -> int:
    """Nano-dollars that the job came to."""
    job = name.replace("_", "-")
    source = recorded(data_file("outcomes_textclass_en.parquet"), "textclass/env_claims_en", place.folder)
    assert source.rows == ROWS
    budget = {"usd": str(Decimal(cap).scaleb(-9)), "when_short": rule}
    spec = ladder_spec(source, upstream.url, name=job, budget=budget)
    spec["input"]["batch"]["rows"] = 40
    for tier, trust in zip(spec["tiers"], (0.6, 0.65, 0.7), strict=True):
        tier.update(trust=trust, max_concurrency=2)
    place.run("submit", write_spec(place, spec), "--job", job)
    return int(place.wait_closed(job).spent)


def results(place: Tierwise, name: str) -> list[dict[str, object]]:
    job = name.replace("_", "-")
    return place.rows(
        "SELECT r.query_id, r.status, r.answer, r.asked_in, d.gold FROM results r "
        f"JOIN documents d USING (job, query_id) WHERE job = '{job}'"
    )


def right(rows: list[dict[str, object]]) -> int:
    assert len(rows) == ROWS
    return sum(row["answer"] == row["gold"] for row in rows)
