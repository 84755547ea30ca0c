"""One HTTP session per process. What the wire does comes back as a Reply, never as an exception."""

import asyncio
import io
from email.utils import parsedate_to_datetime
from math import isfinite
from time import perf_counter, time

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from schemas.records import Reply

MAX_BODY = 8 * 2**20  # bytes of a reply; an answer is a few kilobytes
CONNECT_S = 10.0
_LARGE_BODY = 2**20  # above it aiohttp warns about bytes and wants a file object

# Raised before the first byte of the request is written. ClientSSLError and ClientProxyConnectionError are
# kinds of ClientConnectorError. ServerDisconnectedError and ClientOSError are not here: a request on a reused
# connection may have arrived.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
_AUTO_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class HttpClient:
    """A pool of connections, made in the loop that first sends. Connections are not limited: tiers are."""

    def __init__(self, *, trust_env: bool = False, keepalive_s: float = 75.0) -> None:
        self._trust_env = trust_env
        self._keepalive_s = keepalive_s
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: URL, body: bytes, headers: CIMultiDict[str], timeout: aiohttp.ClientTimeout
    ) -> Reply:
        """Send once: POST is neither retried by aiohttp nor redirected here."""
        session = self._session or self._open()
        began = perf_counter()
        status = 0
        try:
            async with session.post(
                url,
                data=body if len(body) <= _LARGE_BODY else io.BytesIO(body),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                status = response.status
                content, whole = await _read(response)
                return Reply(
                    status=status,
                    body=content,
                    complete=whole,
                    retry_after_s=retry_after(response.headers) if status >= 400 else None,
                    error="" if whole else f"reply over {MAX_BODY} bytes",
                    latency_ms=_ms_since(began),
                )
        except _NOT_SENT as error:
            return _lost(error, began, status, sent=False)
        except Exception as error:  # whatever else happens, the request may have reached the provider
            return _lost(error, began, status, sent=True)

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=self._keepalive_s, ttl_dns_cache=300)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTO_HEADERS,
            trust_env=self._trust_env,
        )
        return self._session

    async def close(self) -> None:
        """Close the pool, once; sending again opens a new one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def request_timeout(timeout_s: float) -> aiohttp.ClientTimeout:
    """The whole call within `timeout_s`; connecting gets less, so that its timeout is known as not sent."""
    return aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_S, timeout_s / 2))


def retry_after(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or Retry-After in seconds or as a date (RFC 9110, 10.2.3)."""
    if (millis := _number(headers.get("retry-after-ms"))) is not None:
        return millis / 1000
    value = headers.get("Retry-After")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if isfinite(number) else None


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body, and whether it is all there. An error reply counts as whole when it is cut at the limit:
    its status says what happened."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            response.close()
            return b"".join(chunks)[:MAX_BODY], response.status >= 400
    return (chunks[0] if len(chunks) == 1 else b"".join(chunks)), True


def _lost(error: Exception, began: float, status: int, *, sent: bool) -> Reply:
    kind = "timeout" if isinstance(error, asyncio.TimeoutError) else type(error).__name__
    return Reply(
        status=status, sent=sent, complete=False, error=f"{kind}: {error}"[:500], latency_ms=_ms_since(began)
    )


def _ms_since(began: float) -> int:
    return round((perf_counter() - began) * 1000)
