"""Reading an OpenAI-compatible chat completion, with the dialects of usage that vendors speak."""

from math import exp

import msgspec

from schemas.money import Usage
from schemas.records import Completion, FinishReason

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "refusal": "refusal",
}


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Logprob(msgspec.Struct):
    logprob: float | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Parts(msgspec.Struct):
    choices: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()


_REPLY = msgspec.json.Decoder(_Reply)
_PARTS = msgspec.json.Decoder(_Parts)
_CHOICES = msgspec.json.Decoder(list[_Choice])
_LOGPROBS = msgspec.json.Decoder(_Logprobs | None)
_USAGE = msgspec.json.Decoder(_Usage | None, strict=False)


def read_completion(body: bytes) -> Completion:
    """Read a complete reply; what cannot be read is `malformed`, and keeps the usage where that was readable.

    Source: platform.openai.com/docs/api-reference/chat/object
    """
    try:
        reply = _REPLY.decode(body)
        choice, said = reply.choices[0], reply.usage
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, RecursionError):
        return _read_in_parts(body)
    return _completion(choice, None if said is None else _usage(said))


def _read_in_parts(body: bytes) -> Completion:
    """What is usual in one of `choices` and `usage` counts, whatever the other looks like."""
    try:
        parts = _PARTS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Completion(text="", finish_reason="malformed")
    usage = _read_usage(parts.usage)
    try:
        choice = _CHOICES.decode(parts.choices)[0]
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, RecursionError):
        return Completion(text="", finish_reason="malformed", usage=usage)
    return _completion(choice, usage)


def _completion(choice: _Choice, usage: Usage | None) -> Completion:
    text = _text(choice.message)
    return Completion(
        text=text,
        finish_reason=_finish(choice, text),
        usage=usage,
        confidence=_confidence(choice.logprobs) if text else None,
    )


def _text(message: _Message) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text or "" for part in content if part.type == "text")


def _finish(choice: _Choice, text: str) -> FinishReason:
    if choice.message.refusal:
        return "refusal"
    reason = choice.finish_reason
    finish: FinishReason = "" if reason is None else _FINISH.get(reason.lower(), "malformed")
    if not text and finish in ("stop", ""):
        return "malformed"  # an answer without content: a tool call, or nothing
    return finish


def _confidence(raw: msgspec.Raw) -> float | None:
    """exp(sum of the logprobs of the content's tokens): the probability of this very text.

    For structured content that includes the tokens of its frame, which the schema makes nearly certain.
    """
    if not raw:
        return None
    try:
        logprobs = _LOGPROBS.decode(raw)
    except msgspec.MsgspecError:
        return None
    if logprobs is None or not logprobs.content:
        return None
    values = [token.logprob for token in logprobs.content]
    total = sum(value for value in values if value is not None)
    return None if None in values else min(1.0, exp(min(0.0, total)))


def _read_usage(raw: msgspec.Raw) -> Usage | None:
    if not raw:
        return None
    try:
        said = _USAGE.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return None if said is None else _usage(said)


def _usage(said: _Usage) -> Usage | None:
    if said.prompt_tokens is None or said.completion_tokens is None:
        return None
    return disjoint(
        prompt=said.prompt_tokens,
        completion=said.completion_tokens,
        total=said.total_tokens or 0,
        cached=_cached(said),
        written=_written(said),
        reasoning=_reasoning(said),
    )


def _cached(said: _Usage) -> int:
    details = said.prompt_tokens_details
    inside = details.cached_tokens if details is not None else 0
    return inside or said.prompt_cache_hit_tokens or said.cache_read_input_tokens or 0


def _written(said: _Usage) -> int:
    details = said.prompt_tokens_details
    inside = (details.cache_write_tokens or details.cache_creation_tokens) if details is not None else 0
    return inside or said.cache_creation_input_tokens or 0


def _reasoning(said: _Usage) -> int:
    details = said.completion_tokens_details
    return (details.reasoning_tokens or 0) if details is not None else 0


def disjoint(*, prompt: int, completion: int, total: int, cached: int, written: int, reasoning: int) -> Usage:
    """Token classes whose sum is never less than what was billed, however a vendor counts.

    OpenAI counts cached tokens within the prompt and reasoning within the completion; xAI counts reasoning
    beside it; Gemini's compatible endpoint shows thinking in the total alone. Parts larger than their whole
    stand beside it; what the total has over all parts is charged as reasoning.
    """
    if (
        prompt >= 0
        and completion >= 0
        and not (cached or written or reasoning)
        and total <= prompt + completion
    ):
        return Usage(input=prompt, output=completion)
    prompt, completion, cached, written, reasoning = (
        max(0, count) for count in (prompt, completion, cached, written, reasoning)
    )
    fresh = prompt - cached - written if cached + written <= prompt else prompt
    beside = reasoning > completion or (reasoning > 0 and total == prompt + completion + reasoning)
    answered = completion if beside else completion - reasoning
    excess = max(0, total - (fresh + cached + written + answered + reasoning))
    return Usage(
        input=fresh, cached_input=cached, cache_write=written, output=answered, reasoning=reasoning + excess
    )
