"""Passes requests to moto, which is a WSGI application in this process."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Container, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes

from local_sagemaker.account import REGION
from local_sagemaker.services import gaps
from local_sagemaker.services.objects import let_moto_forget

if TYPE_CHECKING:
    from .request import Head

log = logging.getLogger(__name__)

WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers: TypeAlias = list[tuple[str, str]]

#: A host of AWS with a region, of any partition: `bucket.s3.cn-north-1.amazonaws.com.cn`.
_AWS_HOST = re.compile(r"((?:.*?[.-])?)([a-z]{2,4}(?:-[a-z]+)+-\d)(\.amazonaws\.com)(?:\.cn)?((?::\d*)?)")
_S3_HOST = re.compile(r"(.*\.)?s3[.-]")
_SCOPE = re.compile(r"(Credential=[^/,\s]+/\d{8}/)([a-z0-9-]+)(/[a-z0-9.-]+/aws4_request)")


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """moto as a WSGI application. It is imported at the first call, so that the server is ready sooner."""
    return make_app()(environ, start_response)


@cache
def make_app() -> WsgiApp:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    let_moto_forget()
    app: WsgiApp = DomainDispatcherApplication(lambda name: gaps.fill(name, create_backend_app(name)))
    return app


def forget_everything() -> None:
    """Delete what every service of moto holds."""
    from moto.core.base_backend import BackendDict
    from moto.core.model_instances import reset_model_data

    BackendDict.reset()
    reset_model_data()


def call(app: WsgiApp, environ: dict[str, Any]) -> tuple[str, Headers, bytes]:
    """Status line, headers and body of the answer; an internal failure if moto raises an exception."""
    status_line = "500 Internal Server Error"
    headers: Headers = [("Content-Type", "text/plain")]

    def start_response(status: str, given: Headers, _exc_info: Any = None) -> Callable[..., Any]:
        nonlocal status_line, headers
        status_line, headers = status, given
        return lambda _data: None

    try:
        chunks = app(environ, start_response)
        try:
            return status_line, headers, b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close:
                close()
    except Exception:
        log.exception("moto failed on %s %s", environ["REQUEST_METHOD"], environ["RAW_URI"])
        reply = gaps.failure_reply(is_json="json" in environ.get("CONTENT_TYPE", ""))
        return "500 Internal Server Error", [("Content-Type", reply.content_type)], reply.body


def decoded(path: str) -> str:
    """A path without escapes, as WSGI has it."""
    return unquote_to_bytes(path).decode("latin-1")


def make_environ(
    head: Head, body: Any, *, server: tuple[str, int], client: str, regions: Container[str]
) -> dict[str, Any]:
    """A request as WSGI passes it. `body` is a file at its end."""
    length = body.tell()
    body.seek(0)
    path, _, query = head.target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": decoded(path),
        "QUERY_STRING": query,
        "REQUEST_URI": head.target,
        "RAW_URI": head.target,
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": head.version,
        "REMOTE_ADDR": client,
        "CONTENT_LENGTH": str(length),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    return environ | _header_environ(head, regions)


def region_of(authorization: str) -> str:
    """The region that a request is signed for; empty without a signature."""
    scope = _SCOPE.search(authorization)
    return scope[2] if scope else ""


def _header_environ(head: Head, regions: Container[str]) -> dict[str, Any]:
    """The headers with WSGI's names, as moto's own server makes them. S3 metadata keep underscores."""
    from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY, should_preserve_original_header_name

    environ: dict[str, Any] = {}
    preserved: dict[str, str] = {}
    for raw_name, raw_value in head.raw_headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:
            if not should_preserve_original_header_name(name):
                continue
            preserved.setdefault(_environ_key(name), name)
        key = _environ_key(name)
        if key in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"):
            continue
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if host := head.header("host"):
        environ["HTTP_HOST"] = _with_home_host(host, regions)
    if "HTTP_AUTHORIZATION" in environ:
        environ["HTTP_AUTHORIZATION"] = _with_home_scope(environ["HTTP_AUTHORIZATION"], regions)
    environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = preserved
    return environ


def _environ_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _with_home_host(host: str, regions: Container[str]) -> str:
    """A host of AWS as moto is to see it. moto takes the region of such a request from there."""
    found = _AWS_HOST.fullmatch(host)
    if found is None or (found[2] in regions and not _S3_HOST.match(found[1])):
        return host
    return f"{found[1]}{REGION}{found[3]}{found[4]}"


def _with_home_scope(authorization: str, regions: Container[str]) -> str:
    """The scope of a signature as moto is to see it. moto takes the region of other requests from there."""
    found = _SCOPE.search(authorization)
    if found is None or (found[2] in regions and not found[3].startswith("/s3")):
        return authorization
    return _SCOPE.sub(rf"\g<1>{REGION}\g<3>", authorization, count=1)
