"""Any endpoint that speaks OpenAI's chat completions, read and written by msgspec."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pipeline.providers.http import HttpClient
from pipeline.providers.openai_door import OpenAIDoor, json_text
from pipeline.providers.openai_reply import read_completion
from schemas.errors import TierwiseError
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
_REPLY, _NEXT = b'},{"role":"assistant","content":', b'},{"role":"user","content":'
_SUFFIX = b"}]}"


class UnboundedField(TierwiseError):
    """Tier {tier}: the extra field {field!r} may not be set: a call's cost would have no bound."""

    exit_code = 2
    fix = "Leave it out of `extra`."


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
        self._price = price
        self._structured, self._logprobs, self._max_tokens_field = structured, logprobs, max_tokens_field
        self._extra = _checked_extra(tier, extra_body or {})
        self._door = OpenAIDoor(
            tier=tier,
            url=base_url.rstrip("/") + "/chat/completions",
            api_key_env=api_key_env,
            http=http,
            timeout_s=timeout_s,
            extra_headers=extra_headers,
        )
        self._static: dict[tuple[object, ...], _Static] = {}

    def check(self) -> None:
        """Raise MissingCredential, UnusableCredential or RemoteForbidden. Sends nothing."""
        self._door.check()

    def encode(self, request: Request) -> bytes:
        """Deterministic: equal requests give equal bytes."""
        prefix = self._static_of(request).prefix
        if request.examples:
            said = (json_text(text) + _REPLY + json_text(reply) + _NEXT for text, reply in request.examples)
            prefix += b"".join(said)
        return prefix + json_text(request.user) + _SUFFIX

    def bound(self, request: Request) -> Nano:
        """Bytes stand for tokens: one token is at least one byte of the text or of a normal form of it."""
        tokens = self._static_of(request).tokens + token_bound(request.user)
        for text, reply in request.examples:
            tokens += token_bound(text) + token_bound(reply) + 2 * MESSAGE_OVERHEAD
        return self._price.bound(tokens, request.max_output_tokens)

    async def send(self, body: bytes, key: CallId) -> Reply:
        """The call's id goes along as Idempotency-Key, for endpoints that honour it."""
        return await self._door.send(body, key)

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
        head = json_text({name: value for name, value in settings.items() if value is not None})
        system = json_text({"role": "system", "content": request.system}) + b"," if request.system else b""
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


def _checked_extra(tier: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    for field, value in extra.items():
        if field in _RESERVED:
            raise UnboundedField(tier=tier, field=field)
        if field == "service_tier" and value not in (*_CHEAP_TIERS, None):
            raise UnboundedField(tier=tier, field=f"service_tier: {value}")
    return dict(extra)
