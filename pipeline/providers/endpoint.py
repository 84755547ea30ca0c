"""Where requests of one kind go, with the head that they share written once."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import msgspec

CONNECT_S = 10.0
_LINE_ENDS = frozenset("\r\n\0")
_PATH = "/%:@!$&'()*+,;=~"  # kept as they are; anything else is percent-encoded
_QUERY = _PATH + "?"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A URL to post JSON to."""

    host: str  # name or address, without brackets
    port: int
    tls: bool
    head: bytes  # request line and headers, up to the value of Idempotency-Key
    timeout_s: float  # of the whole call, connecting included

    @property
    def connect_s(self) -> float:
        """Less than the whole call gets, so that a timeout of connecting is known as not sent."""
        return min(CONNECT_S, self.timeout_s / 2)

    def request(self, body: bytes, key: str) -> bytes:
        """The request as it goes over the wire."""
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (self.head, key.encode("ascii"), len(body), body)


def endpoint_of(url: str, headers: Mapping[str, str], timeout_s: float) -> Endpoint:
    """Raises ValueError for what is no http(s) URL and for headers that would break the request apart."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no http(s) URL")
    tls = parts.scheme == "https"
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    target = quote(parts.path or "/", safe=_PATH) + (
        f"?{quote(parts.query, safe=_QUERY)}" if parts.query else ""
    )
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc if host == parts.hostname else host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(_LINE_ENDS & set(line) for line in lines):
        raise ValueError("a header holds a line break")
    return Endpoint(
        host=host,
        port=parts.port or (443 if tls else 80),
        tls=tls,
        head="\r\n".join([*lines, "Idempotency-Key: "]).encode("utf-8"),
        timeout_s=timeout_s,
    )
