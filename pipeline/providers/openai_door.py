"""The door that OpenAI's endpoints have in common: a URL, a bearer's key, and JSON to post."""

import json
import os
from collections.abc import Mapping

import msgspec

from pipeline.providers.conceal import conceal
from pipeline.providers.endpoint import endpoint_of
from pipeline.providers.http import HttpClient
from pipeline.providers.loopback import check_host
from schemas.errors import MissingCredential, TierwiseError
from schemas.ids import CallId
from schemas.records import Reply
from schemas.secrets import Concealer


class UnusableCredential(TierwiseError):
    """Tier {tier}: {variable} holds characters that no HTTP header can carry. Nothing was spent."""

    exit_code = 2
    fix = "Export the key again, without line breaks or quotes."


class OpenAIDoor:
    """One endpoint with one key. Raises RemoteForbidden under the test switch."""

    def __init__(
        self,
        *,
        tier: str,
        url: str,
        api_key_env: str | None,
        http: HttpClient,
        timeout_s: float,
        extra_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._tier, self._http, self._key_env = tier, http, api_key_env
        self._key = os.environ.get(api_key_env, "").strip() if api_key_env else ""
        self._concealer = Concealer(self._key)
        self._endpoint = endpoint_of(url, _headers(self._key, extra_headers or {}), timeout_s)
        check_host(self._endpoint.host)

    def check(self) -> None:
        """Raise MissingCredential, UnusableCredential or RemoteForbidden. Sends nothing."""
        check_host(self._endpoint.host)
        if self._key_env and not self._key:
            raise MissingCredential(tier=self._tier, variable=self._key_env)
        if not _is_usable(self._key):
            raise UnusableCredential(tier=self._tier, variable=self._key_env)

    async def send(self, body: bytes, key: CallId) -> Reply:
        """The call's id goes along as Idempotency-Key, for endpoints that honour it."""
        return conceal(await self._http.post(self._endpoint, body, key), self._concealer)


def json_text(value: object) -> bytes:
    """JSON; half a surrogate pair, which UTF-8 cannot carry, becomes a question mark."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        whole = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return whole.encode("utf-8", "replace")


def _headers(key: str, extra: Mapping[str, str]) -> dict[str, str]:
    headers = {
        **extra,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # replies are small; unpacking costs more than it saves
    }
    if key and _is_usable(key):
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _is_usable(key: str) -> bool:
    """Whether a header can carry it; `check` says so where none can."""
    return key.isascii() and key.isprintable()
