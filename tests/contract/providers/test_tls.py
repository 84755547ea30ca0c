"""TLS: what is verified, and that nothing is sent where it fails."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.providers.endpoint import Endpoint, endpoint_of
from pipeline.providers.http import HttpClient
from tests.contract.providers.wire import Wire, http

BODY = b'{"label":"a"}'
REPLY = http(200, BODY)
ALTERNATIVE = ("-addext", "subjectAltName=DNS:localhost")


def _endpoint(wire: Wire, host: str) -> Endpoint:
    return endpoint_of(f"https://{host}:{wire.port}/v1/x", {}, 2.0)


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this machine, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    options = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        ["openssl", "req", "-x509", "-keyout", path, "-out", path, *options.split(), *ALTERNATIVE],
        capture_output=True,
        check=True,
    )
    return path


@pytest.fixture
async def tls(certificate: Path) -> AsyncIterator[Wire]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    wire = await Wire().start(tls=context)
    yield wire
    await wire.stop()


async def test_https(tls: Wire, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client = HttpClient()
    for _ in range(3):
        tls.pieces.append([REPLY])
        got = await client.post(_endpoint(tls, "localhost"), b"{}", "k")
        assert (got.status, got.body, got.error) == (200, BODY, "")
    assert tls.connections == 1
    await client.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_that_is_not_believed(
    host: str, tls: Wire, certificate: Path, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed by nobody known; or known, of another name."""
    if host == "127.0.0.1":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    got = await client.post(_endpoint(tls, host), b"{}", "k")
    assert (got.status, got.sent, got.complete, tls.seen) == (0, False, False, [])
    assert "CERTIFICATE_VERIFY_FAILED" in got.error


async def test_tls_asked_of_a_plain_server(client: HttpClient) -> None:
    async def says_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Plain\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(says_http, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    got = await client.post(endpoint_of(url, {}, 2.0), b"{}", "k")
    assert (got.status, got.sent, got.complete) == (0, False, False)
    server.close()
