"""Secrets come from the environment and go nowhere: canaries are planted, whole jobs run, everything is searched."""

import asyncio
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis
from sqlalchemy import create_engine, inspect, text

from tests.end_to_end.command import Tierwise, patched, workers
from tests.end_to_end.conftest import write_spec
from tests.end_to_end.inside import tierwise
from tests.jobs import write_documents
from tests.s3server.server import start_s3_server
from tests.security.echo import echo_server
from tests.security.tls import make_certificates, tls_redis
from tests.services import postgresql_schema

KEY = "canary-key/7d1f+abc=="
PASSWORD = "canary-password-51c0"
AWS = "canary/aws+secret5e3a"
TOKEN = "canary-session-token-99"
CANARIES = ("canary", "Y2FuYXJ5")  # and its base64
TIERS = ("echo-401", "echo-500", "echo-429", "echo-200", "good")


def spec_of(folder: Path, port: int, tiers: tuple[str, ...] = TIERS) -> dict[str, Any]:
    source = write_documents(folder / "documents.parquet", ["one", "two", "three"], ["yes", "yes", "no"])
    return {
        "name": "leaky",
        "task": {"kind": "classify", "instructions": "Say yes or no.", "labels": ["yes", "no"]},
        "input": {"path": str(source), "id": "id", "gold": "gold"},
        "tiers": [
            {
                "name": model, "provider": "openai", "model": model, "base_url": f"http://127.0.0.1:{port}/v1",
                "api_key_env": "PROVIDER_KEY", "price": {"input": "1", "output": "1"},
                "retries": 1, "when_down": "skip", "accept": 0.5,
            }
            for model in tiers
        ],
        "budget": {"usd": "1"},
    }  # fmt: skip


@pytest.fixture
def provider() -> Iterator[Any]:
    with echo_server() as server:
        yield server


def search(where: str, content: str | bytes) -> None:
    found = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    for canary in CANARIES:
        at = found.find(canary.encode())
        assert at < 0, f"{where}: …{found[max(0, at - 80) : at + 60]!r}…"


def search_objects(objects: dict[str, bytes]) -> None:
    """Every byte written, and every value in what is compressed."""
    for name, data in objects.items():
        search(name, name)
        search(name, data)
        if name.endswith(".parquet"):
            search(f"{name}, unpacked", str(pq.read_table(io.BytesIO(data)).to_pydict()))


def search_folder(folder: Path) -> None:
    objects = {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    search_objects(objects)
    for path in folder.rglob("ledger.db"):
        with sqlite3.connect(path) as ledger:
            search(str(path), "\n".join(ledger.iterdump()))
        ledger.close()


def search_lake(place: Tierwise) -> None:
    async def read() -> dict[str, bytes]:
        lake = place.lake()
        try:
            return {key: await lake.read(key) for key in await lake.list("")}
        finally:
            await lake.close()

    with patched(place.settings):
        search_objects(asyncio.run(read()))


def search_postgresql(url: str) -> None:
    plain, _, schema = url.partition("?schema=")
    engine = create_engine(plain.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names(schema=schema)
        assert "calls" in tables
        for table in tables:
            for row in connection.execute(text(f'SELECT * FROM "{schema}"."{table}"')):
                search(
                    f"table {table}",
                    str([bytes(cell) if isinstance(cell, memoryview) else cell for cell in row]),
                )
    engine.dispose()


def test_a_local_job_keeps_its_key(place: Tierwise, provider: Any) -> None:
    # Given a provider that repeats the key in its errors, its answers and its headers
    place = Tierwise(folder=place.folder, settings={"PROVIDER_KEY": KEY})
    spec = write_spec(place, spec_of(place.folder, provider.server_port))
    # When a job runs to its end, and everything is asked about it
    said = [tierwise(place, "run", spec, "--job", "j", code=None), tierwise(place, "estimate", spec)]
    assert f"Bearer {KEY}" in provider.keys
    for command in (
        ("status",), ("status", "j"), ("report", "j"), ("report", "j", "-o", "report.html"), ("why", "j", "q0"),
        ("query", "FROM calls"), ("query", "FROM results"), ("query", "FROM decisions"), ("query", "FROM jobs"),
        ("query", "SELECT current_setting('allowed_directories')"), ("doctor",), ("schema",),
    ):  # fmt: skip
        said.append(tierwise(place, *command))
        if command[0] not in ("schema",):
            said.append(tierwise(place, *command, "--json"))
    # Then the key is in nothing that was printed or written
    for each in said:
        search("output", each.out + each.err)
    search_folder(place.folder)
    # And the attempts that repeated it are all there, each with the reply that was concealed
    rows = place.rows("SELECT DISTINCT tier, outcome FROM calls")
    assert {row["tier"] for row in rows} == set(TIERS)
    with sqlite3.connect(place.folder / "lake" / "_ledger" / "ledger.db") as ledger:
        bodies = [row[0] for row in ledger.execute("SELECT body FROM calls WHERE tier = 'echo-200'")]
    ledger.close()
    assert all(json.loads(body)["id"] == "Bearer ***" for body in bodies)


def test_a_shared_job_keeps_every_secret(tmp_path: Path, provider: Any) -> None:
    # Given a broker, a ledger and a store that each want a secret, all of them canaries
    with ExitStack() as stack:
        made = make_certificates(tmp_path)
        broker = tmp_path / "redis"
        broker.mkdir()
        port = stack.enter_context(tls_redis(broker, made, PASSWORD))
        ledger = stack.enter_context(postgresql_schema())
        server = stack.enter_context(start_s3_server(tmp_path / "moto.log"))
        folder = tmp_path / "place"
        folder.mkdir()
        place = Tierwise(
            folder=folder,
            settings={
                "PROVIDER_KEY": KEY,
                "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": AWS, "AWS_SESSION_TOKEN": TOKEN,
                "TIERWISE_LAKE": server.make_bucket("lake"),
                "TIERWISE_LEDGER": ledger.replace("postgres@", f"postgres:{PASSWORD}@"),
                "TIERWISE_BROKER": f"rediss://:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={made.authority}",
            },
        )  # fmt: skip
        spec = write_spec(place, spec_of(folder, provider.server_port))
        # When the job goes over the broker to a worker that logs all it can
        with workers(place, 1, "--log-level", "debug"):
            said = [tierwise(place, "submit", spec, "--job", "j")]
            place.wait_closed("j")
        said += [
            tierwise(place, *command)
            for command in (("status", "j", "--json"), ("report", "j", "-o", "r.html"), ("doctor", "--json"))
        ]
        # Then no secret is in the output, the log, the lake, the ledger or the broker
        for each in said:
            search("output", each.out + each.err)
        assert re.search(r"batch j/1/0, .*: committed", (folder / "workers.log").read_text())
        search_folder(folder)
        search_lake(place)
        search_postgresql(ledger)
        client = redis.Redis(port=port, password=PASSWORD, ssl=True, ssl_ca_certs=str(made.authority))
        with client:
            keys = list(client.scan_iter())
            search("redis", str([(key, client.dump(key)) for key in keys]))
        search("moto", (tmp_path / "moto.log").read_bytes())


BAD = {
    "ledger": {"TIERWISE_LEDGER": f"postgresql://u:{PASSWORD}@127.0.0.1:1/db?connect_timeout=1"},
    "ledger's query": {"TIERWISE_LEDGER": f"postgresql://u@127.0.0.1:1/db?password={PASSWORD}"},
    "ledger's port": {"TIERWISE_LEDGER": f"postgresql://u:p/x@127.0.0.1:{PASSWORD}/db"},
    "ledger's scheme": {"TIERWISE_LEDGER": f"mysql://u:{PASSWORD}@127.0.0.1/db"},
    "broker": {"TIERWISE_BROKER": f"amqp://u:{PASSWORD}@127.0.0.1:1//"},
    "rejected": {"TIERWISE_BROKER": f"amqp://{PASSWORD}:{PASSWORD}@127.0.0.1:5672//"},
    "broker's port": {"TIERWISE_BROKER": f"redis://:{PASSWORD}@127.0.0.1:{PASSWORD}/0"},
    "broker's scheme": {"TIERWISE_BROKER": f"zeromq://u:{PASSWORD}@127.0.0.1"},
    "lake": {"TIERWISE_LAKE": f"s3://KEY:{PASSWORD}@bucket/prefix"},
    "lake's endpoint": {"TIERWISE_LAKE": f"s3://bucket?endpoint_url=http://u:{PASSWORD}@127.0.0.1:1"},
    "lake's options": {"TIERWISE_LAKE": f"s3://bucket?secret={PASSWORD}"},
    "lake's scheme": {"TIERWISE_LAKE": f"ftp://u:{PASSWORD}@host/lake"},
    "lake's file": {"TIERWISE_LAKE": f"file://u:{PASSWORD}@host/lake"},
    "aws": {
        "TIERWISE_LAKE": "s3://bucket?endpoint_url=http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": AWS, "AWS_SESSION_TOKEN": TOKEN,
        "AWS_MAX_ATTEMPTS": "1",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_service_out_of_reach_is_said_without_its_secret(
    place: Tierwise, name: str, form: tuple[str, ...]
) -> None:
    place = Tierwise(folder=place.folder, settings={**BAD[name], "PROVIDER_KEY": KEY})
    spec = write_spec(place, spec_of(place.folder, 1))
    for command in (("doctor",), ("submit", spec) if "TIERWISE_BROKER" in BAD[name] else ("run", spec)):
        said = tierwise(place, *command, *form, code=None)
        assert said.code in (2, 5)
        assert said.out + said.err
        search(name, said.out + said.err)
    search_folder(place.folder)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("tiers", 0, "api_key_env"), "sk-canary0123456789abcdef"),
        (("tiers", 0, "api_key_env"), "canary0123456789abcdef"),
        (("tiers", 0, "api_key"), "canary-plain"),
        (("tiers", 0, "extra"), {"api_key": "canary-plain"}),
        (("tiers", 0, "extra"), {"Authorization": "Bearer canary-plain"}),
        (("tiers", 0, "extra"), {"user": "sk-canary0123456789abcdef"}),
        (("tiers", 0, "base_url"), "https://user:canary@host/v1"),
        (("tiers", 0, "base_url"), "https://host/v1?key=canary"),
        (("tiers", 0, "timeout_s"), "sk-canary0123456789abcdef"),
        (("tiers", 0, "provider"), "sk-canary0123456789abcdef"),
        (("tiers", 0, "name"), "sk-canary0123456789abcdef sk-canary0123456789abcdef"),
        (("budget", "usd"), "sk-canary0123456789abcdef"),
        (("task", "instructions"), "Use sk-canary0123456789abcdef."),
        (("output",), {"lake": "https://user:canary@host/lake"}),
        (("sk-canary0123456789abcdef",), "1"),
    ],
)
def test_a_spec_with_a_secret_is_refused_and_the_secret_not_repeated(
    place: Tierwise, where: tuple[Any, ...], value: Any
) -> None:
    place = Tierwise(folder=place.folder, settings={"PROVIDER_KEY": KEY})
    spec = spec_of(place.folder, 1)
    here: Any = spec
    for step in where[:-1]:
        here = here[step]
    here[where[-1]] = value
    path = write_spec(place, spec)
    for form in ((), ("--json",)):
        said = tierwise(place, "run", path, *form, code=2)
        search("output", said.out + said.err)
    assert not (place.folder / "lake").exists()


def test_a_missing_key_names_its_variable_alone(place: Tierwise) -> None:
    path = write_spec(place, spec_of(place.folder, 1))
    assert "PROVIDER_KEY" in tierwise(place, "run", path, code=2).err


@pytest.mark.parametrize("place_of_it", ["toml", "option"])
def test_passwords_are_taken_from_the_environment_alone(place: Tierwise, place_of_it: str) -> None:
    url = f"postgresql://u:{PASSWORD}@127.0.0.1:1/db"
    if place_of_it == "toml":
        (place.folder / "tierwise.toml").write_text(f'ledger = "{url}"\n')
    said = tierwise(place, "status", *(() if place_of_it == "toml" else ("--ledger", url)), code=2)
    assert "TIERWISE_LEDGER" in said.err
    search("output", said.out + said.err)
