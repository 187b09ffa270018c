"""Mappings and lists that a template made text of: read as JSON, or refused with the way out.

Airflow renders a template to text unless the Dag has `render_template_as_native_obj=True`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from .errors import EmptyValue, InvalidInput
from .parsing import is_left_out

_HOW = (
    "Pass an upstream task's result as `prep.output`, or render it with `| tojson`, or set "
    "render_template_as_native_obj=True on the Dag."
)


def from_json_text(value: Any) -> Any:
    """The value of JSON text that begins with `{` or `[`. Anything else is returned unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def as_mapping(
    value: Any, *, field: str, wanted: str = "a dictionary", shown: object = None
) -> Mapping[str, Any]:
    """A mapping, or JSON text of one. `wanted` says what it is, `shown` replaces the value in an error.

    Raises `EmptyValue` or `InvalidInput`.
    """
    found = from_json_text(value)
    if not isinstance(found, Mapping):
        raise _refused(value, wanted, field=field, shown=value if shown is None else shown)
    return found


def as_items(value: Any, *, field: str, wanted: str = "a list") -> list[Any] | tuple[Any, ...]:
    """A list, or JSON text of one. `wanted` says of what. Raises `EmptyValue` or `InvalidInput`."""
    found = from_json_text(value)
    if not isinstance(found, list | tuple):
        raise _refused(value, wanted, field=field, shown=value)
    return found


def _refused(value: Any, wanted: str, *, field: str, shown: object) -> InvalidInput:
    is_empty = is_left_out(value)
    match value:
        case None:
            got = "None"
        case str() if is_empty:
            got = f"the text {value.strip()!r}"
        case str() if not isinstance(found := from_json_text(value), str):
            got = f"JSON text of {'a dictionary' if isinstance(found, Mapping) else 'a list'} (str)"
        case str():
            got = "other text (str)"
        case _:
            got = f"a value of type {type(value).__name__}"
    why = ": the upstream task pushed nothing" if is_empty else ""
    way_out = f"give {wanted}, or JSON text of it, and not {got}{why}. {_HOW}"
    return (EmptyValue if is_empty else InvalidInput)(field, shown, way_out)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """` Did you mean max_wait?`, to append to a way out. Empty if no known name is close."""
    by_lower = {each.lower(): each for each in known}
    close = get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]}?" if close else ""
