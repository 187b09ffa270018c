"""Text that every file, database and page accepts.

JSON may contain half of a character: AWS cuts messages to a length, and `"\\ud83d"` is the rest of a
character that needs two halves. Python reads it, but it cannot be written as UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")


def whole_text(text: str) -> str:
    """The text with the replacement character for each half character. Two halves that fit are joined."""
    if _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def with_whole_text(value: Any) -> Any:
    """`whole_text` of all text in a JSON value, including the names of members."""
    match value:
        case str():
            # A member of an enumeration stays a member.
            return value if type(value) is not str else whole_text(value)
        case Mapping():
            return {with_whole_text(name): with_whole_text(item) for name, item in value.items()}
        case list() | tuple():
            return [with_whole_text(item) for item in value]
        case _:
            return value
