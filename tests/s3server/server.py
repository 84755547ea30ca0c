"""moto's S3 over HTTP, in a process of its own: it honours If-None-Match, as AWS does."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from urllib.error import URLError
from urllib.request import Request, urlopen

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_REGION": "us-east-1",
}
_START_S = 30.0


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """Stop it, or use it in a `with`."""

    url: str
    process: "subprocess.Popen[str]"

    def make_bucket(self, bucket: str) -> str:
        """Make a bucket; returns the lake URI of it."""
        urlopen(Request(f"{self.url}/{bucket}", method="PUT"), timeout=10).close()
        return f"s3://{bucket}?endpoint_url={self.url}&region=us-east-1"

    def trouble(self, *, share_503: float = 0.0, slow_s: float = 0.0) -> None:
        """From now on this share of the requests is answered 503, and every one that much later."""
        told = json.dumps({"share_503": share_503, "slow_s": slow_s}).encode()
        urlopen(Request(f"{self.url}/_trouble", data=told, method="PUT"), timeout=10 + slow_s).close()

    def stop(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> "S3Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_s3_server(log: Path | None = None) -> S3Server:
    """Returns when it answers. Its storage is memory: gone when it stops."""
    with open(log or os.devnull, "w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.s3server"],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **CREDENTIALS},
        )
    port = process.stdout.readline().strip() if process.stdout else ""
    server = S3Server(url=f"http://127.0.0.1:{port}", process=process)
    if not port or not _answers(server.url):
        server.stop()
        raise RuntimeError("moto's server did not start; is moto[server] installed?")
    return server


def _answers(url: str) -> bool:
    end = monotonic() + _START_S
    while monotonic() < end:
        with suppress(URLError, OSError):
            urlopen(f"{url}/moto-api/", timeout=5).close()
            return True
        sleep(0.05)
    return False
