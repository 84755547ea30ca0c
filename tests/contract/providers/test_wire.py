"""What a provider makes of a wire that misbehaves. Each call must reach the server at most once."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.ports.provider import Provider
from schemas.ids import CallId
from schemas.records import Reply
from tests.contract.providers.rigs import WIRED, Rig, request
from tests.contract.providers.wire import Script, Server, cuts, cuts_midway, hangs, resets, talks_nonsense


@pytest.fixture(params=WIRED, ids=lambda rig: rig.name)
def rig(request: pytest.FixtureRequest) -> Rig:
    rig: Rig = request.param
    return rig


@pytest.fixture
async def provider(rig: Rig, server: Server, tmp_path: Path) -> AsyncIterator[Provider]:
    provider = rig.make(server.url, tmp_path)
    yield provider
    await _close(provider)


async def _close(provider: Provider) -> None:
    await provider.close()
    if hasattr(provider, "_door"):
        await provider._door._http.close()


async def _ask(provider: Provider, server: Server, script: Script | None) -> Reply:
    assert script is not None
    server.script = script
    return await provider.send(provider.encode(request()), CallId("call-1"))


async def test_throttling_is_a_complete_reply_with_a_time_to_wait(
    rig: Rig, provider: Provider, server: Server
) -> None:
    reply = await _ask(provider, server, rig.throttled)
    assert (reply.status, reply.complete, reply.sent, reply.retry_after_s) == (429, True, True, 7.0)
    assert b"slow down" in reply.body
    assert len(server.requests) == 1


async def test_errors_are_complete_replies(rig: Rig, provider: Provider, server: Server) -> None:
    failing = await _ask(provider, server, rig.failing)
    invalid = await _ask(provider, server, rig.invalid)
    assert (failing.status, failing.complete, failing.sent) == (500, True, True)
    assert (invalid.status, invalid.complete, invalid.sent) == (400, True, True)
    assert b"no such field" in invalid.body
    assert len(server.requests) == 2


@pytest.mark.parametrize("script", [hangs, cuts, resets, cuts_midway, talks_nonsense])
async def test_after_sending_the_outcome_is_unknown(
    script: Script, provider: Provider, server: Server
) -> None:
    reply = await _ask(provider, server, script)
    assert (reply.sent, reply.complete) == (True, False)
    assert reply.error
    assert len(server.requests) == 1


@pytest.mark.parametrize("script", [cuts, resets])
async def test_a_reused_connection_that_breaks_is_not_tried_again(
    script: Script, rig: Rig, provider: Provider, server: Server
) -> None:
    assert (await _ask(provider, server, rig.ok)).status == 200

    reply = await _ask(provider, server, script)

    assert (reply.sent, reply.complete) == (True, False)
    assert (len(server.requests), server.connections) == (2, 1)


async def test_a_connection_closed_while_idle_costs_nothing(
    rig: Rig, provider: Provider, server: Server
) -> None:
    async def answers_and_closes(writer: asyncio.StreamWriter) -> None:
        assert rig.ok is not None
        await rig.ok(writer)
        writer.close()

    first = await _ask(provider, server, answers_and_closes)
    await asyncio.sleep(0.05)
    second = await _ask(provider, server, rig.ok)
    assert (first.status, second.status, server.connections) == (200, 200, 2)


async def test_where_nobody_listens_nothing_is_sent(rig: Rig, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        provider = rig.make(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path)
        reply = await provider.send(provider.encode(request()), CallId("call-1"))
        await _close(provider)
    assert (reply.status, reply.sent, reply.complete) == (0, False, False)
    assert reply.error


async def test_where_nobody_accepts_nothing_is_sent(rig: Rig, tmp_path: Path) -> None:
    with socket.socket() as deaf:  # a full backlog: the handshake never ends
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [_knock(deaf) for _ in range(4)]
        provider = rig.make(f"http://127.0.0.1:{deaf.getsockname()[1]}", tmp_path)
        reply = await provider.send(provider.encode(request()), CallId("call-1"))
        await _close(provider)
        for filler in fillers:
            filler.close()
    assert (reply.status, reply.sent, reply.complete) == (0, False, False)


def _knock(deaf: socket.socket) -> socket.socket:
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(deaf.getsockname())
    return filler


async def test_many_calls_share_the_pool(rig: Rig, provider: Provider, server: Server) -> None:
    replies = await asyncio.gather(*(_ask(provider, server, rig.ok) for _ in range(20)))
    assert {reply.status for reply in replies} == {200}
    assert len(server.requests) == 20


async def test_cancelling_is_not_swallowed(provider: Provider, server: Server) -> None:
    task = asyncio.create_task(_ask(provider, server, hangs))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
