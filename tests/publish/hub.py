"""A local server that answers as Hugging Face does."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """What the server has and was asked.

    Args:
        address: Its address.
    """

    def __init__(self, address):
        self.address = address
        self.models = {}  # (OWNER/NAME, revision) -> folder
        self.asked = []

    def find(self, repository, revision):
        """The folder of a model by its revision or the commit of that, or None."""
        for (name, branch), folder in self.models.items():
            if name == repository and revision in (branch, commit(branch)):
                return folder, commit(branch)
        return None, None


def commit(branch):
    return hashlib.sha1(branch.encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub = None

    def do_GET(self):
        self.hub.asked.append(self.path)
        api = re.match(r'/api/models/([^/]+/[^/]+)/(revision|tree)/([^/?]+)', self.path)
        file = re.match(r'/([^/]+/[^/]+)/resolve/([^/]+)/([^/?]+)', self.path)
        folder, number = self.hub.find(*(api or file).group(1, 3 if api else 2))
        if folder is None:
            return self.answer(404, b'{}', {'X-Error-Code': 'RepoNotFound'})
        if file:
            data = (folder / file[3]).read_bytes()
            etag = hashlib.sha256(data).hexdigest()
            return self.answer(200, data, {'ETag': etag, 'X-Repo-Commit': number})
        files = sorted(folder.iterdir())
        if api[2] == 'revision':
            content = dict(id=api[1], sha=number)
            content['siblings'] = [dict(rfilename=path.name) for path in files]
        else:
            content = [
                dict(
                    type='file', path=path.name, size=path.stat().st_size, oid='0' * 40
                )
                for path in files
            ]
        return self.answer(200, json.dumps(content).encode(), {})

    do_HEAD = do_GET

    def answer(self, status, data, headers):
        self.send_response(status)
        for key, value in {'Content-Length': str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    server = ThreadingHTTPServer(('127.0.0.1', 0), type('Bound', (Handler,), {}))
    hub = server.RequestHandlerClass.hub = Hub(f'http://127.0.0.1:{server.server_port}')
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()
