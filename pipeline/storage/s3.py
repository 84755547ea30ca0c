"""The lake in an S3 bucket. A put is atomic there; `create` is a put that must find nothing."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from random import uniform
from time import time
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import aioboto3
from aiobotocore.config import AioConfig
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipeline.storage.keys import check_key, check_prefix
from pipeline.storage.probe import probe_creates
from pipeline.storage.s3_errors import code, told
from pipeline.storage.s3_location import parse_location
from schemas.errors import LakeUnreachable

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 2**20
_PART = 16 * 2**20  # of a multipart upload; S3 allows 10,000 of them
_MOST_PARTS = 9_000
_PAGE = 1_000  # keys that S3 lists or deletes at once, at most
_FLAT: dict[str, int] = {"max_concurrency": 4, "max_io_queue": 4}  # a queue of 100 parts would be gigabytes
_EXISTS = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_CONFLICTS_BORNE = 8


_CUT = (
    ResponseStreamingError,
    IncompleteReadError,
    ReadTimeoutError,
)  # in mid-body, past botocore's own retries


class S3Storage:
    """One client, made in the loop that first uses it; botocore retries what may be retried."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.location = parse_location(uri)
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def read(self, key: str) -> bytes:
        async with self._asked(key) as (client, at):
            return await _whole(_get, client, at)

    async def fetch(self, key: str, target: Path) -> None:
        """One GET: ranged requests could mix two versions of an object that is being replaced."""
        async with self._asked(key) as (client, at):
            await _whole(_get_into, client, at, target)

    async def write(self, key: str, data: bytes) -> None:
        async with self._asked(key) as (client, at):
            await client.put_object(**at, Body=_body(data))

    async def create(self, key: str, data: bytes) -> bool:
        writer = uuid4().hex
        async with self._asked(key) as (client, at):
            for turn in range(_CONFLICTS_BORNE):
                try:
                    await client.put_object(
                        **at, Body=_body(data), IfNoneMatch="*", Metadata={"writer": writer}
                    )
                    return True
                except ClientError as error:
                    if code(error) in _EXISTS:
                        return await self._is_ours(client, at, writer)
                    if code(error) not in _CONFLICT:
                        raise
                await asyncio.sleep(uniform(0, 0.05 * 2**turn))
        raise LakeUnreachable(
            url=self.uri, why=f"{key!r} stays in conflict with other writers", fix="Run again."
        )

    async def publish(self, key: str, source: Path) -> None:
        size = (await asyncio.to_thread(source.stat)).st_size
        transfer = TransferConfig(
            multipart_threshold=_PART, multipart_chunksize=max(_PART, size // _MOST_PARTS), **_FLAT
        )
        async with self._asked(key) as (client, at):
            await client.upload_file(str(source), at["Bucket"], at["Key"], Config=transfer)
        await asyncio.to_thread(source.unlink)

    async def list(self, prefix: str) -> list[str]:
        root = self.location.prefix
        keys: list[str] = []
        async with self._told():
            client = await self._connected()
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self.location.bucket,
                Prefix=root + check_prefix(prefix),
                PaginationConfig={"PageSize": _PAGE},
            )
            async for page in pages:
                keys += [item["Key"].removeprefix(root) for item in page.get("Contents", ())]
        return sorted(keys)

    async def delete(self, keys: Sequence[str]) -> None:
        names = [{"Key": self.location.prefix + check_key(key)} for key in keys]
        async with self._told():
            client = await self._connected()
            for start in range(0, len(names), _PAGE):
                batch = {"Objects": names[start : start + _PAGE], "Quiet": True}
                reply = await client.delete_objects(Bucket=self.location.bucket, Delete=batch)
                if failed := reply.get("Errors"):
                    raise ClientError({"Error": {"Code": failed[0].get("Code", "")}}, "DeleteObjects")

    async def probe(self) -> None:
        await probe_creates(self)

    async def ahead_ms(self) -> float:
        """By how much the server's clock is ahead of ours, as far as can be told: the Date header has whole seconds."""
        before = time()
        async with self._asked("_probe/clock") as (client, at):
            reply = await client.head_bucket(Bucket=at["Bucket"])
        told = parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
        after = time()
        ahead, unsure = told + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2
        return 0.0 if abs(ahead) <= unsure else ahead * 1000

    async def close(self) -> None:
        stack, self._stack, self._client, self._loop = self._stack, AsyncExitStack(), None, None
        await stack.aclose()

    async def _is_ours(self, client: Any, at: dict[str, str], writer: str) -> bool:
        """A put whose reply was lost is sent again, by botocore or unseen by aiohttp, and then finds itself:
        so every refusal is checked against the writer that the object names."""
        head = await client.head_object(**at)
        return bool(head.get("Metadata", {}).get("writer") == writer)

    @asynccontextmanager
    async def _asked(self, key: str) -> AsyncIterator[tuple[Any, dict[str, str]]]:
        at = {"Bucket": self.location.bucket, "Key": self.location.prefix + check_key(key)}
        async with self._told(key):
            yield await self._connected(), at

    @asynccontextmanager
    async def _told(self, key: str = "") -> AsyncIterator[None]:
        with told(self.location, self.uri, key):
            yield

    async def _connected(self) -> Any:
        if self._client is None or self._loop is not asyncio.get_running_loop():
            await self._connect()
        return self._client

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # A client belongs to the loop it was made in; one of a loop that has ended cannot be closed.
            self._loop, self._client, self._opening = loop, None, asyncio.Lock()
            self._stack = AsyncExitStack()
        async with self._opening:
            if self._client is None:
                session = aioboto3.Session()
                config = AioConfig(**self.location.config_options())
                opened = session.client("s3", config=config, **self.location.client_options())
                self._client = await self._stack.enter_async_context(opened)


async def _whole(get: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """A body that was cut is asked for again from its start."""
    tries = AsyncRetrying(
        retry=retry_if_exception_type(_CUT),
        stop=stop_after_attempt(4),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )
    return await tries(get, *args, **kwargs)


def _body(data: bytes) -> io.BytesIO | bytes:
    """aiohttp warns about bytes beyond a mebibyte and wants a file object."""
    return io.BytesIO(data) if len(data) > 2**20 else data


async def _get(client: Any, at: dict[str, str]) -> bytes:
    body = (await client.get_object(**at))["Body"]
    async with body:
        return bytes(await body.read())


async def _get_into(client: Any, at: dict[str, str], target: Path) -> None:
    body = (await client.get_object(**at))["Body"]
    async with body:  # "as body" would be aiohttp's response, whose errors and length check differ
        with await asyncio.to_thread(target.open, "wb") as file:
            while chunk := await body.read(_CHUNK):
                await asyncio.to_thread(file.write, chunk)
