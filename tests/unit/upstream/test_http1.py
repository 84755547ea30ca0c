"""HTTP as bytes on a socket."""

import asyncio

import pytest

from tests.upstream.client import Upstream
from tests.upstream.config import config_from
from tests.upstream.fixture import StartUpstream

POST = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def upstream(upstreams: StartUpstream) -> Upstream:
    """One that says the same to everything."""
    return upstreams(config_from({"fixed_reply": "yes", "no_meter": True}))


async def talk(upstream: Upstream, *pieces: bytes, replies: int = 1) -> list[int]:
    """Send pieces apart; the statuses of the replies."""
    port = upstream.config.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    statuses = [await read_reply(reader) for _ in range(replies)]
    writer.close()
    await writer.wait_closed()
    return statuses


async def read_reply(reader: asyncio.StreamReader) -> int:
    """One reply's status."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    if b"100 Continue" in head:
        return 100
    await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
    return int(head.split(b" ")[1])


async def test_a_request_may_arrive_byte_by_byte(upstream: Upstream) -> None:
    assert await talk(upstream, *(POST[at : at + 7] for at in range(0, len(POST), 7))) == [200]


async def test_pipelined_requests_are_answered_in_order(upstream: Upstream) -> None:
    assert await talk(upstream, POST + b"GET /nowhere HTTP/1.1\r\n\r\n" + POST, replies=3) == [200, 404, 200]


async def test_header_names_have_no_case(upstream: Upstream) -> None:
    assert await talk(upstream, POST.replace(b"Content-Length", b"CONTENT-length")) == [200]


async def test_an_expecting_client_is_told_to_continue(upstream: Upstream) -> None:
    head, body = POST[:-2].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), POST[-2:]

    assert await talk(upstream, head, body, replies=2) == [100, 200]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            411,
        ),
        (b"POST /v1/chat/completions HTTP/1.1\r\n\r\n", 411),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: two\r\n\r\n", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"nonsense\r\n\r\n", 400),
        (b"x" * 70_000, 431),
    ],
)
async def test_what_cannot_be_read_is_refused(upstream: Upstream, request_: bytes, status: int) -> None:
    assert await talk(upstream, request_) == [status]
