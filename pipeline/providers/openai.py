"""Any endpoint that speaks OpenAI's chat completions, over aiohttp and msgspec."""

import json
import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from multidict import CIMultiDict
from yarl import URL

from pipeline.providers.http import HttpClient, request_timeout
from pipeline.providers.loopback import check_host
from pipeline.providers.openai_reply import read_completion
from schemas.errors import MissingCredential, TierwiseError
from schemas.ids import CallId, Nano
from schemas.money import Price, token_bound
from schemas.records import Completion, Reply, Request

Structured = Literal["json_schema", "json_object", "none"]

# Tokens that a chat template adds around the messages. OpenAI's own is under 16 in all; the longest known,
# gpt-oss's, writes a system message of about 70 tokens.
MESSAGE_OVERHEAD = 16
REQUEST_OVERHEAD = 128

# Fields of the body that would bill more than prompt + max_output_tokens, or that this file writes itself.
_RESERVED = frozenset(
    (
        *("model", "models", "messages", "response_format", "stream", "max_tokens", "max_completion_tokens"),
        *("n", "best_of", "prediction", "tools", "functions", "plugins", "web_search_options"),
        *("modalities", "audio", "echo", "logprobs", "prompt_logprobs"),
    )
)
_CHEAP_TIERS = ("default", "flex")
_PREFIXES = 64  # static parts kept; a job has one or two
_SUFFIX = b"}]}"


class UnboundedField(TierwiseError):
    """Tier {tier}: the extra field {field!r} may not be set: a call's cost would have no bound."""

    exit_code = 2
    fix = "Leave it out of `extra`."


class UnusableCredential(TierwiseError):
    """Tier {tier}: {variable} holds characters that no HTTP header can carry. Nothing was spent."""

    exit_code = 2
    fix = "Export the key again, without line breaks or quotes."


class _Static(msgspec.Struct, frozen=True):
    """What all calls with one system message and schema share."""

    schema: dict[str, Any] | None  # kept alive, so that its identity cannot be reused
    prefix: bytes  # the body up to the document
    tokens: int  # bound on the input tokens of everything but the document


class OpenAIProvider:
    """One model behind one endpoint.

    The document is the last thing in the body: prompt caches hit, and a call's own work is escaping it.
    Source: platform.openai.com/docs/api-reference/chat/create
    """

    local = False

    def __init__(
        self,
        *,
        tier: str,
        model: str,
        base_url: str,
        api_key_env: str | None,
        price: Price,
        http: HttpClient,
        structured: Structured = "json_schema",
        logprobs: bool = False,
        timeout_s: float = 60.0,
        max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens",
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> None:
        """`extra_body` is merged into the body and wins; a field set to None is left out. Raises
        UnboundedField for fields that would break the cost bound, RemoteForbidden under the test switch."""
        self.model = model
        self._tier, self._price, self._http = tier, price, http
        self._structured, self._logprobs, self._max_tokens_field = structured, logprobs, max_tokens_field
        self._extra = _checked_extra(tier, extra_body or {})
        self._url = URL(base_url.rstrip("/") + "/chat/completions")
        self._key_env = api_key_env
        self._key = os.environ.get(api_key_env, "").strip() if api_key_env else ""
        self._headers = _headers(self._key, extra_headers or {})
        self._timeout = request_timeout(timeout_s)
        self._static: dict[tuple[object, ...], _Static] = {}
        check_host(self._url.host or "")

    def check(self) -> None:
        """Raise MissingCredential, UnusableCredential or RemoteForbidden. Sends nothing."""
        check_host(self._url.host or "")
        if self._key_env and not self._key:
            raise MissingCredential(tier=self._tier, variable=self._key_env)
        if not (self._key.isascii() and self._key.isprintable()):
            raise UnusableCredential(tier=self._tier, variable=self._key_env)

    def encode(self, request: Request) -> bytes:
        """Deterministic: equal requests give equal bytes."""
        return self._static_of(request).prefix + _json_text(request.user) + _SUFFIX

    def bound(self, request: Request) -> Nano:
        """Bytes stand for tokens: one token is at least one byte of the text or of a normal form of it."""
        tokens = self._static_of(request).tokens + token_bound(request.user)
        return self._price.bound(tokens, request.max_output_tokens)

    async def send(self, body: bytes, key: CallId) -> Reply:
        """The call's id goes along as Idempotency-Key, for endpoints that honour it."""
        headers = self._headers.copy()
        headers["Idempotency-Key"] = key
        return await self._http.post(self._url, body, headers, self._timeout)

    def read(self, body: bytes) -> Completion:
        return read_completion(body)

    def cost(self, completion: Completion) -> Nano | None:
        """None when the reply carried no usage."""
        return None if completion.usage is None else self._price.cost(completion.usage)

    async def close(self) -> None:
        """The HTTP client is shared; whoever made it closes it."""

    def _static_of(self, request: Request) -> _Static:
        key = (
            request.system,
            id(request.schema),
            request.max_output_tokens,
            request.temperature,
            request.logprobs,
        )
        static = self._static.get(key)
        if static is None:
            if len(self._static) >= _PREFIXES:
                self._static.clear()
            static = self._static[key] = self._build_static(request)
        return static

    def _build_static(self, request: Request) -> _Static:
        settings = {**self._settings(request), **self._extra}
        head = _json_text({name: value for name, value in settings.items() if value is not None})
        system = _json_text({"role": "system", "content": request.system}) + b"," if request.system else b""
        prefix = head[:-1] + b',"messages":[' + system + b'{"role":"user","content":'
        tokens = (
            token_bound(request.system)
            + token_bound(head.decode())  # schema, format and vendor fields, with their names
            + 2 * MESSAGE_OVERHEAD
            + REQUEST_OVERHEAD
        )
        return _Static(request.schema, prefix, tokens)

    def _settings(self, request: Request) -> dict[str, Any]:
        settings: dict[str, Any] = {"model": self.model}
        if request.schema is not None and self._structured == "json_schema":
            settings["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": request.schema},
            }
        elif request.schema is not None and self._structured == "json_object":
            settings["response_format"] = {"type": "json_object"}
        settings[self._max_tokens_field] = request.max_output_tokens
        settings["temperature"] = request.temperature
        if request.logprobs and self._logprobs:
            settings["logprobs"] = True
        return settings


def _json_text(value: object) -> bytes:
    """JSON; half a surrogate pair, which UTF-8 cannot carry, becomes a question mark."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        whole = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return whole.encode("utf-8", "replace")


def _headers(key: str, extra: Mapping[str, str]) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict(extra)
    headers["Content-Type"] = "application/json"
    headers["Accept"] = "application/json"
    headers["Accept-Encoding"] = "identity"  # replies are small; unpacking costs more than it saves
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _checked_extra(tier: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    for field, value in extra.items():
        if field in _RESERVED:
            raise UnboundedField(tier=tier, field=field)
        if field == "service_tier" and value not in (*_CHEAP_TIERS, None):
            raise UnboundedField(tier=tier, field=f"service_tier: {value}")
    return dict(extra)
