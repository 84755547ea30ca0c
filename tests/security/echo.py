"""A provider that repeats our key in everything it says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.webserver import serving


class Echo(BaseHTTPRequestHandler):
    """The model's name says how it answers: `echo-200`, `echo-401` … or `good`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization", "")
        self.server.keys.append(key)  # type: ignore[attr-defined]
        model = asked["model"]
        status = int(model.removeprefix("echo-")) if model.startswith("echo-") else 200
        said = f'{{"label": "{key}"}}' if model == "echo-200" else '{"label": "yes"}'
        body = {
            "id": key,
            "choices": [{"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
        error = {"error": {"message": f"Incorrect API key provided: {key}.", "code": "invalid_api_key"}}
        data = json.dumps(body if status == 200 else error).replace("/", "\\/").encode()
        self.send_response(status, f"No {key}")
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Key", key)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def echo_server() -> Iterator[ThreadingHTTPServer]:
    with serving(Echo, keys=[]) as server:
        yield server
