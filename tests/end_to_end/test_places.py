"""The same jobs in every place they can run: the same rows, and the meter's total is the ledger's."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fsspec import AbstractFileSystem
from s3fs import S3FileSystem

from tests.data import data_file
from tests.end_to_end.command import Tierwise, workers
from tests.end_to_end.conftest import textclass, write_spec
from tests.jobs import ladder_spec, recorded
from tests.s3server.server import CREDENTIALS, S3Server, start_s3_server
from tests.services import RABBITMQ, REDIS, broker_queue, postgresql_schema
from tests.upstream.client import Upstream

DATASETS = ("policy_en", "env_claims_en", "sust_finance_en", "technology_en")
ROWS = {"policy_en": 443, "env_claims_en": 265, "sust_finance_en": 1000, "technology_en": 1000}

ANSWERS = """
SELECT job, query_id, status, answer, round(confidence, 9) AS confidence, tier, tiers_asked, category, route, reason
FROM results ORDER BY job, query_id
"""


@contextmanager
def inline_sqlite(folder: Path) -> Iterator[Tierwise]:
    yield Tierwise(folder=folder)


@contextmanager
def rabbitmq_postgresql(folder: Path) -> Iterator[Tierwise]:
    with postgresql_schema() as ledger, broker_queue("RabbitMQ", RABBITMQ) as queue:
        settings = {"TIERWISE_LEDGER": ledger, "TIERWISE_BROKER": RABBITMQ, "TIERWISE_QUEUE": queue}
        yield Tierwise(folder=folder, settings=settings)


@contextmanager
def redis_postgresql(folder: Path) -> Iterator[Tierwise]:
    with postgresql_schema() as ledger, broker_queue("Redis", REDIS) as queue:
        settings = {"TIERWISE_LEDGER": ledger, "TIERWISE_BROKER": REDIS, "TIERWISE_QUEUE": queue}
        yield Tierwise(folder=folder, settings=settings)


@contextmanager
def rabbitmq_s3(folder: Path) -> Iterator[Tierwise]:
    with start_s3_server() as server, broker_queue("RabbitMQ", RABBITMQ) as queue:
        settings = {
            **CREDENTIALS,
            "TIERWISE_LAKE": server.make_bucket("lake"),
            "TIERWISE_LEDGER": f"sqlite:///{folder / 'ledger.db'}",
            "TIERWISE_BROKER": RABBITMQ,
            "TIERWISE_QUEUE": queue,
        }
        yield Tierwise(folder=folder, settings=settings)
        check_s3fs(server)


SOME = DATASETS[:2]
PLACES = {
    "inline-sqlite": (inline_sqlite, 0, SOME),
    "rabbitmq-postgresql": (rabbitmq_postgresql, 4, DATASETS),
    "redis-postgresql": (redis_postgresql, 2, SOME),
    "rabbitmq-sqlite-s3": (rabbitmq_s3, 2, SOME),
}
_first: dict[str, list[dict[str, Any]]] = {}  # job -> its rows in the place that ran it first


@pytest.fixture(scope="module")
def textclasses() -> Iterator[dict[str, Upstream]]:
    """One upstream for each set, shared by all places."""
    with ExitStack() as stack:
        yield {dataset: stack.enter_context(textclass(dataset)) for dataset in DATASETS}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.timeout(400)
def test_a_job_gives_the_same_rows_wherever_it_runs(
    name: str, tmp_path: Path, textclasses: dict[str, Upstream]
) -> None:
    # Given the policy set and binary sets, over HTTP, with an ample budget
    make_place, processes, datasets = PLACES[name]
    upstreams = {dataset: textclasses[dataset] for dataset in datasets}
    before = {dataset: upstream.meter_total_nano() for dataset, upstream in upstreams.items()}
    with ExitStack() as stack:
        place = stack.enter_context(make_place(tmp_path))
        if processes:
            stack.enter_context(workers(place, processes))
        # When they run
        for dataset, upstream in upstreams.items():
            _start(place, dataset, upstream, inline=not processes)
        # Then what the ledger spent is, to the nano-dollar, what the provider metered
        spent = 0
        for dataset, upstream in upstreams.items():
            account = place.wait_closed(_job(dataset))
            assert (account.held, account.presumed) == (0, 0)
            assert account.spent == upstream.meter_total_nano() - before[dataset]
            spent += account.spent
        # And every row is answered, and the lake says the same of the money
        rows = place.rows(ANSWERS)
        assert len(rows) == sum(ROWS[dataset] for dataset in datasets)
        assert {row["status"] for row in rows} == {"answered"}
        assert _in_lake(place) == spent
        # And the rows are those of every other place
        for dataset in datasets:
            own = [row for row in rows if row["job"] == _job(dataset)]
            assert own == _first.setdefault(dataset, own)


def _job(dataset: str) -> str:
    return dataset.replace("_", "-")


def _start(place: Tierwise, dataset: str, upstream: Upstream, *, inline: bool) -> None:
    source = recorded(data_file("outcomes_textclass_en.parquet"), f"textclass/{dataset}", place.folder)
    assert source.rows == ROWS[dataset]
    spec = write_spec(place, ladder_spec(source, upstream.url, name=_job(dataset)))
    place.run("run" if inline else "submit", spec, "--job", _job(dataset))


def _in_lake(place: Tierwise) -> int:
    """The same money three times: by call, by item, by query."""
    sql = "SELECT (sum(cost_usd) * 1000000000)::BIGINT AS nano FROM "
    calls, items, results = (
        place.rows(sql + table)[0]["nano"] for table in ("calls", "call_items", "results")
    )
    assert calls == items == results
    return int(calls)


def check_s3fs(server: S3Server) -> None:
    """An analyst with Python's duckdb and s3fs, and no Tierwise."""
    files: AbstractFileSystem = S3FileSystem(
        key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        client_kwargs={"endpoint_url": server.url},
        skip_instance_cache=True,
    )
    with duckdb.connect() as connection:
        connection.register_filesystem(files)
        per_tier = connection.execute(
            "SELECT tier, sum(cost_usd) FROM read_parquet('s3://lake/calls/*/data.parquet') GROUP BY tier"
        ).fetchall()
        escalated = connection.execute(
            "SELECT count(*) FROM read_parquet('s3://lake/decisions/*/data.parquet') WHERE NOT accepted"
        ).fetchone()
    assert {tier for tier, _ in per_tier} == {"nano", "mini", "large"}
    assert escalated is not None
    assert escalated[0] > 0
