"""`tierwise doctor`: every check runs, each failure with its fix, and no secret is told."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.monitoring.checkup import check_clock, file_system, satisfies
from schemas.finding import Finding
from tests.end_to_end.command import Tierwise
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import model_tiers, write_documents
from tests.s3server.server import CREDENTIALS, start_s3_server
from tests.services import RABBITMQ, REDIS, need, postgresql_schema
from tests.upstream.config import UpstreamConfig
from tests.upstream.fixture import StartUpstream

PRICES = {"small": {"input": "0.1", "output": "0.4"}}


def examined(place: Tierwise, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    checks = tierwise(place, "doctor", *arguments, "--json", code=code).json()["checks"]
    return {each["name"]: each for each in checks}


def in_trouble(found: dict[str, dict[str, Any]]) -> list[str]:
    """A busy machine may well commit slowly."""
    return [name for name, each in found.items() if each["state"] != "ok" and name != "ledger"]


def spec_of(place: Tierwise, url: str, model: str = "small") -> str:
    source = write_documents(place.folder / "d.parquet", ["one", "two"])
    tiers = model_tiers(url, {model: PRICES["small"]}, [model])
    tiers[0]["api_key_env"] = "PROVIDER_KEY"
    spec = {
        "name": "mails",
        "task": {"kind": "classify", "labels": ["a", "b"]},
        "input": {"path": str(source), "id": "id"},
        "tiers": tiers,
        "budget": {"usd": "1"},
    }
    return write_spec(place, spec)


def test_one_machine_in_good_health(place: Tierwise) -> None:
    found = examined(place)
    assert in_trouble(found) == []
    assert "synchronous full" in found["ledger"]["said"]
    assert {"versions", "settings", "keys", "lake", "views", "broker", "clock", "workers"} <= found.keys()


def test_what_is_shared_is_asked_for_its_clock(place: Tierwise) -> None:
    # Given a ledger in PostgreSQL, a lake on S3 and a broker
    need("RabbitMQ", RABBITMQ)
    with postgresql_schema() as ledger, start_s3_server() as server:
        settings = {"TIERWISE_LEDGER": ledger, "TIERWISE_LAKE": server.make_bucket("doctor"), **CREDENTIALS}
        found = examined(Tierwise(folder=place.folder, settings={**settings, "TIERWISE_BROKER": RABBITMQ}))
        assert in_trouble(found) == []
        assert "fsync and full_page_writes on" in found["ledger"]["said"]
        assert "there and back" in found["broker"]["said"]
        assert "RabbitMQ" in found["broker's version"]["said"]
        assert re.search(r"lake [+-]0.*ledger [+-]0", found["clock"]["said"])


def test_a_redis_that_delivers_while_a_batch_is_worked_on(place: Tierwise) -> None:
    need("Redis", REDIS)
    settings = {"TIERWISE_BROKER": REDIS, "TIERWISE_BATCH_MINUTES": "20"}
    found = examined(Tierwise(folder=place.folder, settings=settings))
    assert found["broker"]["state"] == "ok"
    assert found["broker's visibility timeout"]["state"] == "warning"
    assert "TIERWISE_VISIBILITY_SECONDS=1800" in found["broker's visibility timeout"]["fix"]
    assert re.search(r"broker [+-]0", found["clock"]["said"])


def test_all_that_is_out_of_reach_is_told_at_once(place: Tierwise) -> None:
    settings = {
        "TIERWISE_LEDGER": "postgresql://teller:top-secret@127.0.0.1:1/money",
        "TIERWISE_BROKER": "amqp://guest:top-secret@127.0.0.1:1//",
        "TIERWISE_LAKE": str(place.folder / "file"),
    }
    (place.folder / "file").touch()
    broken = Tierwise(folder=place.folder, settings=settings)
    found = examined(broken, code=5)
    for name in ("lake", "ledger", "broker"):
        assert found[name]["state"] == "failed"
        assert f"TIERWISE_{name.upper()}" in found[name]["fix"], found[name]
    printed = tierwise(broken, "doctor", code=5).out
    assert printed.count("FAILED") == printed.count("Fix: ") == 3
    assert "top-secret" not in printed + str(found)
    # And settings that cannot be read keep nobody from the rest
    (place.folder / "tierwise.toml").write_text("laek = 1\n")
    found = examined(broken, code=2)
    assert found["versions"]["state"] == "ok"
    assert found["settings"]["state"] == "failed"


def test_keys_are_named_and_never_told(place: Tierwise, upstreams: StartUpstream) -> None:
    upstream = upstreams(
        UpstreamConfig(rule="echo-label", labels=("a", "b"), accuracy={"small": 1.0}, prices=PRICES)
    )
    spec = spec_of(place, upstream.url)
    # Given a spec whose tier needs a key
    found = examined(place, spec, code=2)
    assert (found["spec"]["state"], found["key PROVIDER_KEY"]["state"]) == ("ok", "failed")
    assert found["key PROVIDER_KEY"]["fix"] == "export PROVIDER_KEY=…"
    # When it is there, then the endpoint may be asked for its models, which it does not bill
    keyed = Tierwise(folder=place.folder, settings={"PROVIDER_KEY": "sk-very-secret"})
    found = examined(keyed, spec, "--online")
    assert "lists small" in found[f"online {upstream.url}"]["said"]
    assert "very-secret" not in str(found)
    assert upstream.stats().metered == 0
    # And a model that it does not list is a warning
    found = examined(keyed, spec_of(place, upstream.url, "smal"), "--online")
    assert found[f"online {upstream.url}"]["state"] == "warning"
    # And --online without a spec says what it wants
    assert "tierwise doctor JOB.yaml --online" in tierwise(place, "doctor", "--online", code=2).err


def test_a_lake_that_was_moved(place: Tierwise) -> None:
    examined(place)
    (place.folder / "lake").rename(place.folder / "moved")
    moved = Tierwise(folder=place.folder, settings={"TIERWISE_LAKE": str(place.folder / "moved")})
    found = examined(moved)
    assert (found["views"]["state"], found["views"]["fix"]) == ("warning", "tierwise doctor --views")
    assert examined(moved, "--views")["views"]["state"] == "ok"


def test_a_job_that_nobody_works_on(place: Tierwise, upstreams: StartUpstream) -> None:
    # Given a job whose process was killed
    upstream = upstreams(
        UpstreamConfig(
            rule="echo-label", labels=("a", "b"), accuracy={"small": 1.0}, prices=PRICES, latency_ms=60_000
        )
    )
    keyed = Tierwise(folder=place.folder, settings={"PROVIDER_KEY": "k", "TIERWISE_LEASE_SECONDS": "1"})
    process = keyed.start("run", spec_of(keyed, upstream.url), "--job", "left", "--json")
    end = time.monotonic() + 90
    while examined(keyed)["workers"]["said"].startswith("0 processes hold leases; 0 jobs"):
        assert time.monotonic() < end
        assert process.poll() is None
    process.kill()
    process.communicate()
    # When its lease has run out, then the doctor knows the way on
    while (found := examined(keyed)["workers"])["state"] == "ok":
        assert time.monotonic() < end
    assert "nobody works on left" in found["said"]
    assert "tierwise resume left" in found["fix"]


@pytest.mark.parametrize(
    ("have", "bounds", "fits"),
    [
        ("2.1.3", ">=2.1,<2.2", True), ("2.2.0", ">=2.1,<2.2", False), ("2.2", "<2.2.0", False),
        ("3.11.7", ">=3.11,<3.14", True), ("3.14.0", "<3.14,>=3.11", False), ("26.0.0rc1", ">=26", True),
        ("1.0", "", True),
    ],
)  # fmt: skip
def test_bounds_of_versions(have: str, bounds: str, fits: bool) -> None:
    assert satisfies(have, bounds) == fits


def test_the_file_system_of_a_path(tmp_path: Path) -> None:
    mounts = [
        "/dev/sda1 / ext4 rw 0 0",
        f"server:/x {tmp_path} nfs4 rw 0 0",
        f"tmpfs {tmp_path}/a\\040b tmpfs rw 0 0",
    ]
    assert file_system(tmp_path / "lake" / "ledger.db", mounts) == "nfs4"
    assert file_system(tmp_path / "a b" / "ledger.db", mounts) == "tmpfs"
    assert file_system(Path("/etc"), mounts) == "ext4"
    assert file_system(Path(os.sep), []) == ""


def test_clocks_that_differ() -> None:
    def state(ahead_ms: float) -> Finding:
        return check_clock({"ledger": ahead_ms}, lease_ms=60_000)

    assert [state(each).state for each in (-900, 1_500, -21_000)] == ["ok", "warning", "failed"]
    assert "-21.0 s" in state(-21_000).said
    assert state(-21_000).exit_code == 5
