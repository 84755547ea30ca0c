"""A broker's URL taken apart: its transport, its TLS, its options. Certificates and host names are verified unless
the URL says otherwise: kombu alone leaves out the host name on amqps."""

import ssl
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from pipeline.settings import Settings
from schemas.errors import BrokerUnreachable, MissingExtra

Transport = Literal["amqp", "redis", "sqs"]
KNOWN = "amqp(s)://user:password@host//, redis(s)://:password@host/0, sqs://?region=…"
TRANSPORTS: dict[str, Transport] = {
    "amqp": "amqp", "pyamqp": "amqp", "amqps": "amqp", "redis": "redis", "rediss": "redis", "sqs": "sqs",
}  # fmt: skip
SQS_LONGEST_S = 12 * 3600  # of a visibility timeout
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_REQUIRED = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


@dataclass(frozen=True, kw_only=True)
class Broker:
    url: str  # as kombu takes it
    transport: Transport
    tls: dict[str, Any] | None  # as kombu's transport names its options
    options: dict[str, Any]  # of the transport


def read_broker(settings: Settings) -> Broker:
    """Raises BrokerUnreachable for what is no URL of a broker, without repeating what might be a secret."""
    brokers = [_read(settings, url) for url in settings.broker.split(";")]  # failover: one after another
    url = ";".join(broker.url for broker in brokers)
    return Broker(url=url, transport=brokers[0].transport, tls=brokers[0].tls, options=brokers[0].options)


def _read(settings: Settings, url: str) -> Broker:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        asked = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:  # its words may hold a part of the password
        fix = "Percent-encode what is no letter or digit in user and password."
        raise BrokerUnreachable(url="(not a URL)", why="it cannot be read", fix=fix) from None
    transport = TRANSPORTS.get(parts.scheme)
    if transport is None:
        raise BrokerUnreachable(
            url=f"{parts.scheme}://…", why="there is no such transport", fix=f"Known: {KNOWN}."
        )
    if transport == "sqs":
        return _sqs(settings, parts, asked)
    tls = _tls(transport, host, asked) if parts.scheme in ("amqps", "rediss") else None
    plain = parts._replace(
        query=urlencode({name: value for name, value in asked.items() if name[:4] != "ssl_"})
    )
    options = _redis_options(settings) if transport == "redis" else {}
    return Broker(url=plain.geturl(), transport=transport, tls=tls, options=options)


def _tls(transport: Transport, host: str, asked: dict[str, str]) -> dict[str, Any]:
    """`ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`: files; `ssl_cert_reqs`: required, optional or none;
    `ssl_check_hostname`: true or false."""
    files: dict[str, Any] = {name: asked[name] for name in _FILES if name in asked}
    verify = _REQUIRED.get(asked.get("ssl_cert_reqs", "required").lower().removeprefix("cert_"))
    if verify is None:
        fix = f"Write one of: {', '.join(_REQUIRED)}."
        raise BrokerUnreachable(url=transport, why="ssl_cert_reqs has an unknown value", fix=fix)
    named = verify != ssl.CERT_NONE and asked.get("ssl_check_hostname", "true").lower() != "false"
    if transport == "redis":
        return {**files, "ssl_cert_reqs": verify, "ssl_check_hostname": named}
    options: dict[str, Any] = {name.removeprefix("ssl_"): file for name, file in files.items()}
    return {**options, "cert_reqs": verify, **({"server_hostname": host} if named else {})}


def _redis_options(settings: Settings) -> dict[str, Any]:
    """Redis renews no lease: the timeout must exceed a batch, and the restore must look often (celery#5935)."""
    return {
        "visibility_timeout": settings.visibility_seconds,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "global_keyprefix": f"{settings.queue}:",
    }


def _sqs(settings: Settings, parts: SplitResult, asked: dict[str, str]) -> Broker:
    """`sqs://?region=…&endpoint_url=…`; credentials come from the AWS chain, as the lake's do."""
    unknown = sorted(set(asked) - {"region", "endpoint_url"})
    endpoint = urlsplit(asked.get("endpoint_url", ""))
    if parts.netloc or unknown or "@" in endpoint.netloc:
        fix = "Write sqs://?region=…&endpoint_url=…; export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role."
        raise BrokerUnreachable(url="sqs://…", why="it holds more than region and endpoint_url", fix=fix)
    try:
        import pycurl  # noqa: F401
    except ImportError:
        raise MissingExtra(feature="An SQS broker", package="'tierwise[sqs]'") from None
    options = {
        "visibility_timeout": min(settings.visibility_seconds, SQS_LONGEST_S),
        "wait_time_seconds": 10,
        "polling_interval": 0.1,
        **({"region": asked["region"]} if "region" in asked else {}),
        **({"is_secure": endpoint.scheme == "https"} if endpoint.netloc else {}),
    }
    return Broker(url=f"sqs://{endpoint.netloc}", transport="sqs", tls=None, options=options)
