"""What hostile files need: code that leaves a trace, and a web server."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Bomb:
    """Unpickling it creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


class Handler(SimpleHTTPRequestHandler):
    """Notes requests in place of printing them."""

    def log_message(self, *args) -> None:
        self.server.requests.append(self.path)


def serve(folder: Path) -> AbstractContextManager[ThreadingHTTPServer]:
    """Serve a folder on this machine: a server with ``url`` and ``requests``."""
    return listening(functools.partial(Handler, directory=str(folder)))


@contextmanager
def listening(handler: Callable) -> Iterator[ThreadingHTTPServer]:
    """A server on this machine with ``url``; handlers add to its ``requests``."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    server.requests = []
    server.url = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
