"""What S3 says, in our words: which of bucket, credentials, rights or network is at fault. Never a secret."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)

from pipeline.storage.s3_location import Location
from schemas.errors import LakeUnreachable, NoSuchObject, UnconditionalStore

_KEYS = "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or attach a role."
_REFUSED = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "ExpiredTokenException",
}
_DENIED = {"AccessDenied", "AllAccessDisabled", "403"}
_MOVED = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
MISSING = {"NoSuchKey", "404", "NotFound"}


def code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def told(location: Location, uri: str, key: str = "") -> Iterator[None]:
    """Turn the errors of botocore into ours."""
    try:
        yield
    except ClientError as error:
        if code(error) in MISSING:
            raise NoSuchObject(key=key) from None
        if code(error) == "NotImplemented":
            raise UnconditionalStore(url=uri) from None
        why, fix = _answer(code(error), location)
        raise LakeUnreachable(url=uri, why=why, fix=fix) from None
    except BotoCoreError as error:
        why, fix = _failure(error, location)
        raise LakeUnreachable(url=uri, why=why, fix=fix) from None


def _answer(name: str, location: Location) -> tuple[str, str]:
    if name == "NoSuchBucket":
        return f"there is no bucket {location.bucket!r}", f"Create it: aws s3 mb s3://{location.bucket}"
    if name in _REFUSED:
        return f"the credentials were refused ({name})", f"Correct them: {_KEYS}"
    if name in _DENIED:
        needs = "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket"
        return f"access to bucket {location.bucket!r} was denied", f"Grant {needs} on it."
    if name in _MOVED:
        return f"bucket {location.bucket!r} lies in another region", "Add ?region=… to the URL."
    return f"S3 answered {name or 'an error without a code'}", ""


def _failure(error: BotoCoreError, location: Location) -> tuple[str, str]:
    if isinstance(error, NoCredentialsError | PartialCredentialsError | TokenRetrievalError):
        return "no AWS credentials were found, or only a part of them", _KEYS[0].upper() + _KEYS[1:]
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | HTTPClientError):
        place = location.endpoint_url or "AWS"
        fix = "Start it, or correct endpoint_url in the URL or AWS_ENDPOINT_URL."
        return f"no connection to {place} ({type(error).__name__})", fix
    return f"the AWS client failed ({type(error).__name__})", ""
