"""The shapes on the wire, after OpenAI's API reference (chat completions, embeddings, models, errors)."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Part(msgspec.Struct, frozen=True):
    """One piece of a message's content; only text counts."""

    type: str = "text"
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    """A message of the request."""

    role: str
    content: str | list[Part] | None = None

    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())


class JsonSchema(msgspec.Struct, frozen=True):
    """The named schema of a structured output."""

    schema: msgspec.Raw = msgspec.Raw()  # empty: none was given


class ResponseFormat(msgspec.Struct, frozen=True):
    """How the answer is to be shaped."""

    type: str
    json_schema: JsonSchema | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """POST /v1/chat/completions; fields not named here are ignored."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    n: int | None = None
    stream: bool | None = None

    def limit(self) -> int | None:
        """The most completion tokens allowed; None when unlimited."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class ModelOnly(msgspec.Struct, frozen=True):
    """A request of which only the model matters."""

    model: str


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """POST /v1/embeddings."""

    model: str
    input: str | list[str]
    dimensions: int | None = None


class TopLogprob(msgspec.Struct, frozen=True):
    """A candidate for a token."""

    token: str
    logprob: float  # natural logarithm; -9999.0 stands for impossible
    bytes: list[int]


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token of the content."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct, frozen=True):
    """choices[0].logprobs."""

    content: list[TokenLogprob]
    refusal: None = None


class ReplyMessage(msgspec.Struct, frozen=True):
    """The assistant's message."""

    content: str | None
    refusal: str | None = None
    role: str = "assistant"


FinishReason = Literal["stop", "length", "content_filter"]


class Choice(msgspec.Struct, frozen=True):
    """The one choice."""

    message: ReplyMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None
    index: int = 0


class PromptDetails(msgspec.Struct, frozen=True):
    """Of the prompt tokens; writes are shown only where the price table prices them."""

    cached_tokens: int = 0
    cache_write_tokens: int | UnsetType = UNSET


class CompletionDetails(msgspec.Struct, frozen=True):
    """Of the completion tokens."""

    reasoning_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Tokens as reported to the client; always what the meter counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class ChatReply(msgspec.Struct, frozen=True):
    """A chat completion."""

    id: str
    created: int  # unix seconds
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"


class Embedding(msgspec.Struct, frozen=True):
    """One embedded text."""

    embedding: list[float]
    index: int
    object: str = "embedding"


class EmbeddingsUsage(msgspec.Struct, frozen=True):
    """Tokens of an embeddings request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(msgspec.Struct, frozen=True):
    """An embeddings reply."""

    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
    object: str = "list"


class Model(msgspec.Struct, frozen=True):
    """One model of GET /v1/models."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "upstream"


class ModelList(msgspec.Struct, frozen=True):
    """GET /v1/models."""

    data: list[Model]
    object: str = "list"


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(msgspec.Struct, frozen=True):
    """OpenAI's error body."""

    error: ErrorDetail
