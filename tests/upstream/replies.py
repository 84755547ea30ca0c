"""What the paid endpoints say: a valid request becomes a reply that can be billed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import msgspec

from tests.upstream.answers import Answer, Answers
from tests.upstream.chaos import Kind
from tests.upstream.chat import (
    Completion,
    complete,
    count_prompt,
    last_user_text,
    limit_speech,
    speak,
    system_text,
)
from tests.upstream.config import UpstreamConfig
from tests.upstream.embeddings import embed
from tests.upstream.errors import RefusedError
from tests.upstream.pricing import Price, TokenCounts
from tests.upstream.prompt_cache import Prompt, PromptCache
from tests.upstream.wire import ChatRequest, EmbeddingsRequest, ModelOnly

_CHAT = msgspec.json.Decoder(ChatRequest)
_EMBEDDINGS = msgspec.json.Decoder(EmbeddingsRequest)
_MODEL = msgspec.json.Decoder(ModelOnly)
_UNLIMITED = 1 << 62
_FIXED_INPUT_TOKENS = 16
_MAX_DIMENSIONS = 4096
Decoded = TypeVar("Decoded")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A valid request; `build` makes its completion from what goes wrong and the request's number."""

    model: str | None  # None only where nothing is metered
    build: Callable[[Kind, int], Completion]


class Replies:
    """Prepares replies; RefusedError where a request is not valid."""

    def __init__(self, config: UpstreamConfig, *, answers: Answers | None, prices: dict[str, Price]) -> None:
        self._config = config
        self._answers = answers
        self._prices = prices
        self._cache = PromptCache(config.cached_prefix_tokens)
        self._embedding_models = frozenset(config.embedding_models)
        self._chat_models = frozenset(prices) - self._embedding_models
        self._fixed: dict[str | None, Completion] = {}

    def chat(self, body: bytes) -> Prepared:
        """POST /v1/chat/completions."""
        if self._config.fixed_reply is not None:
            return self._prepare_fixed(body, self._config.fixed_reply)
        request = decode(_CHAT, body)
        _check_chat(request)
        _check_model(request.model, self._chat_models)
        answer = self._answer(request)
        return Prepared(model=request.model, build=partial(self._build_chat, request, answer))

    def embeddings(self, body: bytes) -> Prepared:
        """POST /v1/embeddings."""
        request = decode(_EMBEDDINGS, body)
        _check_model(request.model, self._embedding_models)
        if request.dimensions is not None and not 1 <= request.dimensions <= _MAX_DIMENSIONS:
            raise RefusedError(400, f"dimensions is from 1 to {_MAX_DIMENSIONS}", param="dimensions")
        return Prepared(
            model=request.model, build=lambda kind, number: embed(request, seed=self._config.seed)
        )

    def _answer(self, request: ChatRequest) -> Answer:
        text = last_user_text(request)
        if text is None:
            raise RefusedError(400, "no user message", param="messages")
        answer = self._answers.find(request.model, text) if self._answers is not None else None
        if answer is None:
            raise RefusedError(
                400, "no answer to this text is recorded", code="unknown_text", param="messages"
            )
        return answer

    def _build_chat(self, request: ChatRequest, answer: Answer, kind: Kind, number: int) -> Completion:
        limit = request.limit()
        allowed = _UNLIMITED if limit is None else limit
        reasoning = min(self._config.reasoning_tokens.get(request.model, 0), allowed)
        speech = limit_speech(speak(request, answer, kind), allowed - reasoning)
        output = speech.tokens
        if kind == "overbill":
            output = (output if limit is None else allowed - reasoning) + self._config.overbill_tokens
        writes = self._prices[request.model].has_cache_write
        tokens = replace(self._count_input(request, answer, writes), output=output, reasoning=reasoning)
        return complete(request, speech, tokens, number=number, cache_writes=writes)

    def _count_input(self, request: ChatRequest, answer: Answer, writes: bool) -> TokenCounts:
        tokens = count_prompt(request, answer)
        prompt = Prompt(model=request.model, system=system_text(request), tokens=tokens)
        return self._cache.count(prompt, writes=writes)

    def _prepare_fixed(self, body: bytes, content: str) -> Prepared:
        """Parses no JSON where nothing is metered; else only the model, for its price."""
        model = None if self._config.no_meter else decode(_MODEL, body).model
        if model is not None:
            _check_model(model, self._chat_models)
        if model not in self._fixed:
            self._fixed[model] = _fixed_completion(model or "fixed", content)
        completion = self._fixed[model]
        return Prepared(model=model, build=lambda kind, number: completion)


def decode(decoder: "msgspec.json.Decoder[Decoded]", body: bytes) -> Decoded:
    """The body's JSON; RefusedError where it is not what the endpoint takes."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(400, f"We could not parse the JSON body of your request: {error}") from error


def _check_model(model: str, known: frozenset[str]) -> None:
    if model not in known:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise RefusedError(404, message, code="model_not_found", param="model")


def _check_chat(request: ChatRequest) -> None:
    if request.stream:
        raise RefusedError(400, "streaming is not served here", param="stream")
    if request.n not in (None, 1):
        raise RefusedError(400, "only n = 1 is served here", param="n")
    limit = request.limit()
    if limit is not None and limit < 1:
        raise RefusedError(400, "the token limit is 1 or more", param="max_completion_tokens")


def _fixed_completion(model: str, content: str) -> Completion:
    request = ChatRequest(model=model, messages=[])
    speech = speak(request, Answer(text="", content=content), "ok")
    tokens = TokenCounts(input=_FIXED_INPUT_TOKENS, output=speech.tokens)
    return complete(request, speech, tokens, number=0, cache_writes=False)
