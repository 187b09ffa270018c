"""An answer of the server, which the HTTP server sends; and errors in AWS JSON 1.1."""

from __future__ import annotations

import json
from dataclasses import dataclass

CONTENT_TYPE = "application/x-amz-json-1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to send, after `delay_seconds` of real time. With `is_lost`, the connection is closed instead."""

    status: int = 200
    body: bytes = b""
    content_type: str = CONTENT_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    is_lost: bool = False
    delay_seconds: float = 0.0


def error_reply(code: str, status: int, message: str | None, *, member: str = "message") -> Reply:
    """An error as AWS JSON 1.1 sends it."""
    content = {"__type": code} if message is None else {"__type": code, member: message}
    return Reply(status=status, body=json.dumps(content).encode(), headers=(("x-amzn-ErrorType", code),))
