"""Where answers come from: the port, and how a document is found in a message."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

_OPEN, _CLOSE = "<document>\n", "\n</document>"


class OutcomesError(ValueError):
    """An outcomes file that gives no answers; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model says about a document."""

    text: str  # the document it was found under
    content: str  # the answer
    confidence: float | None = None  # probability of the answer's first token
    input_tokens: int | None = None  # recorded tokens of the document; None: by the rule
    output_tokens: int | None = None  # recorded tokens of the answer; None: by the rule


class Answers(Protocol):
    """A source of answers."""

    models: tuple[str, ...]

    def find(self, model: str, message: str) -> Answer | None:
        """The answer to the last user message; None where the document is not known."""


def documents_in(message: str) -> Iterator[str]:
    """What may be the document in a message, likeliest first."""
    yield message
    yield from tagged_documents(message)
    _, gap, tail = message.rpartition("\n\n")
    if gap:
        yield tail


def tagged_documents(message: str) -> Iterator[str]:
    """What stands between document tags: from the last opening one, then from the first."""
    end = message.rfind(_CLOSE)
    if end < 0:
        return
    for start in dict.fromkeys((message.rfind(_OPEN, 0, end), message.find(_OPEN, 0, end))):
        if start >= 0:
            yield message[start + len(_OPEN) : end]
