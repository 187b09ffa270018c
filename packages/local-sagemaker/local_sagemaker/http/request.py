"""Reads HTTP/1.1 requests from a connection: any size, chunked bodies, `Expect: 100-continue`."""

from __future__ import annotations

import io
import shutil
import tempfile
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

MAX_LINE = 64 * 1024
_MAX_HEADERS = 200
#: What S3 takes in one PutObject.
_LARGEST_CHUNKED_BODY = 5 * 1024**3
_IN_MEMORY_BYTES = 8 * 1024 * 1024
_DRAINED_BYTES = 256 * 1024 * 1024
#: Headers that identify the sender of a request. If one occurs twice, two readers could take different ones.
_SINGLE_HEADERS = ("host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")


class BadRequestError(ValueError):
    """The bytes are not an HTTP request."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. `named` has the first header of each name, in lower case."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    named: dict[str, str]

    def header(self, name: str) -> str:
        return self.named.get(name, "")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keeps_alive(self) -> bool:
        wish = self.header("connection").lower()
        return wish == "keep-alive" if self.version == "HTTP/1.0" else wish != "close"


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request, on the connection (`Bounded`) or in a file."""

    stream: Any
    length: int

    def read_at_most(self, limit: int) -> bytes | None:
        """The body, or None when it is larger than the limit."""
        return None if self.length > limit else bytes(self.stream.read(self.length))

    def is_drained(self) -> bool:
        """Read the rest of the body, so that the next request can be read, and a client that still sends gets
        the answer. Returns False if there is too much to read.
        """
        if not isinstance(self.stream, Bounded):
            self.stream.close()
            return True
        if self.stream.left > _DRAINED_BYTES:
            return False
        while self.stream.left:
            self.stream.read(MAX_LINE)
        return True


def read_head(stream: BufferedIOBase) -> Head | None:
    """The next request; None when the client closed the connection. Raises `BadRequestError`."""
    line = stream.readline(MAX_LINE)
    while line in (b"\r\n", b"\n"):
        line = stream.readline(MAX_LINE)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError("This is not HTTP/1.1.")
    method, target, version = parts
    headers = _read_headers(stream)
    if target[0] != "/":
        target, headers = _in_origin_form(target, headers)
    named = {key.lower(): value for key, value in reversed(headers)}
    if len(named) != len(headers):
        _check_single(headers)
    if "host" not in named and version != "HTTP/1.0":
        raise BadRequestError("The header Host is missing.")
    return Head(method, target, version, headers, named)


def _read_headers(stream: BufferedIOBase) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for _ in range(_MAX_HEADERS):
        line = stream.readline(MAX_LINE)
        if line in (b"\r\n", b"\n", b""):
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name.strip():
            raise BadRequestError("A header line has no name.")
        headers.append((name.strip(), value.strip()))
    raise BadRequestError("Too many headers.")


def read_body(stream: BufferedIOBase, head: Head) -> Body:
    """The body of the request that `read_head` returned."""
    if "chunked" in head.header("transfer-encoding").lower():
        return _read_chunks(stream)
    try:
        length = int(head.header("content-length") or 0)
    except ValueError as exc:
        raise BadRequestError("Content-Length is not a number.") from exc
    if length < 0:
        raise BadRequestError("Content-Length is negative.")
    return Body(Bounded(stream, length), length)


def _read_chunks(stream: BufferedIOBase) -> Body:
    body = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115  (closed by is_drained)
    while True:
        try:
            size = int(stream.readline(MAX_LINE).partition(b";")[0], 16)
        except ValueError as exc:
            raise BadRequestError("A chunk has no size.") from exc
        if size < 0:
            raise BadRequestError("A chunk has no size.")
        if body.tell() + size > _LARGEST_CHUNKED_BODY:
            raise BadRequestError("The body is too large.")
        if size == 0:
            break
        shutil.copyfileobj(Bounded(stream, size), body)
        stream.readline(8)
    while stream.readline(MAX_LINE) not in (b"\r\n", b"\n", b""):
        pass
    length = body.tell()
    body.seek(0)
    return Body(body, length)


class Bounded(io.RawIOBase):
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
    """`http://host/path` as a path and a Host header, as RFC 9112, 3.2.2 requires."""
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
            raise BadRequestError(f"The header {name} occurs {given.count(name)} times.")
