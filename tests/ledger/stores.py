"""S3-compatible stores that are not S3, and keys that change: a small proxy before the local cloud's S3."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_KEY = re.compile(r"Credential=([^/]+)/")


@dataclass(slots=True, kw_only=True)
class Store:
    """What the store at `url` does: which headers it ignores or refuses, and which access keys it takes.

    `keys` None takes all; a key that is not among them is answered with the error code `answer`. `asked` are
    the requests so far.
    """

    url: str = ""
    ignores: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    keys: frozenset[str] | None = None
    answer: str = "InvalidAccessKeyId"
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def store_before(cloud_url: str) -> Iterator[Store]:
    """A store that behaves as told, and keeps its objects in the local cloud."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: Any) -> None: ...

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            store.asked.append((self.command, self.path))
            key = _KEY.search(self.headers.get("Authorization", ""))
            if store.keys is not None and (key is None or key[1] not in store.keys):
                self._answer(403, {}, _error(store.answer))
                return
            if refused := [name for name in store.refuses if self.headers.get(name)]:
                self._answer(501, {}, _error("NotImplemented", f"header {refused[0]}"))
                return
            headers = {n: v for n, v in self.headers.items() if n not in store.ignores}
            connection = http.client.HTTPConnection(urlsplit(cloud_url).netloc, timeout=30)
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read())
            finally:
                connection.close()

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            hop_by_hop = {"connection", "transfer-encoding", "server", "date"}
            is_head = self.command == "HEAD"
            for name, value in headers.items():
                if name.lower() not in hop_by_hop and (is_head or name.lower() != "content-length"):
                    self.send_header(name, value)
            if not is_head or "Content-Length" not in headers:
                self.send_header("Content-Length", "0" if is_head else str(len(body)))
            self.end_headers()
            if not is_head:
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815 - the base class's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    store.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield store
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _error(code: str, message: str = "refused") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
