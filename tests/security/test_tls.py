"""Encrypted and verified, or refused: broker and ledger over TLS, with an authority of one's own."""

import asyncio
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger import open_ledger
from pipeline.settings import Settings
from pipeline.wiring.services import now_ms
from schemas.errors import BrokerUnreachable, LedgerUnreachable
from schemas.ids import AccountId, Nano
from tests.security.tls import Certificates, make_certificates, tls_postgres, tls_redis
from workers.app import make_app, probe_broker
from workers.broker import read_broker

PASSWORD = "canary/pass word@1"
QUOTED = "canary%2Fpass%20word%401"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Readable by the user that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="tierwise-tls-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def made(folder: Path) -> Certificates:
    return make_certificates(folder)


@pytest.fixture(scope="module")
def redis(folder: Path, made: Certificates) -> Iterator[str]:
    place = folder / "redis"
    place.mkdir()
    with tls_redis(place, made, PASSWORD) as port:
        yield f"rediss://:{QUOTED}@127.0.0.1:{port}/0"


@pytest.fixture(scope="module")
def postgres(folder: Path, made: Certificates) -> Iterator[str]:
    place = folder / "postgres"
    place.mkdir()
    with tls_postgres(place, made, PASSWORD) as port:
        yield f"postgresql://postgres:{QUOTED}@127.0.0.1:{port}/postgres"


def probe(url: str) -> None:
    settings = Settings(broker=url)
    with make_app(settings) as app:
        probe_broker(app, url)


def test_redis_over_tls(redis: str, made: Certificates) -> None:
    probe(f"{redis}?ssl_ca_certs={made.authority}")
    probe(f"{redis}?ssl_cert_reqs=none")


def test_redis_of_an_unknown_authority_is_refused(redis: str) -> None:
    with pytest.raises(BrokerUnreachable, match="certificate verify failed") as refused:
        probe(redis)
    assert "canary" not in str(refused.value)


def test_redis_of_another_name_is_refused(redis: str, made: Certificates, tmp_path: Path) -> None:
    other = make_certificates(tmp_path, "DNS:elsewhere.example")
    with tls_redis(tmp_path, other, PASSWORD) as port:
        url = f"rediss://:{QUOTED}@127.0.0.1:{port}/0?ssl_ca_certs={other.authority}"
        with pytest.raises(BrokerUnreachable, match="certificate verify failed"):
            probe(url)
        probe(f"{url}&ssl_check_hostname=false")


def test_a_plain_connection_to_tls_is_refused(redis: str) -> None:
    with pytest.raises(BrokerUnreachable) as refused:
        probe(redis.replace("rediss://", "redis://"))
    assert "canary" not in str(refused.value)


def test_postgresql_over_tls(postgres: str, made: Certificates) -> None:
    async def use() -> None:
        ledger = open_ledger(f"{postgres}?sslmode=verify-full&sslrootcert={made.authority}", clock=now_ms)
        try:
            await ledger.probe()
            await ledger.open_account(AccountId("a"), Nano(1))
        finally:
            await ledger.close()

    asyncio.run(use())


@pytest.mark.parametrize("options", ["?sslmode=verify-full&sslrootcert=system", "?sslmode=disable"])
def test_postgresql_unverified_or_plain_is_refused(postgres: str, options: str) -> None:
    async def use() -> None:
        ledger = open_ledger(postgres + options, clock=now_ms)
        try:
            await ledger.probe()
        finally:
            await ledger.close()

    with pytest.raises(LedgerUnreachable) as refused:
        asyncio.run(use())
    assert "canary" not in str(refused.value)


def test_amqps_verifies_certificate_and_name_by_default() -> None:
    broker = read_broker(Settings(broker="amqps://u:p@mq.example:5671//?ssl_ca_certs=/ca.pem&heartbeat=10"))
    assert broker.tls == {
        "ca_certs": "/ca.pem",
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "mq.example",
    }
    assert broker.url == "amqps://u:p@mq.example:5671//?heartbeat=10"
    assert read_broker(Settings(broker="amqps://mq.example//")).tls == {
        "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "mq.example",
    }  # fmt: skip
    loose = read_broker(Settings(broker="amqps://mq.example//?ssl_cert_reqs=none"))
    assert loose.tls == {"cert_reqs": ssl.CERT_NONE}
    assert read_broker(Settings(broker="amqp://mq.example//")).tls is None


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:canary/1@host//",
        "redis://:canary#1@host:abc/0",
        "amqp://user:canary@host:port//",
        "sqs://KEY:canary@",
        "sqs://?region=x&secret=canary",
        "sqs://?endpoint_url=http://a:canary@host",
        "carrier+pigeon://user:canary@host",
        "rediss://:canary@host?ssl_cert_reqs=canary",
    ],
)
def test_a_broker_url_that_is_none_says_so_without_its_secret(url: str) -> None:
    with pytest.raises(BrokerUnreachable) as refused:
        read_broker(Settings(broker=url))
    assert "canary" not in str(refused.value)
    assert refused.value.fix
