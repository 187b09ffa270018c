"""One port for everything: the API of SageMaker, prices, `/_local/`, and moto for the rest.

aiohttp speaks HTTP, on one thread that also answers SageMaker's calls: they take microseconds, and several
threads would wait for the interpreter lock. What may take longer (moto, `/_local/`) has a thread for each
request. `access` refuses what a web page may have sent, before its body is read.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import socket
import tempfile
import threading
import time
from email.utils import formatdate
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from local_sagemaker.api import protocol
from local_sagemaker.control import PREFIX as CONTROL_PREFIX
from local_sagemaker.reply import Reply, error_reply
from local_sagemaker.services import pricing, stand_ins

from . import moto_bridge
from .access import Access, find_change, make_refusal
from .request import BadRequestError, Head, copy_body, read_at_most, read_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_sagemaker.api.protocol import SageMakerProtocol
    from local_sagemaker.clock import Clock
    from local_sagemaker.control import Control

    from .moto_bridge import Headers, WsgiApp

log = logging.getLogger(__name__)
#: aiohttp reports every client that goes away, with a traceback.
_silent = logging.getLogger(f"{__name__}.aiohttp")
_silent.setLevel(logging.CRITICAL)

#: The speed of the clock in the `Date` header, in seconds per real second.
SPEED_HEADER = "x-clock-speed"

_BACKLOG = 1024
_IDLE_SECONDS = 300
_MAX_LINE = 64 * 1024
_MAX_HEADERS = 200
#: How long a client may go on sending after its answer.
_LINGER_SECONDS = 10
#: How long requests may take that are not answered yet when the server stops.
_LAST_SECONDS = 0.2
#: These headers of moto are not passed on: the server sets them.
_OWN_HEADERS = ("connection", "transfer-encoding", "date")
_LOGGED_CHARACTERS = 200
#: Larger bodies are in a file.
_IN_MEMORY_BYTES = 8 * 1024 * 1024
#: A document from a bucket may run scripts in a browser, but not as a page of this server.
_SANDBOX = ("Content-Security-Policy", "sandbox allow-scripts allow-forms allow-popups allow-downloads")

T = TypeVar("T")


class HttpServer:
    """Binds its address at once. Set the attributes before `start`."""

    sagemaker: SageMakerProtocol
    #: The regions that a request can be for besides the first. S3 has one namespace for all.
    elsewhere: dict[str, SageMakerProtocol]
    control: Control
    moto: WsgiApp
    clock: Clock
    access: Access
    #: Whether moto may answer calls of endpoints that do not exist.
    allows_stand_ins: bool = False

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_server(address, backlog=_BACKLOG)
        host, port = self._socket.getsockname()[:2]
        self.server_address: tuple[str, int] = (str(host), int(port))
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Close all connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._socket.close()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = web.Server(
            self._answer,
            access_log=None,
            logger=_silent,
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            max_headers=_MAX_HEADERS,
        )
        listener = await self._loop.create_server(server, sock=self._socket, backlog=_BACKLOG)
        await self._stopping.wait()
        listener.close()
        await server.shutdown(_LAST_SECONDS)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._find_answer(request, read_head(request))
        except BadRequestError as exc:
            return await _say_last(request, web.Response(status=400, text=str(exc)))
        except (ConnectionError, web.RequestPayloadError):  # a client may go away at any time
            raise
        except Exception:
            log.exception("a request failed")
            return await _say_last(request, web.Response(status=500))

    async def _find_answer(self, request: web.BaseRequest, head: Head) -> web.StreamResponse:
        refusal = self.access.find_refusal(head.method, head.target, head.headers)
        if refusal is not None:
            return await self._refuse(request, head, refusal)
        if head.header("expect").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        target = head.header("x-amz-target")
        is_control = f"{head.path}/".startswith(CONTROL_PREFIX)
        if not is_control and not target.startswith((protocol.TARGET_PREFIX, pricing.TARGET_PREFIX)):
            return await self._ask_moto(request, head)
        content = await read_at_most(request, protocol.MAX_BODY_BYTES)
        if target.startswith(protocol.TARGET_PREFIX):
            region = moto_bridge.region_of(head.header("authorization"))
            sagemaker = self.elsewhere.get(region, self.sagemaker)
            reply = sagemaker.answer(target, head.header("content-type"), content)
            if reply is None:
                return await self._ask_moto(request, head, content)
        elif target.startswith(pricing.TARGET_PREFIX):
            reply = pricing.answer(target, content)
        else:
            reply = await _in_thread(partial(self.control.answer, head.method, head.path, content))
        return await self._send(request, reply, is_last=content is None)

    async def _send(self, request: web.BaseRequest, reply: Reply, *, is_last: bool) -> web.StreamResponse:
        if reply.is_lost:
            assert request.transport is not None  # noqa: S101
            request.transport.close()  # what follows is not sent
        elif reply.delay_seconds:
            await asyncio.sleep(reply.delay_seconds)
        response = self._response(reply)
        return await _say_last(request, response) if is_last else response

    async def _ask_moto(
        self, request: web.BaseRequest, head: Head, content: bytes | None = None
    ) -> web.StreamResponse:
        """`content` is the body, where it was read already."""
        if not self.allows_stand_ins:
            reason = stand_ins.why_invocation_refused(head.method, head.path, head.header("authorization"))
            if reason is not None:
                return self._response(error_reply(stand_ins.REFUSED, 400, reason))
        change = find_change(head.method, moto_bridge.decoded(head.path), head.headers)
        if change is not None:
            return await self._refuse(request, head, change)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as body:
            if content is None:
                await copy_body(request, body)
            else:
                body.write(content)
            environ = moto_bridge.make_environ(
                head, body, server=self.server_address, client=request.remote or "", regions=self.elsewhere
            )
            status, headers, answer = await _in_thread(partial(moto_bridge.call, self.moto, environ))
        if head.header("sec-fetch-mode") == "navigate":
            headers = _sandboxed(headers)
        return _response_of_moto(head.method, status, headers, answer)

    async def _refuse(self, request: web.BaseRequest, head: Head, text: str) -> web.StreamResponse:
        """Answer without reading the body, and close: the body must not be taken for the next request."""
        log.warning("refused %r %r: %s", head.method, head.target[:_LOGGED_CHARACTERS], text)
        reply = make_refusal(text, path=head.path, content_type=head.header("content-type"))
        return await _say_last(request, self._response(reply))

    def _response(self, reply: Reply) -> web.Response:
        headers = [
            ("x-amzn-RequestId", protocol.request_id()),
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            ("Date", _http_date(int(self.clock.now().timestamp()))),
            (SPEED_HEADER, f"{self.clock.announced_speed:g}"),
            *((name, _one_line(value)) for name, value in reply.headers),
        ]
        return web.Response(status=reply.status, body=reply.body, headers=headers)


async def _say_last(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    """Send the last answer of a connection. The client may go on sending for a while: one that is cut off
    while it sends may never read the answer.
    """
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.write_eof()
    return response


async def _in_thread(work: Callable[[], T]) -> T:
    """Do work that blocks. A pool's threads would have to end before the process can."""
    future = concurrent.futures.Future[T]()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001  (it is raised where the result is awaited)
            future.set_exception(exc)

    threading.Thread(target=run, name="request", daemon=True).start()
    return await asyncio.wrap_future(future)


def _response_of_moto(method: str, status: str, headers: Headers, content: bytes) -> web.Response:
    code, _, reason = status.partition(" ")
    kept = [(name, _one_line(value)) for name, value in headers if _is_passed_on(name.lower())]
    if method != "HEAD":
        kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
    kept.append(("Date", _http_date(int(time.time()))))
    return web.Response(status=int(code), reason=reason, body=content, headers=kept)


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
