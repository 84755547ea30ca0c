"""The prompt cache: a repeated system message has its first tokens counted as cached."""

from dataclasses import dataclass

from tests.upstream.pricing import TokenCounts


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What decides whether a prefix is cached."""

    model: str
    system: str | None
    tokens: int


class PromptCache:
    """Remembers which system messages each model has been billed for."""

    def __init__(self, prefix_tokens: int) -> None:
        self._prefix_tokens = prefix_tokens
        self._seen: set[tuple[str, str]] = set()

    def count(self, prompt: Prompt, *, writes: bool) -> TokenCounts:
        """The input classes of a billed request, which enters the cache; `writes`: count them apart."""
        if not self._prefix_tokens or prompt.system is None:
            return TokenCounts(input=prompt.tokens)
        prefix = min(self._prefix_tokens, prompt.tokens)
        key = (prompt.model, prompt.system)
        if key in self._seen:
            return TokenCounts(input=prompt.tokens - prefix, cached_input=prefix)
        self._seen.add(key)
        if writes:
            return TokenCounts(input=prompt.tokens - prefix, cache_write=prefix)
        return TokenCounts(input=prompt.tokens)
