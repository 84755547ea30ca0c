"""What only S3 does: its errors told apart, replies that are lost, stores that break the promise."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Barrier, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline.ports.storage import Storage
from pipeline.storage import open_storage
from pipeline.storage.s3 import S3Storage
from pipeline.storage.s3_location import Location
from schemas.errors import LakeUnreachable, UnconditionalStore


@pytest.fixture
async def store(s3_uri: str) -> AsyncIterator[S3Storage]:
    opened = S3Storage(s3_uri)
    yield opened
    await opened.close()


async def refusal(uri: str) -> str:
    opened = open_storage(uri)
    try:
        with pytest.raises(LakeUnreachable) as caught:
            await opened.probe()
    finally:
        await opened.close()
    assert "not-a-secret" not in str(caught.value)
    return str(caught.value)


async def test_a_missing_bucket_is_named(s3_uri: str) -> None:
    uri = s3_uri.replace("s3://lake-", "s3://none-")
    assert "there is no bucket 'none-" in await refusal(uri)
    assert "aws s3 mb" in await refusal(uri)


async def test_missing_credentials_are_named(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    assert "no AWS credentials were found" in await refusal(s3_uri)


async def test_a_refused_connection_is_named(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Location, "config_options", lambda self: {"retries": {"max_attempts": 1}})
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{unused.getsockname()[1]}"
        uri = f"s3://bucket?endpoint_url={place}"
        assert f"no connection to {place}" in await refusal(uri)


async def test_the_endpoint_may_come_from_the_environment(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, _, options = s3_uri.partition("?")
    monkeypatch.setenv("AWS_ENDPOINT_URL", options.split("&")[0].removeprefix("endpoint_url="))
    opened = open_storage(bare)
    await opened.probe()
    await opened.close()


async def test_a_store_that_ignores_conditions_is_refused(store: S3Storage) -> None:
    def ignore(params: dict[str, Any], **_: Any) -> None:
        params["headers"].pop("If-None-Match", None)

    client = await store._connected()
    client.meta.events.register("before-call.s3.PutObject", ignore)
    with pytest.raises(UnconditionalStore):
        await store.probe()


async def test_a_conflict_is_tried_again(store: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given two answers of 409, the create goes on and wins."""
    from botocore.exceptions import ClientError

    client = await store._connected()
    put, answers = client.put_object, iter([409, 409])

    async def busy(**request: Any) -> Any:
        if next(answers, None):
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")
        return await put(**request)

    monkeypatch.setattr(client, "put_object", busy)
    assert await store.create("k", b"x")
    assert not await store.create("k", b"y")


async def test_a_winner_whose_reply_was_lost_still_wins(s3_uri: str) -> None:
    """The put arrives, its reply does not: the retry meets its own object and knows it."""
    async with losing_replies(s3_uri, lost=1) as uri, aclosing(open_storage(uri)) as opened:
        assert await opened.create("k", b"mine") is True
        assert await opened.create("k", b"mine") is False


async def test_a_loser_whose_reply_was_lost_still_loses(s3_uri: str) -> None:
    async with aclosing(open_storage(s3_uri)) as direct:
        await direct.create("k", b"same bytes")
    async with losing_replies(s3_uri, lost=1) as uri, aclosing(open_storage(uri)) as opened:
        assert await opened.create("k", b"same bytes") is False


def test_a_race_between_processes_of_their_own_loop(s3_uri: str) -> None:
    """Twenty threads, each with its loop and client: one winner."""
    won, start = [], Barrier(20)

    def race(number: int) -> None:
        async def create() -> bool:
            opened = open_storage(s3_uri)
            await opened.list("")  # connected
            await asyncio.to_thread(start.wait)
            result = await opened.create("race", b"%d" % number)
            await opened.close()
            return result

        won.append(asyncio.run(create()))

    threads = [Thread(target=race, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1
    assert len(won) == 20


@asynccontextmanager
async def aclosing(storage: Storage) -> AsyncIterator[Storage]:
    try:
        yield storage
    finally:
        await storage.close()


@asynccontextmanager
async def losing_replies(uri: str, lost: int) -> AsyncIterator[str]:
    """A proxy that lets the first `lost` puts through and cuts their replies."""
    place = uri.partition("endpoint_url=")[2].partition("&")[0]
    address = urlsplit(place)
    left, serving = lost, []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        up_reader, up_writer = await asyncio.open_connection(address.hostname, address.port)
        serving.append(asyncio.create_task(_copy(reader, up_writer)))
        while reply := await up_reader.read(65_536):
            if left and not reply.startswith(b"HTTP/1.1 100"):  # botocore asks before it sends the body
                left -= 1
                break
            writer.write(reply)
        for end in (up_writer, writer):
            end.close()
            await end.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield uri.replace(place, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        await asyncio.gather(*serving)
        await asyncio.sleep(0.1)  # the replies' side sees the end and closes


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()
