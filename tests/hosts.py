"""A server on this machine that behaves like GitHub's releases and Google Drive."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from .hostile import listening

CONFIRM = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>
</head><body><form id="download-form" action="{path}" method="get">
<input type="hidden" name="id" value="{id}"></form></body></html>"""
QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>
</head><body><p class="uc-error-subcaption">Too many users have viewed or downloaded
this file recently. Please try accessing the file again later.</p></body></html>"""


class Host(BaseHTTPRequestHandler):
    """GitHub at /OWNER/REPOSITORY/releases/, Google Drive at /download."""

    def do_GET(self) -> None:
        """Send a file, or what the host sends in its place."""
        server = self.server
        server.requests.append(self.path)
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        if '/releases/' in address.path:
            name = address.path.rpartition('/')[2]
            if name not in server.files:
                self.send_error(404)
                return
            self.send_response(302)
            self.send_header('Location', f'{server.url}/assets/{name}')
            self.end_headers()
        elif address.path.startswith('/assets/'):
            self.send_file(server.files[address.path.rpartition('/')[2]])
        elif address.path != '/download' or query['id'] not in server.files:
            self.send_error(404)
        elif server.is_over_quota:
            self.send_page(QUOTA)
        elif query.get('confirm') != 't' or query.get('export') != 'download':
            self.send_page(CONFIRM.format(path=address.path, id=query['id']))
        else:
            self.send_file(server.files[query['id']])

    def send_file(self, content: bytes) -> None:
        """Send a file, or the start of it."""
        self.send_response(200)
        self.send_header('Content-Type', 'application/octet-stream')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.sent])

    def send_page(self, text: str) -> None:
        """Send a web page."""
        self.send_response(200)
        self.send_header('Content-Type', 'text/html; charset=utf-8')
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args) -> None:
        """Print nothing."""


@contextmanager
def serve() -> Iterator[ThreadingHTTPServer]:
    """A server with ``url`` and ``requests``.

    ``files`` holds the contents by their names on GitHub and ids on Google Drive.
    ``sent`` limits the bytes of a file that arrive. With ``is_over_quota``, Google
    Drive sends no file.
    """
    with listening(Host) as server:
        server.files = {}
        server.sent, server.is_over_quota = None, False
        yield server
