"""One port for everything: the API of SageMaker, prices, `/_local/`, and moto for the rest.

It is an HTTP/1.1 server with keep-alive and one thread for each connection, because the servers that moto
brings close the connection after each answer, and boto3 keeps its connections. An answer that must get lost
closes the connection. `access` refuses what a web page may have sent, before its body is read.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import socket
import socketserver
import sys
import time
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from local_sagemaker.api import protocol
from local_sagemaker.control import PREFIX as CONTROL_PREFIX
from local_sagemaker.reply import Reply, error_reply
from local_sagemaker.services import pricing, stand_ins

from . import moto_bridge
from .access import Access, find_change, make_refusal
from .request import MAX_LINE, BadRequestError, Body, Head, read_body, read_head

if TYPE_CHECKING:
    from local_sagemaker.api.protocol import SageMakerProtocol
    from local_sagemaker.clock import Clock
    from local_sagemaker.control import Control

    from .moto_bridge import Headers, WsgiApp

log = logging.getLogger(__name__)

#: The speed of the clock in the `Date` header, in seconds per real second.
SPEED_HEADER = "x-clock-speed"

_IDLE_SECONDS = 300
#: These headers of moto are not passed on: the server sets them.
_OWN_HEADERS = ("connection", "transfer-encoding", "date")
_LOGGED_CHARACTERS = 200
#: How long a client may go on sending after a refusal.
_LINGER_SECONDS = 10
#: A document from a bucket may run scripts in a browser, but not as a page of this server.
_SANDBOX = ("Content-Security-Policy", "sandbox allow-scripts allow-forms allow-popups allow-downloads")


class HttpServer(socketserver.ThreadingTCPServer):
    """Set the attributes before `serve_forever`."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 1024

    sagemaker: SageMakerProtocol
    #: The other regions that have their own training jobs.
    elsewhere: dict[str, SageMakerProtocol]
    control: Control
    moto: WsgiApp
    clock: Clock
    access: Access
    #: Whether moto may answer calls of endpoints that do not exist.
    allows_stand_ins: bool = False

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # a client may go away at any time
            log.error("a connection failed", exc_info=error)


class _Connection(socketserver.StreamRequestHandler):
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 0
    server: HttpServer

    def handle(self) -> None:
        try:
            while self._handle_one():
                pass
        except TimeoutError:
            pass
        except BadRequestError as exc:
            self._send(Reply(status=400, body=str(exc).encode(), content_type="text/plain"), keep_alive=False)

    def _handle_one(self) -> bool:
        """Answer one request; False when the connection is to be closed."""
        head = read_head(self.rfile)
        if head is None:
            return False
        refusal = self.server.access.find_refusal(head.method, head.target, head.named)
        if refusal is not None:
            self._refuse(head, refusal)
            return False
        if head.header("expect").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = read_body(self.rfile, head)
        target = head.header("x-amz-target")
        reply: Reply | None
        if target.startswith(protocol.TARGET_PREFIX):
            region = moto_bridge.region_of(head.header("authorization"))
            sagemaker = self.server.elsewhere.get(region, self.server.sagemaker)
            content = body.read_at_most(protocol.MAX_BODY_BYTES)
            reply = sagemaker.answer(target, head.header("content-type"), content)
            if reply is None:
                return self._pass_to_moto(head, body, read=content or b"")
        elif target.startswith(pricing.TARGET_PREFIX):
            reply = pricing.answer(target, body.read_at_most(protocol.MAX_BODY_BYTES))
        elif f"{head.path}/".startswith(CONTROL_PREFIX):
            content = body.read_at_most(protocol.MAX_BODY_BYTES)
            reply = self.server.control.answer(head.method, head.path, content)
        else:
            return self._pass_to_moto(head, body)
        if reply.is_lost:
            return False
        if reply.delay_seconds:
            time.sleep(reply.delay_seconds)
        keep_alive = body.is_drained() and head.keeps_alive
        self._send(reply, keep_alive=keep_alive, is_head=head.method == "HEAD")
        return keep_alive

    def _why_refused(self, head: Head) -> str | None:
        if self.server.allows_stand_ins:
            return None
        return stand_ins.why_invocation_refused(head.method, head.path, head.header("authorization"))

    def _pass_to_moto(self, head: Head, body: Body, *, read: bytes | None = None) -> bool:
        """`read` is the body, where it was read already."""
        reason = self._why_refused(head)
        if reason is not None:
            keep_alive = body.is_drained() and head.keeps_alive
            self._send(error_reply(stand_ins.REFUSED, 400, reason), keep_alive=keep_alive)
            return keep_alive
        given = body if read is None else Body(io.BytesIO(read), body.length)
        host, port = self.server.server_address[:2]
        environ = moto_bridge.make_environ(
            head, given, server=(str(host), port), client=self.client_address[:2]
        )
        change = find_change(head.method, environ["PATH_INFO"], head.named)
        if change is not None:
            self._refuse(head, change)
            return False
        status_line, headers, content = moto_bridge.call(self.server.moto, environ)
        keep_alive = body.is_drained() and head.keeps_alive
        if head.header("sec-fetch-mode") == "navigate":
            headers = _sandboxed(headers)
        self._send_raw(status_line, headers, content, is_head=head.method == "HEAD", keep_alive=keep_alive)
        return keep_alive

    def _refuse(self, head: Head, text: str) -> None:
        """Answer without reading the body, and close: the body must not be taken for the next request."""
        log.warning("refused %r %r: %s", head.method, head.target[:_LOGGED_CHARACTERS], text)
        reply = make_refusal(text, path=head.path, content_type=head.header("content-type"))
        self._send(reply, keep_alive=False, is_head=head.method == "HEAD")
        self._linger()

    def _linger(self) -> None:
        """Read and discard what still comes: a client that is cut off while it sends may never read the
        answer.
        """
        last = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := last - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(MAX_LINE):
                    return

    def _send(self, reply: Reply, *, keep_alive: bool, is_head: bool = False) -> None:
        clock = self.server.clock
        extra = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in reply.headers)
        head = (
            f"HTTP/1.1 {reply.status} {http.client.responses.get(reply.status, 'Unknown')}\r\n"
            f"x-amzn-RequestId: {protocol.request_id()}\r\nContent-Type: {reply.content_type}\r\n{extra}"
            f"Content-Length: {len(reply.body)}\r\nDate: {_http_date(int(clock.now().timestamp()))}\r\n"
            f"{SPEED_HEADER}: {clock.speed:g}\r\n"
            f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
        )
        self.connection.sendall(head.encode("latin-1", "replace") + (b"" if is_head else reply.body))

    def _send_raw(
        self, status: str, headers: Headers, content: bytes, *, is_head: bool, keep_alive: bool
    ) -> None:
        code = int(status.split(maxsplit=1)[0])
        has_body = not (is_head or code in (204, 304) or code < 200)
        kept = [(k, v) for k, v in headers if _is_passed_on(k.lower())]
        if has_body or not any(k.lower() == "content-length" for k, _ in kept):
            kept = [(k, v) for k, v in kept if k.lower() != "content-length"]
            if code not in (204, 304):
                kept.append(("Content-Length", str(len(content))))
        lines = [f"HTTP/1.1 {status}", *(f"{k}: {_one_line(v)}" for k, v in kept)]
        lines += [
            f"Date: {_http_date(int(time.time()))}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
            "",
            "",
        ]
        head = "\r\n".join(lines).encode("latin-1", "replace")
        self.connection.sendall(head + content if has_body else head)


def _is_passed_on(name: str) -> bool:
    """CORS headers are not passed on either: no page of another origin may read an answer."""
    return name not in _OWN_HEADERS and not name.startswith("access-control-")


def _sandboxed(headers: Headers) -> Headers:
    """Add a policy that removes this server's origin from a document. Browsers show no PDF in a sandbox."""
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    return headers if kind.lower().startswith("application/pdf") else [*headers, _SANDBOX]


@lru_cache(maxsize=1)
def _http_date(epoch_seconds: int) -> str:
    return formatdate(epoch_seconds, usegmt=True)


def _one_line(value: object) -> str:
    return str(value).replace("\r", " ").replace("\n", " ")
