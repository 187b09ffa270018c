"""One port: training jobs and `/_local/` are answered here, everything else by moto, in this process.

An HTTP/1.1 server of its own, because the servers moto brings close the connection after each answer, and
boto3 keeps its connections: one thread per connection, keep-alive, `Expect: 100-continue`, chunked bodies,
bodies of any size streamed to moto. An answer that must get lost closes the connection. `access` refuses what
a web page may have sent, before its body is read.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import os
import re
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes

import psutil

from local_sagemaker.api import protocol
from local_sagemaker.api.faults import Faults
from local_sagemaker.api.protocol import SageMakerProtocol
from local_sagemaker.containers.context import ContainerContext
from local_sagemaker.containers.images import Images, load_images
from local_sagemaker.containers.observer import ContainerObserver, NoObserver
from local_sagemaker.containers.script import ScriptWork
from local_sagemaker.containers.simulated import SimulatedWork
from local_sagemaker.control import PREFIX as CONTROL_PREFIX
from local_sagemaker.control import Control
from local_sagemaker.http.access import Access, find_change, make_refusal
from local_sagemaker.jobs.engine import Engine
from local_sagemaker.jobs.store import Store
from local_sagemaker.jobs.work import Site, Work, work_seconds
from local_sagemaker.market import Market, MarketSpec
from local_sagemaker.services import gaps, pricing
from local_sagemaker.services.events import StateChangeEvents
from local_sagemaker.services.logs import MotoLogs
from local_sagemaker.services.objects import MotoObjects

from .account import REGION
from .clock import Clock, SimulatedClock
from .reply import Reply

if TYPE_CHECKING:
    from local_sagemaker.jobs.job import TrainingJob

log = logging.getLogger(__name__)

WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: Set to 0, script jobs run without private mounts even where the system allows them.
PRIVATE_MOUNTS_VARIABLE = "LOCAL_SAGEMAKER_PRIVATE_MOUNTS"

#: How many seconds of the `Date` header pass in one second of the client.
SPEED_HEADER = "x-clock-speed"

_ROOT_PREFIX = "local-sagemaker-"
_IDLE_SECONDS = 300
_MAX_LINE = 64 * 1024
_MAX_HEADERS = 200
#: What S3 takes in one PutObject.
_LARGEST_CHUNKED_BODY = 5 * 1024**3
_IN_MEMORY_BYTES = 8 * 1024 * 1024
_SCOPE = re.compile(r"(Credential=[^/,\s]+/\d{8}/)([a-z0-9-]+)(/[a-z0-9.-]+/aws4_request)")
_DRAINED_BYTES = 256 * 1024 * 1024
#: What moto says about these is not passed on: they are the server's.
_OWN_HEADERS = ("connection", "transfer-encoding", "date")
_LOGGED_CHARACTERS = 200
#: Headers that say who sent a request: two of them, and two readers could differ.
_SINGLE_HEADERS = ("host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")
#: How long a client that was refused may go on sending.
_LINGER_SECONDS = 10
#: `--host` values that are no name of the server.
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104
#: A document out of a bucket may run scripts in a browser, but not as a page of this server.
_SANDBOX = ("Content-Security-Policy", "sandbox allow-scripts allow-forms allow-popups allow-downloads")


class LocalSageMaker:
    """The whole local cloud. `start` it, use `url`, `close` it.

    It goes by loopback names, `host` and `allowed_hosts`, which are as `access.parse_host_name` returns them.
    Each of the `other_regions` has training jobs and a market of its own; `/_local/` is about us-east-1.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        allowed_hosts: Sequence[str] = (),
        clock: Clock | None = None,
        market: MarketSpec | None = None,
        images: Images | None = None,
        observer: ContainerObserver | None = None,
        other_regions: Sequence[str] = (),
    ) -> None:
        self._clock = clock or SimulatedClock()
        self._http = _HttpServer((host, port))
        self._root = make_root()
        self.url = f"http://{'127.0.0.1' if host in _WILDCARDS else host}:{self._http.server_address[1]}"
        self._objects = MotoObjects()
        self._context = ContainerContext(
            objects=self._objects,
            logs=MotoLogs(self._clock.now),
            images=images or load_images(),
            now=self._clock.now,
            endpoint_url=self.url,
            root=self._root,
            isolate=False if os.environ.get(PRIVATE_MOUNTS_VARIABLE) == "0" else None,
            observer=observer or NoObserver(),
        )
        store = Store()
        events = StateChangeEvents(store)
        spec = market or MarketSpec()
        self.engine = self._make_engine(REGION, spec, store, (log_transition, events.tell))
        self._elsewhere = [
            self._make_engine(name, spec, Store(), (log_transition,)) for name in other_regions
        ]
        faults = Faults()
        self._http.sagemaker = SageMakerProtocol(self.engine, faults)
        self._http.elsewhere = {
            engine.region: SageMakerProtocol(engine, faults) for engine in self._elsewhere
        }
        self._http.control = Control(self.engine, faults, forget=lambda: self._forget(events))
        self._http.moto = _moto_app()
        own = () if host in _WILDCARDS else (host.lower().removesuffix("."),)
        self._http.access = Access((*own, *allowed_hosts))
        self._http.clock = self._clock
        self._thread = threading.Thread(target=self._http.serve_forever, name="http", daemon=True)

    def _make_engine(
        self,
        region: str,
        spec: MarketSpec,
        store: Store,
        listeners: tuple[Callable[[TrainingJob], None], ...],
    ) -> Engine:
        return Engine(
            clock=self._clock,
            market=Market(spec, started_at=self._clock.now()),
            store=store,
            work_for=self._work_for,
            listeners=listeners,
            region=region,
        )

    def start(self) -> None:
        for engine in (self.engine, *self._elsewhere):
            engine.start()
        self._thread.start()

    def close(self) -> None:
        """Stop serving, kill every job's processes, remove the files."""
        self._http.shutdown()
        self._http.server_close()
        for engine in (self.engine, *self._elsewhere):
            engine.close()
        for thread in threading.enumerate():
            if thread.name.startswith("job "):
                thread.join(timeout=3)
        shutil.rmtree(self._root, ignore_errors=True)

    def _forget(self, events: StateChangeEvents) -> None:
        for engine in self._elsewhere:
            engine.reset()
        _forget(events)

    def _work_for(self, site: Site, job: TrainingJob) -> Work:
        if work_seconds(job) is not None:
            return SimulatedWork(site, job, self._objects, lambda text: log.warning("%s", text))
        return ScriptWork(site, job, self._context)


def make_root() -> Path:
    """A folder for the jobs' files, named by this process; those of servers that were killed are removed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_ROOT_PREFIX}[0-9]*-*"):
        owner = folder.name.removeprefix(_ROOT_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_ROOT_PREFIX}{os.getpid()}-"))


def log_transition(job: TrainingJob) -> None:
    """One line per visit and per message of a job, on the log."""
    current = job.transitions[-1]
    if job.is_over != (current.ended_at is not None):
        return  # the terminal move has two parts: one line is enough
    log.info(
        "job=%s at=%s status=%s secondary=%s type=%s message=%r%s",
        job.name,
        job.last_modified_at.isoformat(timespec="seconds"),
        job.status,
        current.status,
        job.instance_type,
        current.message,
        f" failure={job.failure_reason!r}" if job.failure_reason else "",
    )


def _moto_app() -> WsgiApp:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    app: WsgiApp = DomainDispatcherApplication(lambda name: gaps.fill(name, create_backend_app(name)))
    return app


def _forget(events: StateChangeEvents) -> None:
    from moto.core.base_backend import BackendDict
    from moto.core.model_instances import reset_model_data

    events.forget()
    BackendDict.reset()
    reset_model_data()


# --- HTTP ---


class BadRequestError(ValueError):
    """Bytes that are no HTTP request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    #: The first header of each name in lower case.
    named: dict[str, str]
    body: Any
    length: int

    def header(self, name: str) -> str:
        return self.named.get(name, "")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keeps_alive(self) -> bool:
        wish = self.header("connection").lower()
        return wish == "keep-alive" if self.version == "HTTP/1.0" else wish != "close"

    def read_at_most(self, limit: int) -> bytes | None:
        """The body, or None when it is larger than the limit."""
        return None if self.length > limit else bytes(self.body.read(self.length))


class _HttpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 1024

    sagemaker: SageMakerProtocol
    elsewhere: dict[str, SageMakerProtocol]
    control: Control
    moto: WsgiApp
    clock: Clock
    access: Access

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # a client that went away is no news
            log.error("a connection failed", exc_info=error)


class _Connection(socketserver.StreamRequestHandler):
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 0
    server: _HttpServer

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
        request = self._read_request()
        if request is None:
            return False
        target = request.header("x-amz-target")
        sagemaker = self.server.elsewhere.get(_region_of(request), self.server.sagemaker)
        reply: Reply | None
        if target.startswith(protocol.TARGET_PREFIX):
            body = request.read_at_most(protocol.MAX_BODY_BYTES)
            reply = sagemaker.answer(target, request.header("content-type"), body)
            if reply is None:
                return self._pass_to_moto(request, io.BytesIO(body or b""))
        elif target.startswith(pricing.TARGET_PREFIX):
            reply = pricing.answer(target, request.read_at_most(protocol.MAX_BODY_BYTES))
        elif f"{request.path}/".startswith(CONTROL_PREFIX):
            body = request.read_at_most(protocol.MAX_BODY_BYTES)
            reply = self.server.control.answer(request.method, request.path, body)
        else:
            return self._pass_to_moto(request, request.body)
        if reply.is_lost:
            return False
        if reply.delay_seconds:
            time.sleep(reply.delay_seconds)
        keep_alive = _is_drained(request) and request.keeps_alive
        self._send(reply, keep_alive=keep_alive, is_head=request.method == "HEAD")
        return keep_alive

    # --- reading ---

    def _read_request(self) -> _Request | None:
        line = self.rfile.readline(_MAX_LINE)
        while line in (b"\r\n", b"\n"):
            line = self.rfile.readline(_MAX_LINE)
        if not line:
            return None
        parts = line.decode("latin-1").split()
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadRequestError("This is not HTTP/1.1.")
        method, target, version = parts
        headers = self._read_headers()
        if target[0] != "/":
            target, headers = _in_origin_form(target, headers)
        names = {key.lower(): value for key, value in reversed(headers)}
        if len(names) != len(headers):
            _check_single(headers)
        if "host" not in names and version != "HTTP/1.0":
            raise BadRequestError("The header Host is missing.")
        refusal = self.server.access.find_refusal(method, target, names)
        if refusal is not None:
            self._refuse(method, target, names, refusal)
            return None
        if names.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, length = self._read_body(names)
        return _Request(
            method=method,
            target=target,
            version=version,
            headers=headers,
            named=names,
            body=body,
            length=length,
        )

    def _read_headers(self) -> list[tuple[str, str]]:
        headers: list[tuple[str, str]] = []
        for _ in range(_MAX_HEADERS):
            line = self.rfile.readline(_MAX_LINE)
            if line in (b"\r\n", b"\n", b""):
                return headers
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not name.strip():
                raise BadRequestError("A header line has no name.")
            headers.append((name.strip(), value.strip()))
        raise BadRequestError("Too many headers.")

    def _read_body(self, names: dict[str, str]) -> tuple[Any, int]:
        if "chunked" in names.get("transfer-encoding", "").lower():
            return self._read_chunks()
        try:
            length = int(names.get("content-length") or 0)
        except ValueError as exc:
            raise BadRequestError("Content-Length is no number.") from exc
        if length < 0:
            raise BadRequestError("Content-Length is negative.")
        return _Bounded(self.rfile, length), length

    def _read_chunks(self) -> tuple[Any, int]:
        body = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115  (closed by _is_drained)
        while True:
            try:
                size = int(self.rfile.readline(_MAX_LINE).partition(b";")[0], 16)
            except ValueError as exc:
                raise BadRequestError("A chunk has no size.") from exc
            if size < 0:
                raise BadRequestError("A chunk has no size.")
            if body.tell() + size > _LARGEST_CHUNKED_BODY:
                raise BadRequestError("The body is too large.")
            if size == 0:
                break
            shutil.copyfileobj(_Bounded(self.rfile, size), body)
            self.rfile.readline(8)
        while self.rfile.readline(_MAX_LINE) not in (b"\r\n", b"\n", b""):
            pass
        length = body.tell()
        body.seek(0)
        return body, length

    # --- moto ---

    def _pass_to_moto(self, request: _Request, body: Any) -> bool:
        environ = self._environ(request, body)
        change = find_change(request.method, environ["PATH_INFO"], request.named)
        if change is not None:
            self._refuse(request.method, request.target, request.named, change)
            return False
        status_line = "500 Internal Server Error"
        headers: list[tuple[str, str]] = [("Content-Type", "text/plain")]

        def start_response(
            status: str, given: list[tuple[str, str]], _exc_info: Any = None
        ) -> Callable[..., Any]:
            nonlocal status_line, headers
            status_line, headers = status, given
            return lambda _data: None

        try:
            chunks = self.server.moto(environ, start_response)
            try:
                content = b"".join(chunks)
            finally:
                close = getattr(chunks, "close", None)
                if close:
                    close()
        except Exception:
            log.exception("moto failed on %s %s", request.method, request.target)
            reply = gaps.failure_reply(is_json="json" in request.header("content-type"))
            status_line, headers = "500 Internal Server Error", [("Content-Type", reply.content_type)]
            content = reply.body
        keep_alive = _is_drained(request) and request.keeps_alive
        if request.header("sec-fetch-mode") == "navigate":
            headers = _sandboxed(headers)
        self._send_raw(status_line, headers, content, is_head=request.method == "HEAD", keep_alive=keep_alive)
        return keep_alive

    def _environ(self, request: _Request, body: Any) -> dict[str, Any]:
        path, _, query = request.target.partition("?")
        host, port = self.server.server_address[:2]
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "REQUEST_URI": request.target,
            "RAW_URI": request.target,
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": request.version,
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_PORT": self.client_address[1],
            "CONTENT_LENGTH": str(request.length),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        return environ | _header_environ(request.headers)

    # --- writing ---

    def _refuse(self, method: str, target: str, names: dict[str, str], text: str) -> None:
        """Answer without a look at the body, and close: what follows must not be taken for a request."""
        log.warning("refused %r %r: %s", method, target[:_LOGGED_CHARACTERS], text)
        reply = make_refusal(text, path=target.partition("?")[0], content_type=names.get("content-type", ""))
        self._send(reply, keep_alive=False, is_head=method == "HEAD")
        self._linger()

    def _linger(self) -> None:
        """Throw away what still comes: a client that is cut off while it sends may never read the answer."""
        last = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := last - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(_MAX_LINE):
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
        self, status: str, headers: list[tuple[str, str]], content: bytes, *, is_head: bool, keep_alive: bool
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


class _Bounded(io.RawIOBase):
    """The next `length` bytes of a connection, and no more."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self.left = length

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = self.left if size is None or size < 0 else min(size, self.left)
        data = self._stream.read(wanted) if wanted else b""
        if wanted and not data:
            raise BadRequestError("The body ended early.")
        self.left -= len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self.read()

    def readline(self, size: int | None = -1) -> bytes:
        limit = self.left if size is None or size < 0 else min(size, self.left)
        data = self._stream.readline(limit) if limit else b""
        self.left -= len(data)
        return data


def _in_origin_form(target: str, headers: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """`http://host/path` as a path and its Host, as RFC 9112, 3.2.2 requires."""
    if target == "*":
        return target, headers
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() != "http":
        raise BadRequestError("The target of the request is neither a path nor http://HOST/PATH.")
    end = next((place for place, char in enumerate(rest) if char in "/?"), len(rest))
    path = rest[end:]
    others = [(name, value) for name, value in headers if name.lower() != "host"]
    return path if path.startswith("/") else f"/{path}", [("Host", rest[:end]), *others]


def _check_single(headers: list[tuple[str, str]]) -> None:
    given = [name.lower() for name, _ in headers]
    for name in _SINGLE_HEADERS:
        if given.count(name) > 1:
            raise BadRequestError(f"The header {name} is there {given.count(name)} times.")


def _is_passed_on(name: str) -> bool:
    """Nor are CORS headers: no page of another origin may read an answer, whatever a bucket's rules say."""
    return name not in _OWN_HEADERS and not name.startswith("access-control-")


def _sandboxed(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """With a policy that takes this server's origin from a document. Browsers show no PDF in a sandbox."""
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    return headers if kind.lower().startswith("application/pdf") else [*headers, _SANDBOX]


def _is_drained(request: _Request) -> bool:
    """Read what nobody read: the next request must start at its start, and a client that still sends must not
    be cut off before it reads the answer. False when that is too much.
    """
    if not isinstance(request.body, _Bounded):
        request.body.close()
        return True
    if request.body.left > _DRAINED_BYTES:
        return False
    while request.body.left:
        request.body.read(_MAX_LINE)
    return True


def _header_environ(headers: list[tuple[str, str]]) -> dict[str, Any]:
    """WSGI's names, as moto's own server makes them: S3 metadata with underscores keep their spelling."""
    from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY, should_preserve_original_header_name

    environ: dict[str, Any] = {}
    preserved: dict[str, str] = {}
    for name, value in headers:
        if "_" in name:
            if not should_preserve_original_header_name(name):
                continue
            preserved.setdefault(_environ_key(name), name)
        key = _environ_key(name)
        if key in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"):
            continue
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if "HTTP_AUTHORIZATION" in environ:
        environ["HTTP_AUTHORIZATION"] = _in_our_region(environ["HTTP_AUTHORIZATION"])
    environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = preserved
    return environ


def _environ_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


@lru_cache(maxsize=1)
def _http_date(epoch_seconds: int) -> str:
    return formatdate(epoch_seconds, usegmt=True)


def _in_our_region(authorization: str) -> str:
    """The signature's scope with our region: moto keeps regions apart, and jobs and logs are in ours."""
    return _SCOPE.sub(rf"\g<1>{REGION}\g<3>", authorization, count=1)


def _region_of(request: _Request) -> str:
    """The region that a request is signed for; empty for one without a signature."""
    scope = _SCOPE.search(request.header("authorization"))
    return scope[2] if scope else ""


def _one_line(value: object) -> str:
    return str(value).replace("\r", " ").replace("\n", " ")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return all(info[4][0] in ("127.0.0.1", "::1") for info in socket.getaddrinfo(host, None))
    except OSError:
        return False
