"""A small HTTP server in a thread, for as long as a test needs it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], **kept: object) -> Iterator[ThreadingHTTPServer]:
    """`kept`: attributes of the server, for the handler to write into."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        vars(server).update(kept)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
