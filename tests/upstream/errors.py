"""Requests that are answered with an error and not billed."""

import msgspec

from tests.upstream.wire import ErrorDetail, ErrorReply


class RefusedError(Exception):
    """A request that is not served; it gets this status and OpenAI's error body."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(status, message, code=code, param=param)


class LimitedError(Exception):
    """A request over the rate limit."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s  # seconds until one may pass


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """OpenAI's error JSON."""
    kind = {429: "requests"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode(ErrorReply(ErrorDetail(message=message, type=kind, param=param, code=code)))
