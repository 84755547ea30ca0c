"""How many tokens a text is: a stated rule, so that any reader can recompute the meter."""

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 3


def byte_length(text: str) -> int:
    """UTF-8 bytes of the text; a lone surrogate, legal in JSON, counts three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def text_tokens(text: str) -> int:
    """ceil(bytes / 4)."""
    return -(-byte_length(text) // _BYTES_PER_TOKEN)


def prompt_tokens(content_bytes: int, messages: int) -> int:
    """ceil(bytes / 4) + 3 per message, and never more than the bytes."""
    return min(-(-content_bytes // _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE * messages, content_bytes)


def prompt_tokens_recorded(recorded: int, text: str, content_bytes: int, messages: int) -> int:
    """The recorded count for the document's text, the rule for all else; never more than the bytes."""
    rest = max(0, content_bytes - byte_length(text))
    extra = -(-rest // _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE * (messages - 1)
    return min(recorded + extra, content_bytes)


def cut_text(text: str, kept: int, total: int) -> str:
    """The head of a text that holds `kept` of its `total` tokens, cut between characters."""
    if kept >= total:
        return text
    raw = text.encode("utf-8", "surrogatepass")
    size = kept * _BYTES_PER_TOKEN if total == text_tokens(text) else len(raw) * kept // total
    return raw[:size].decode("utf-8", "ignore")
