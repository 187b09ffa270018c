"""Members of records that only a newer version knows: they are kept, and written back.

In a small file they are where the newer version put them. In DuckDB and Parquet they are in the column
`unknown`, as JSON of the record's shape with nothing else in it: `{"colour": "green", "attempts": [{},
{"zone": "a"}]}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from .schema import COLUMNS, NESTED

_SHAPE: Mapping[str, Any] = {**COLUMNS, **NESTED}


def unknown_members(data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record's JSON that has no column."""
    found: dict[str, Any] = _beyond(data, _SHAPE) or {}
    return found


def _beyond(value: Any, shape: Any) -> Any:
    """The part of `value` that the shape does not have. None if there is none."""
    match value, shape:
        case Mapping(), Mapping():
            parts = {
                name: _beyond(item, shape[name]) if name in shape else item for name, item in value.items()
            }
            return {name: part for name, part in parts.items() if part is not None} or None
        case list(), [inner]:
            items = [_beyond(item, inner) for item in value]
            return [item or {} for item in items] if any(items) else None
        case _:
            return None


def joined(value: Any, unknown: Any) -> Any:
    """A record's known members, with the unknown ones in their places."""
    match value, unknown:
        case Mapping(), Mapping():
            return {**value, **{name: joined(value.get(name), part) for name, part in unknown.items()}}
        case list(), list():
            return [joined(item, part) for item, part in zip_longest(value, unknown)][: len(value)]
        case _:
            return value if unknown is None else unknown
