"""The HTTP client against servers that say exactly these bytes."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pipeline.providers import connection, http
from pipeline.providers.endpoint import Endpoint, endpoint_of
from pipeline.providers.http import HttpClient
from schemas.records import Reply
from tests.contract.providers.wire import Wire

BODY = b'{"label":"a"}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = await Wire().start()
    yield wire
    await wire.stop()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


def endpoint(wire: Wire, timeout_s: float = 2.0, host: str = "127.0.0.1") -> Endpoint:
    return endpoint_of(f"http://{host}:{wire.port}/v1/x", {"X-A": "b"}, timeout_s)


async def ask(client: HttpClient, wire: Wire, *pieces: bytes | None, timeout_s: float = 2.0) -> Reply:
    wire.pieces.append(list(pieces))
    return await client.post(endpoint(wire, timeout_s), b'{"q":1}', "key-1")


async def test_the_request_on_the_wire(client: HttpClient, wire: Wire) -> None:
    assert (await ask(client, wire, REPLY)).body == BODY
    assert wire.seen == [
        b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-A: b\r\nIdempotency-Key: key-1\r\n"
        b'Content-Length: 7\r\n\r\n{"q":1}' % wire.port
    ]


@pytest.mark.parametrize(
    "reply", [REPLY, CHUNKED + b"4\r\n" + BODY[:4] + b"\r\n9\r\n" + BODY[4:] + b"\r\n0\r\nX-T: 1\r\n\r\n"]
)
async def test_a_reply_may_be_split_anywhere(client: HttpClient, wire: Wire, reply: bytes) -> None:
    for cut in range(1, len(reply)):
        got = await ask(client, wire, reply[:cut], reply[cut:])
        assert (got.status, got.complete, got.body, got.error) == (200, True, BODY, ""), cut
    assert wire.connections == 1


async def test_a_reply_may_come_byte_by_byte(client: HttpClient, wire: Wire) -> None:
    got = await ask(client, wire, *(bytes([byte]) for byte in REPLY))
    assert (got.status, got.complete, got.body) == (200, True, BODY)


@pytest.mark.parametrize(
    "after",
    [b"x", b"\x00\x01", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfoo", REPLY, b"HTTP/1.1 500 No\r\n"],
)
async def test_what_follows_a_reply_belongs_to_no_request(
    after: bytes, client: HttpClient, wire: Wire
) -> None:
    first = await ask(client, wire, REPLY + after)
    second = await ask(client, wire, REPLY)
    assert [first.body, second.body] == [BODY, BODY]
    assert (first.status, first.complete, wire.connections) == (200, True, 2)


async def test_what_comes_unasked_ends_the_connection(client: HttpClient, wire: Wire) -> None:
    wire.pause_s = 0.05
    first = await ask(client, wire, REPLY, REPLY.replace(BODY, b'{"label":"b"}'))
    await asyncio.sleep(0.2)
    second = await ask(client, wire, REPLY)
    assert [first.body, second.body] == [BODY, BODY]
    assert wire.connections == 2


async def test_interim_replies_are_passed_over(client: HttpClient, wire: Wire) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Encoding: gzip\r\n\r\n"
    for _ in range(2):
        got = await ask(client, wire, interim + REPLY)
        assert (got.status, got.complete, got.body) == (200, True, BODY)
    for cut in range(1, len(interim), 7):
        assert (await ask(client, wire, interim[:cut], interim[cut:] + REPLY)).body == BODY
    assert wire.connections == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_replies_without_a_body(status: bytes, client: HttpClient, wire: Wire) -> None:
    for _ in range(2):
        got = await ask(client, wire, b"HTTP/1.1 " + status + b"\r\n\r\n")
        assert (got.status, got.complete, got.body) == (int(status[:3]), True, b"")
    assert wire.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        REPLY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        REPLY.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,  # ends with the connection
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
    ],
)
async def test_a_connection_that_closes_is_not_used_again(
    reply: bytes, client: HttpClient, wire: Wire
) -> None:
    for connections in (1, 2):
        got = await ask(client, wire, reply, None)
        assert (got.status, got.complete, got.body, got.error) == (200, True, BODY, "")
        assert wire.connections == connections


async def test_an_empty_reply_that_ends_with_the_connection(client: HttpClient, wire: Wire) -> None:
    got = await ask(client, wire, b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\n\r\n", None)
    assert (got.status, got.complete, got.body, got.retry_after_s) == (503, True, b"", 2.0)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        REPLY[:-1],
        REPLY[: -len(BODY)],
        CHUNKED,
        CHUNKED + b"d\r\n" + BODY,
        CHUNKED + b"d\r\n" + BODY + b"\r\n",
        CHUNKED + b"d\r\n" + BODY + b"\r\n0\r\n",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nContent-Length: 14\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
    ],
)
async def test_a_reply_that_is_cut_or_broken_has_an_unknown_outcome(
    reply: bytes, client: HttpClient, wire: Wire
) -> None:
    got = await ask(client, wire, reply, None)
    assert (got.sent, got.complete, len(wire.seen)) == (True, False, 1)
    assert got.error
    assert (await ask(client, wire, REPLY)).body == BODY
    assert wire.connections == 2


async def test_a_cut_error_reply_keeps_its_status(client: HttpClient, wire: Wire) -> None:
    got = await ask(client, wire, b"HTTP/1.1 429 Slow\r\nContent-Length: 99\r\n\r\nslow", None)
    assert (got.status, got.sent, got.complete) == (429, True, False)


async def test_headers_without_end(client: HttpClient, wire: Wire) -> None:
    line = b"X-Filler: " + b"y" * 1000 + b"\r\n"
    many = await ask(client, wire, b"HTTP/1.1 200 OK\r\n", *([line] * 100))
    long = await ask(client, wire, b"HTTP/1.1 200 OK\r\nX-Filler: ", *([b"y" * 1000] * 100))
    for got in (many, long):
        assert (got.sent, got.complete) == (True, False)
        assert "headers over" in got.error


async def test_bodies_without_end(client: HttpClient, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_BODY", 1000)
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    good = await ask(client, wire, CHUNKED, *([chunk] * 50))
    bad = await ask(client, wire, CHUNKED.replace(b"200 OK", b"400 No"), *([chunk] * 50))
    assert (good.status, good.complete, len(good.body)) == (200, False, 1000)
    assert (bad.status, bad.complete, len(bad.body)) == (400, True, 1000)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("Deflate", _raw_deflate)]
)
async def test_packed_replies_are_unpacked(
    encoding: str, pack: Callable[[bytes], bytes], client: HttpClient, wire: Wire
) -> None:
    packed = pack(BODY)
    head = f"HTTP/1.1 200 OK\r\nCONTENT-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n"
    got = await ask(client, wire, head.encode() + packed)
    assert (got.complete, got.body) == (True, BODY)


async def test_a_packed_bomb_is_cut(client: HttpClient, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_BODY", 1000)
    packed = gzip.compress(b"x" * 10**6)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    got = await ask(client, wire, head.encode() + packed)
    assert (got.complete, len(got.body)) == (False, 1000)


@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
async def test_what_cannot_be_unpacked_came_all_the_same(
    encoding: bytes, client: HttpClient, wire: Wire
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: " + encoding + b"\r\nContent-Length: 4\r\n\r\n"
    got = await ask(client, wire, head + b"\x01\x02\x03\x04")
    assert (got.complete, got.body) == (True, b"\x01\x02\x03\x04")


async def test_a_call_ends_in_time_though_bytes_keep_coming(client: HttpClient, wire: Wire) -> None:
    wire.pause_s = 0.05
    got = await ask(client, wire, *(bytes([byte]) for byte in REPLY), timeout_s=0.3)
    assert (got.sent, got.complete) == (True, False)
    assert "timeout" in got.error
    assert 250 <= got.latency_ms < 2000


async def test_an_idle_connection_is_closed_in_time(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SWEEP_S", 0.01)
    client = HttpClient(keepalive_s=0.05)
    await ask(client, wire, REPLY)
    await ask(client, wire, REPLY)
    assert wire.connections == 1
    await asyncio.sleep(0.3)
    await ask(client, wire, REPLY)
    assert wire.connections == 2
    await client.close()


async def test_a_connection_found_closed_is_not_written_to(
    client: HttpClient, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed between connecting and sending, which no other client of the same host can bring about."""
    real = http._Pool.connect

    async def connect(pool: Any) -> connection.Connection:
        found = await real(pool)
        found._transport.abort()
        return found

    monkeypatch.setattr(http._Pool, "connect", connect)
    got = await ask(client, wire, REPLY)
    assert (got.status, got.sent, got.complete, wire.seen) == (0, False, False, [])


async def test_a_call_given_up_leaves_no_connection_behind(client: HttpClient, wire: Wire) -> None:
    asking = asyncio.create_task(ask(client, wire, b"HTTP/1.1 200 OK\r\n"))
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await ask(client, wire, REPLY)).body == BODY
    assert wire.connections == 2


async def test_closing_loses_the_calls_in_flight(client: HttpClient, wire: Wire) -> None:
    """Also one whose reply would end with the connection: it is not taken for whole."""
    asking = asyncio.create_task(ask(client, wire, b"HTTP/1.1 200 OK\r\n\r\n{"))
    await asyncio.sleep(0.1)
    await client.close()
    got = await asking
    assert (got.sent, got.complete) == (True, False)


async def test_a_name_that_does_not_resolve(client: HttpClient) -> None:
    for host in ("no-such-host.invalid", "a" * 64 + ".invalid"):
        got = await client.post(endpoint_of(f"http://{host}/", {}, 2.0), b"{}", "k")
        assert (got.status, got.sent, got.complete) == (0, False, False)
        assert got.error


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6(client: HttpClient) -> None:
    try:
        wire = await Wire().start("::1")
    except OSError:
        pytest.skip("no IPv6 here")
    wire.pieces.append([REPLY])
    got = await client.post(endpoint(wire, host="[::1]"), b"{}", "k")
    assert got.body == BODY
    assert b"\r\nHost: [::1]:%d\r\n" % wire.port in wire.seen[0]
    await wire.stop()


async def test_a_name_with_two_addresses_of_which_one_listens(client: HttpClient, wire: Wire) -> None:
    wire.pieces.append([REPLY])
    got = await client.post(endpoint(wire, host="localhost"), b"{}", "k")  # often ::1 first
    assert got.body == BODY
