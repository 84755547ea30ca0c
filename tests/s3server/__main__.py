"""`python -m tests.s3server`: serve on a free port, print it, and be in trouble as told (PUT /_trouble, JSON)."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
)


class Troubled:
    """A share of the requests is answered 503, and all of them late."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._random = random.Random(0)
        self._share_503, self._slow_s = 0.0, 0.0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_trouble":
            told = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self._share_503, self._slow_s = told["share_503"], told["slow_s"]
            start_response("200 OK", [("Content-Length", "0")])
            return [b""]
        time.sleep(self._slow_s)
        if self._random.random() < self._share_503:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Length", str(len(_SLOW_DOWN)))])
            return [_SLOW_DOWN]
        return self._app(environ, start_response)


class OneWinner:
    """moto looks for the object and then stores it, with no lock between: a conditional put is one at a time here."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return self._app(environ, start_response)
        with self._lock:
            return list(self._app(environ, start_response))


# moto prints its port only through werkzeug's log, so a free one is picked here and told.
app = Troubled(OneWinner(DomainDispatcherApplication(create_backend_app)))
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
