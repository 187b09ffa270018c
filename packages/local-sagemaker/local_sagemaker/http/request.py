"""A request as the server uses it: what aiohttp leaves to check, and the body, which may have any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

#: What S3 takes in one PutObject.
_LARGEST_BODY = 5 * 1024**3
#: Headers that identify the sender of a request. If one occurs twice, two readers could take different ones.
#: aiohttp refuses two `Host` headers.
_SINGLE_HEADERS = ("origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")


class BadRequestError(ValueError):
    """The bytes are not an HTTP request."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. `target` is a path with its query, and names of `headers` have any case."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]
    raw_headers: tuple[tuple[bytes, bytes], ...]

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


def read_head(request: web.BaseRequest) -> Head:
    """Raises `BadRequestError`."""
    target, headers = request.raw_path, request.headers
    for name in _SINGLE_HEADERS:
        if name in headers and len(headers.getall(name)) > 1:
            raise BadRequestError(f"The header {name} occurs {len(headers.getall(name))} times.")
    if target[0] != "/" and target != "*":
        target, host = _in_origin_form(target)
        changed = headers.copy()
        changed["Host"] = host
        return Head(request.method, target, _version(request), changed, request.raw_headers)
    return Head(request.method, target, _version(request), headers, request.raw_headers)


def _version(request: web.BaseRequest) -> str:
    return f"HTTP/{request.version.major}.{request.version.minor}"


def _in_origin_form(target: str) -> tuple[str, str]:
    """`http://host/path` as a path and a host, as RFC 9112, 3.2.2 requires."""
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() != "http":
        raise BadRequestError("The target of the request is neither a path nor http://HOST/PATH.")
    end = next((place for place, char in enumerate(rest) if char in "/?"), len(rest))
    path = rest[end:]
    return path if path.startswith("/") else f"/{path}", rest[:end]


async def read_at_most(request: web.BaseRequest, limit: int) -> bytes | None:
    """The body, or None when it is larger than the limit."""
    if (request.content_length or 0) > limit:
        return None
    parts, length = [], 0
    while not request.content.at_eof():
        part = await request.content.readany()
        length += len(part)
        if length > limit:
            return None
        parts.append(part)
    return b"".join(parts)


async def copy_body(request: web.BaseRequest, file: IO[bytes]) -> None:
    """Write the body to a file. Raises `BadRequestError` if it is larger than any that S3 takes."""
    _check_length(request.content_length or 0)
    async for part in request.content.iter_any():
        _check_length(file.tell() + len(part))
        file.write(part)


def _check_length(length: int) -> None:
    if length > _LARGEST_BODY:
        raise BadRequestError("The body is too large.")
