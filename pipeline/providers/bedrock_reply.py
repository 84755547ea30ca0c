"""Reading what Bedrock's Converse gives back: completions, and the errors of its SDK."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.providers.retry_after import retry_after
from schemas.money import Usage
from schemas.records import Completion, FinishReason, Reply

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "refusal",
}
# Where the SDK gives no HTTP status, or one that says less than the code.
_STATUS = {
    "ThrottlingException": 429,
    "ServiceQuotaExceededException": 429,
    "ModelNotReadyException": 429,
    "ValidationException": 400,
    "AccessDeniedException": 403,
    "UnrecognizedClientException": 403,
    "ExpiredTokenException": 403,
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 504,
    "ModelErrorException": 500,  # 424 on the wire, after the model has worked
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}


class _Block(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: list[_Block] = []


class _Output(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    inputTokens: int | None = None
    outputTokens: int | None = None
    totalTokens: int | None = None
    cacheReadInputTokens: int | None = None
    cacheWriteInputTokens: int | None = None


class _Converse(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw()
    stopReason: str = ""
    usage: msgspec.Raw = msgspec.Raw()


_CONVERSE = msgspec.json.Decoder(_Converse)
_OUTPUT = msgspec.json.Decoder(_Output)
_USAGE = msgspec.json.Decoder(_Usage)


def read_converse(body: bytes) -> Completion:
    """Read a complete reply; what cannot be read is `malformed`, and keeps the usage where that was readable.

    Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
    """
    try:
        reply = _CONVERSE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Completion(text="", finish_reason="malformed")
    usage = _read_usage(reply.usage)
    try:
        blocks = _OUTPUT.decode(reply.output).message.content
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Completion(text="", finish_reason="malformed", usage=usage)
    text = "".join(block.text or "" for block in blocks)
    finish = _FINISH.get(reply.stopReason, "malformed")
    if finish == "stop" and not text:
        finish = "malformed"
    return Completion(text=text, finish_reason=finish, usage=usage)


def _read_usage(raw: msgspec.Raw) -> Usage | None:
    """Bedrock's classes are disjoint already; what its total has over them is charged as output."""
    try:
        said = _USAGE.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if said.inputTokens is None or said.outputTokens is None:
        return None
    counts = [said.inputTokens, said.cacheReadInputTokens, said.cacheWriteInputTokens, said.outputTokens]
    fresh, cached, written, output = (max(0, count or 0) for count in counts)
    excess = max(0, (said.totalTokens or 0) - (fresh + cached + written + output))
    return Usage(input=fresh, cached_input=cached, cache_write=written, output=output + excess)


def failed(error: Exception, *, latency_ms: int) -> Reply:
    """What is known after the SDK raised: refused with a status, never sent, or unknown."""
    from botocore.exceptions import ClientError

    text = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, ClientError):
        return _refused(error.response, text, latency_ms)
    return Reply(status=0, sent=not _never_sent(error), complete=False, error=text, latency_ms=latency_ms)


def _refused(response: dict[str, Any], text: str, latency_ms: int) -> Reply:
    metadata = response.get("ResponseMetadata", {})
    said = response.get("Error", {})
    status = _STATUS.get(said.get("Code", ""), metadata.get("HTTPStatusCode", 500))
    return Reply(
        status=status,
        body=msgspec.json.encode(said, order="sorted"),
        retry_after_s=retry_after(_wire_form(metadata.get("HTTPHeaders", {}))),
        error=text,
        latency_ms=latency_ms,
    )


def _wire_form(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def _never_sent(error: Exception) -> bool:
    """aiobotocore calls a connection reset after sending EndpointConnectionError too: its cause decides."""
    import aiohttp
    from botocore import exceptions

    if isinstance(error, asyncio.TimeoutError):
        return False
    if isinstance(error, exceptions.EndpointConnectionError):
        cause = error.kwargs.get("error")
        return isinstance(cause, aiohttp.ClientConnectorError) or (
            isinstance(cause, OSError) and not isinstance(cause, aiohttp.ClientError)
        )
    return isinstance(
        error,
        exceptions.ConnectTimeoutError
        | exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.ParamValidationError
        | exceptions.SSLError
        | exceptions.ProxyConnectionError,
    )
