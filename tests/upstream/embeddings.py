"""Embeddings: vectors by hash, enough to test that they are asked for and paid for."""

import msgspec

from tests.upstream.chat import Completion
from tests.upstream.keyed import unit
from tests.upstream.pricing import TokenCounts
from tests.upstream.tokens import byte_length, prompt_tokens
from tests.upstream.wire import Embedding, EmbeddingsReply, EmbeddingsRequest, EmbeddingsUsage

_DEFAULT_DIMENSIONS = 16


def embed(request: EmbeddingsRequest, *, seed: int) -> Completion:
    """One vector with values in [-1, 1) per input; input tokens by the rule without a message overhead."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    tokens = sum(prompt_tokens(byte_length(text), 0) for text in texts)
    size = request.dimensions or _DEFAULT_DIMENSIONS
    reply = EmbeddingsReply(
        data=[Embedding(_vector(seed, request.model, text, size), index) for index, text in enumerate(texts)],
        model=request.model,
        usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens),
    )
    return Completion(body=msgspec.json.encode(reply), tokens=TokenCounts(input=tokens))


def _vector(seed: int, model: str, text: str, size: int) -> list[float]:
    return [2 * unit(seed, "embedding", model, text, axis) - 1 for axis in range(size)]
