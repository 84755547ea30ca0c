"""Documents longer than a tier can read: rejected, cut where the spec says so, or split and voted on."""

from collections import defaultdict
from collections.abc import Sequence
from math import ceil

from schemas.records import Answer, Value

BYTES_PER_TOKEN = 3  # an estimate on the safe side for Latin scripts; money never relies on it
_GAP = "\n[…]\n"


def estimated_tokens(text: str) -> int:
    return ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def fit(text: str, limit: int, how: str) -> list[str]:
    """The text as parts of at most `limit` estimated tokens; more than one only for split_and_vote.
    An empty list: too long, and `how` is reject, or there is no room for a single character."""
    if len(text) * 4 <= limit * BYTES_PER_TOKEN or estimated_tokens(text) <= limit:
        return [text]
    size = limit * BYTES_PER_TOKEN
    if size < 4:  # UTF-8's longest character
        return []
    match how:
        case "head":
            return [_head(text, size)]
        case "head_tail":
            half = (size - len(_GAP.encode())) // 2
            return [_head(text, half) + _GAP + _tail(text, half)] if half > 0 else [_head(text, size)]
        case "split_and_vote":
            return _split(text, size)
        case _:
            return []


def _head(text: str, size: int) -> str:
    return text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "ignore")


def _tail(text: str, size: int) -> str:
    return text.encode("utf-8", "surrogatepass")[-size:].decode("utf-8", "ignore")


def _split(text: str, size: int) -> list[str]:
    parts = []
    while text:
        part = _head(text, size)
        if len(part) < len(text):  # end at a space where one is near
            space = part.rfind(" ", len(part) * 3 // 4)
            part = part[: space + 1] if space > 0 else part
        parts.append(part)
        text = text[len(part) :]
    return parts


def vote(answers: Sequence[Answer]) -> Answer:
    """One answer for all parts of a document: the value with the most confidence behind it."""
    if len(answers) == 1:
        return answers[0]
    weights: dict[str, float] = defaultdict(float)
    values: dict[str, Value] = {}
    for answer in answers:
        if answer.value is not None and not answer.abstained:
            weights[repr(answer.value)] += 0.5 if answer.confidence is None else answer.confidence
            values[repr(answer.value)] = answer.value
    if not weights:
        return next((answer for answer in answers if answer.value is not None), answers[0])
    best = max(weights, key=lambda key: weights[key])
    total = sum(weights.values())
    return Answer(value=values[best], confidence=weights[best] / total if total else 0.0)
