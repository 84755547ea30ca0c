"""Where a lake on S3 lies: `s3://bucket/prefix?endpoint_url=…&region=…`."""

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.storage.keys import check_key
from schemas.errors import UnknownScheme

KNOWN = "s3://bucket/prefix?endpoint_url=https://…&region=…; credentials come from the environment"
_DEFAULT_REGION = "us-east-1"  # other stores ask for a region only to sign with it


@dataclass(frozen=True, kw_only=True)
class Location:
    """Credentials are no part of it: they come from the AWS chain (environment, profile, role)."""

    bucket: str
    prefix: str  # "" or "…/"
    endpoint_url: str | None = None  # None: AWS
    region: str | None = None  # None: as the AWS settings say

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def client_options(self) -> dict[str, Any]:
        """For a botocore client."""
        region = self.region or (_DEFAULT_REGION if self.endpoint_url else None)
        return {"endpoint_url": self.endpoint_url, "region_name": region}

    def config_options(self) -> dict[str, Any]:
        """For botocore's Config. Stores other than AWS want bucket names in the path and plain checksums."""
        retries = {"retries": {"mode": "standard", "max_attempts": 4}}
        timeouts = {"connect_timeout": 5, "read_timeout": 60, "max_pool_connections": 64}
        if not self.endpoint_url:
            return retries | timeouts
        return (
            retries
            | timeouts
            | {
                "s3": {"addressing_style": "path"},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        )


def parse_location(uri: str) -> Location:
    """Raises UnknownScheme, without repeating what might be a secret."""
    parts = urlsplit(uri)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(set(options) - {"endpoint_url", "region"})
    endpoint = options.get("endpoint_url") or _environment_endpoint()
    if not parts.netloc or "@" in parts.netloc or parts.fragment or unknown or "@" in (endpoint or ""):
        raise UnknownScheme(port="storage", url="s3://…", known=KNOWN)
    return Location(
        bucket=parts.netloc,
        prefix=_prefix(unquote(parts.path).strip("/")),
        endpoint_url=endpoint,
        region=options.get("region"),
    )


def _prefix(path: str) -> str:
    if not path:
        return ""
    if any(letter in path for letter in "*?["):
        raise UnknownScheme(port="storage", url="s3://…", known="a prefix without * ? [")
    try:
        return f"{check_key(path)}/"
    except ValueError:
        raise UnknownScheme(port="storage", url="s3://…", known="a prefix without . and ..") from None


def _environment_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
