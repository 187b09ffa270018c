"""Text that every file, database and page takes.

JSON may carry half of a character: AWS cuts messages at a length, and `"\\ud83d"` is what is left of a sign
that takes two halves. Python reads it, and then no UTF-8 can hold it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")


def whole_text(text: str) -> str:
    """The text with the replacement character for each half character; two halves that fit are joined."""
    if _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def with_whole_text(value: Any) -> Any:
    """`whole_text` of all text in what is to become JSON, names of members included."""
    match value:
        case str():
            # A member of an enumeration stays one.
            return value if type(value) is not str else whole_text(value)
        case Mapping():
            return {with_whole_text(name): with_whole_text(item) for name, item in value.items()}
        case list() | tuple():
            return [with_whole_text(item) for item in value]
        case _:
            return value
