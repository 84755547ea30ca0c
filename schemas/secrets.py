"""What a secret looks like, and text without it. Secrets come from the environment and are shown nowhere."""

import re
from collections.abc import Iterator
from typing import Any

HIDDEN = "***"
SHORTEST = 8  # characters; a shorter one is no secret, and hiding it would spoil ordinary text

# Forms that providers give their keys, and a password in a URL.
_KEYS = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}|\bgh[opsur]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\b(?:hf|gsk|r8)_[A-Za-z0-9]{30,}|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_IN_URL = re.compile(r"(://)[^@\s/]*:[^@\s]*@")
_IN_PLAIN_URL = re.compile(r"://[^@\s/]*:[^@\s/]+@")  # where a later "@" may be text
_IN_OPTIONS = re.compile(r"(?i)([?&](?:[a-z_]*password|[a-z_]*secret|[a-z_]*token)=)[^&\s#]*")
_NAMES = re.compile(
    r"(?i)(?:.*[_-])?(?:api[_-]?key|authorization|password|secret|access[_-]?token|credentials?)"
)


def hide(text: str) -> str:
    """The text without what looks like a key, and without passwords in URLs."""
    text = _IN_OPTIONS.sub(rf"\1{HIDDEN}", _IN_URL.sub(rf"\1{HIDDEN}@", text))
    return _KEYS.sub(HIDDEN, text)


def holds_secret(text: str) -> bool:
    return hide(text) != text


def names_secret(name: str) -> bool:
    return _NAMES.fullmatch(name) is not None


def find_secrets(data: Any, path: str = "") -> Iterator[str]:
    """Where, in what a person wrote, something has the form of a secret."""
    match data:
        case dict():
            for name, value in data.items():
                yield from find_secrets(value, f"{path}.{name}" if path else str(name))
        case list():
            for index, value in enumerate(data):
                yield from find_secrets(value, f"{path}[{index}]")
        case str() if _KEYS.search(data) or _IN_PLAIN_URL.search(data):
            yield path


class Concealer:
    """Takes known secrets out of text and bytes, as they stand and as JSON may write them."""

    def __init__(self, *secrets: str | None) -> None:
        known = {secret for secret in secrets if secret and len(secret) >= SHORTEST}
        forms = {form for secret in known for form in (secret, secret.replace("/", "\\/"))}
        self._forms = sorted(forms, key=len, reverse=True)
        self._bytes = [form.encode() for form in self._forms]

    def text(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def body(self, body: bytes) -> bytes:
        """The same object where nothing is found, as nearly always."""
        for form in self._bytes:
            if form in body:
                body = body.replace(form, HIDDEN.encode())
        return body
