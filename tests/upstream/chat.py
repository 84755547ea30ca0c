"""A chat completion and its token counts, from a request, an answer and what is to go wrong with it."""

import math
import time
from dataclasses import dataclass, replace

import msgspec

from tests.upstream.answers import Answer
from tests.upstream.chaos import Kind
from tests.upstream.pricing import TokenCounts
from tests.upstream.structured import shape_of
from tests.upstream.tokens import byte_length, cut_text, prompt_tokens, prompt_tokens_recorded, text_tokens
from tests.upstream.wire import (
    ChatReply,
    ChatRequest,
    Choice,
    CompletionDetails,
    FinishReason,
    Logprobs,
    PromptDetails,
    ReplyMessage,
    TokenLogprob,
    TopLogprob,
    Usage,
)

GARBAGE = "\ufffd]]}{<|#0x7f|> zzz qux \\u00 %%% 0000"
REFUSAL = "I'm sorry, but I can't help with that."
_IMPOSSIBLE = -9999.0  # OpenAI's stand-in for the logarithm of nothing
_NEARLY_SURE = -1e-6
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """What the model says."""

    content: str | None
    tokens: int  # visible output tokens
    refusal: str | None = None
    finish_reason: FinishReason = "stop"
    confidence: float | None = None
    answer_at: int = 0  # byte of the content where the answer itself starts


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A reply that is ready to be billed and sent."""

    body: bytes
    tokens: TokenCounts


def last_user_text(request: ChatRequest) -> str | None:
    """The text of the last user message."""
    return next((message.text() for message in reversed(request.messages) if message.role == "user"), None)


def system_text(request: ChatRequest) -> str | None:
    """The text of the first system message."""
    return next(
        (message.text() for message in request.messages if message.role in ("system", "developer")), None
    )


def count_prompt(request: ChatRequest, answer: Answer) -> int:
    """Input tokens: as recorded for the document where known, else by the rule."""
    size = sum(byte_length(message.text()) for message in request.messages)
    if answer.input_tokens is None:
        return prompt_tokens(size, len(request.messages))
    return prompt_tokens_recorded(answer.input_tokens, answer.text, size, len(request.messages))


def speak(request: ChatRequest, answer: Answer, kind: Kind) -> Speech:
    """What the model says when nothing limits its length."""
    if kind == "refusal":
        return Speech(content=None, refusal=REFUSAL, tokens=text_tokens(REFUSAL))
    if kind == "content_filter":
        return Speech(content="", tokens=0, finish_reason="content_filter")
    if kind == "malformed_content":
        return Speech(content=GARBAGE, tokens=text_tokens(GARBAGE))
    shape = shape_of(request)
    content = answer.content if shape is None else shape.wrap(answer.content)
    spoken = text_tokens(content)
    speech = Speech(
        content=content,
        tokens=spoken if answer.output_tokens is None or shape is not None else answer.output_tokens,
        confidence=answer.confidence,
        answer_at=0 if shape is None else byte_length(shape.before),
    )
    return _halve(speech) if kind == "truncated" else speech


def limit_speech(speech: Speech, allowed: int) -> Speech:
    """The speech within the tokens left for it; cut, with finish_reason "length", where it is longer."""
    if speech.tokens <= allowed:
        return speech
    return replace(
        speech,
        content=None if speech.content is None else cut_text(speech.content, allowed, speech.tokens),
        refusal=None if speech.refusal is None else cut_text(speech.refusal, allowed, speech.tokens),
        tokens=allowed,
        finish_reason="length",
    )


def complete(
    request: ChatRequest, speech: Speech, tokens: TokenCounts, *, number: int, cache_writes: bool
) -> Completion:
    """The reply's body; `cache_writes` shows prompt-cache writes in the usage."""
    message = ReplyMessage(content=speech.content, refusal=speech.refusal)
    choice = Choice(message=message, finish_reason=speech.finish_reason, logprobs=_logprobs(request, speech))
    reply = ChatReply(
        id=f"chatcmpl-{number}",
        created=int(time.time()),
        model=request.model,
        choices=[choice],
        usage=report_usage(tokens, cache_writes=cache_writes),
    )
    return Completion(body=_ENCODER.encode(reply), tokens=tokens)


def report_usage(tokens: TokenCounts, *, cache_writes: bool) -> Usage:
    """The counts in OpenAI's shape: completion_tokens includes reasoning."""
    details = PromptDetails(
        cached_tokens=tokens.cached_input,
        cache_write_tokens=tokens.cache_write if cache_writes else msgspec.UNSET,
    )
    return Usage(
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        total_tokens=tokens.prompt + tokens.completion,
        prompt_tokens_details=details,
        completion_tokens_details=CompletionDetails(reasoning_tokens=tokens.reasoning),
    )


def _halve(speech: Speech) -> Speech:
    content = speech.content or ""
    half = content[: len(content) // 2]
    return replace(speech, content=half, tokens=max(1, speech.tokens // 2), finish_reason="length")


def _logprobs(request: ChatRequest, speech: Speech) -> Logprobs | None:
    if not request.logprobs or speech.confidence is None or speech.content is None:
        return None
    raw = speech.content.encode("utf-8", "surrogatepass")
    answer_token = speech.answer_at // 4
    sure = math.log(speech.confidence) if speech.confidence > 0 else _IMPOSSIBLE
    return Logprobs(
        content=[
            _token(raw[at : at + 4], sure if at // 4 == answer_token else _NEARLY_SURE, request.top_logprobs)
            for at in range(0, len(raw), 4)
        ]
    )


def _token(piece: bytes, logprob: float, top: int | None) -> TokenLogprob:
    text, codes = piece.decode("utf-8", "replace"), list(piece)
    candidates = [TopLogprob(text, logprob, codes)] if top else []
    return TokenLogprob(text, logprob, codes, candidates)
