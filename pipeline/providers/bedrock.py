"""Models on Amazon Bedrock, through the Converse API and aioboto3."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pipeline.providers.bedrock_reply import failed, read_converse
from pipeline.providers.conceal import conceal
from pipeline.providers.endpoint import CONNECT_S
from pipeline.providers.loopback import check_host
from schemas.errors import TierwiseError
from schemas.ids import CallId, Nano
from schemas.money import Price, token_bound
from schemas.records import Completion, Reply, Request
from schemas.secrets import Concealer

MESSAGE_OVERHEAD = 16  # tokens that a chat template adds
REQUEST_OVERHEAD = 128
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK")


class MissingAwsCredential(TierwiseError):
    """Tier {tier} found no AWS credentials ({why}). Nothing was spent."""

    exit_code = 2
    fix = "Set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run under a role."


class MissingAwsRegion(TierwiseError):
    """Tier {tier} names no AWS region. Nothing was spent."""

    exit_code = 2
    fix = "Write the tier's region, or export AWS_DEFAULT_REGION."


class BedrockProvider:
    """One model in one region. Retries of botocore are off: they would send without a hold.

    Replies are journalled as canonical JSON, since the SDK hands out a parsed object. The schema of a request
    is not sent: Converse takes none; write it into the prompt.
    Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
    """

    local = False

    def __init__(
        self,
        *,
        tier: str,
        model: str,
        price: Price,
        region: str | None = None,
        endpoint_url: str | None = None,
        timeout_s: float = 60.0,
        extra_body: Mapping[str, Any] | None = None,
        max_connections: int = 256,
    ) -> None:
        """`extra_body` becomes additionalModelRequestFields. Raises RemoteForbidden under the test switch."""
        self.model = model
        self._tier, self._price, self._timeout_s = tier, price, timeout_s
        self._region, self._endpoint_url = region, endpoint_url
        self._extra = dict(extra_body or {})
        self._connections = max_connections
        self._concealer = Concealer(*(os.environ.get(name) for name in SECRETS))
        self._session: Any = None
        self._client: Any = None
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        check_host(self._host())

    def check(self) -> None:
        """Raise MissingAwsCredential, MissingAwsRegion or RemoteForbidden. Sends nothing to the model."""
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        check_host(self._host())
        session = Session()
        if not (self._region or session.get_config_variable("region")):
            raise MissingAwsRegion(tier=self._tier)
        try:
            found = session.get_credentials() is not None
        except BotoCoreError as error:
            raise MissingAwsCredential(tier=self._tier, why=error) from None
        if not found:
            raise MissingAwsCredential(tier=self._tier, why="in the environment, a profile or a role")

    def encode(self, request: Request) -> bytes:
        """Canonical JSON of the call's arguments; the SDK signs and sends them."""
        arguments: dict[str, Any] = {
            "modelId": self.model,
            "messages": [*_shown(request), _message("user", request.user)],
            "inferenceConfig": {"maxTokens": request.max_output_tokens, "temperature": request.temperature},
        }
        if request.system:
            arguments["system"] = [{"text": _clean(request.system)}]
        if self._extra:
            arguments["additionalModelRequestFields"] = self._extra
        return msgspec.json.encode(arguments, order="sorted")

    def bound(self, request: Request) -> Nano:
        """Bytes stand for tokens: one token is at least one byte of the text or of a normal form of it."""
        tokens = token_bound(request.system) + token_bound(request.user)
        for text, reply in request.examples:
            tokens += token_bound(text) + token_bound(reply) + 2 * MESSAGE_OVERHEAD
        if self._extra:
            tokens += token_bound(msgspec.json.encode(self._extra).decode())
        overhead = 2 * MESSAGE_OVERHEAD + REQUEST_OVERHEAD
        return self._price.bound(tokens + overhead, request.max_output_tokens)

    async def send(self, body: bytes, key: CallId) -> Reply:
        """Converse knows no idempotency key; `key` stays here."""
        began = perf_counter()
        try:
            client = await self._connected()
        except Exception as error:  # credentials, region, a bad endpoint: nothing has left
            text = f"{type(error).__name__}: {error}"[:500]
            return conceal(Reply(status=0, sent=False, complete=False, error=text), self._concealer)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await client.converse(**msgspec.json.decode(body))
        except Exception as error:
            reply = failed(error, latency_ms=round((perf_counter() - began) * 1000))
            return conceal(reply, self._concealer)
        response.pop("ResponseMetadata", None)
        reply = Reply(
            status=200,
            body=msgspec.json.encode(response, order="sorted"),
            latency_ms=round((perf_counter() - began) * 1000),
        )
        return conceal(reply, self._concealer)

    def read(self, body: bytes) -> Completion:
        return read_converse(body)

    def cost(self, completion: Completion) -> Nano | None:
        """None when the reply carried no usage."""
        return None if completion.usage is None else self._price.cost(completion.usage)

    async def close(self) -> None:
        self._client = None
        await self._stack.aclose()

    async def _connected(self) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._open()
        return self._client

    async def _open(self) -> Any:
        import aioboto3
        from aiobotocore.config import AioConfig

        config = AioConfig(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(CONNECT_S, self._timeout_s / 2),
            read_timeout=self._timeout_s,
            max_pool_connections=self._connections,
        )
        self._session = aioboto3.Session(region_name=self._region)
        return await self._stack.enter_async_context(
            self._session.client("bedrock-runtime", endpoint_url=self._endpoint_url, config=config)
        )

    def _host(self) -> str:
        if self._endpoint_url:
            return urlsplit(self._endpoint_url).hostname or ""
        return f"bedrock-runtime.{self._region or 'default'}.amazonaws.com"


def _shown(request: Request) -> Iterator[dict[str, Any]]:
    for text, reply in request.examples:
        yield _message("user", text)
        yield _message("assistant", reply)


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"text": _clean(text)}]}


def _clean(text: str) -> str:
    """Half a surrogate pair, which UTF-8 cannot carry, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
