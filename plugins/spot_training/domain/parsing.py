"""Values that a template or a form may pass as text, and durations as people write and read them."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

from .errors import EmptyValue, InvalidInput

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
#: A region becomes a part of AWS's host name.
_REGION = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,16}){1,4}")
#: Only AWS knows which types exist. The common mistake is to omit `ml.`.
_INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9.-]+")
_LEFT_OUT = frozenset({"", "none", "null"})

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: A number, its unit and the space after it. Possessive, so that a failed match does not backtrack.
_PART = re.compile(r"(\d++(?:\.\d++)?)\s*+([smhdw])\s*+")
_WAY_OUT = 'give whole seconds, or text like "90m", "2h" or "1d 12h".'


class _Hidden:
    """Replaces a secret value in errors, which go into logs and the ledger, where nothing masks it."""

    def __repr__(self) -> str:
        return MASK


#: What people see instead of a value that may be a secret, as in Airflow's own logs.
MASK = "***"
HIDDEN = _Hidden()


def is_left_out(value: Any) -> bool:
    """Whether a template rendered to an empty value: None, empty text, or the word None."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _LEFT_OUT)


def as_bool(value: Any, *, field: str) -> bool:
    """True or false from a flag or its text. Raises `EmptyValue` or `InvalidInput`, naming `field`."""
    match value:
        case bool():
            return value
        case str() if value.strip().lower() in _TRUE:
            return True
        case str() if value.strip().lower() in _FALSE:
            return False
        case _ if is_left_out(value):
            raise EmptyValue(field, value, "give true or false.")
        case _:
            raise InvalidInput(field, value, "give true or false.")


#: `print_log`: the training's log as it comes, too.
LIVE = "live"


def as_log_mode(value: Any, *, field: str) -> bool | str:
    """True or false as `as_bool`, or `LIVE`. Raises `InvalidInput`, naming `field`."""
    if isinstance(value, str) and value.strip().lower() == LIVE:
        return LIVE
    try:
        return as_bool(value, field=field)
    except InvalidInput:
        raise InvalidInput(field, value, 'give true, false or "live".') from None


def as_whole_number(value: Any, *, field: str) -> int:
    """The number in `3`, `3.0`, `"3"` or `"3.0"`. Raises `EmptyValue` or `InvalidInput`, naming `field`."""
    if is_left_out(value):
        raise EmptyValue(field, value, "give a whole number.")
    number = _whole(value)
    if number is None:
        raise InvalidInput(field, value, "give a whole number.")
    return number


def as_region(value: Any, *, field: str) -> str | None:
    """The name of an AWS region, or None if it is left out. Raises `InvalidInput`, naming `field`."""
    if is_left_out(value):
        return None
    if not isinstance(value, str) or not _REGION.fullmatch(value.strip()):
        raise InvalidInput(field, value, "give an AWS region, like us-east-1.")
    return value.strip()


def as_instance_type(value: str, *, field: str) -> str:
    """A training instance type in the right format. Raises `InvalidInput`, naming `field`."""
    text = value.strip()
    if not _INSTANCE_TYPE.fullmatch(text):
        raise InvalidInput(field, value, "give a SageMaker instance type, like ml.m5.xlarge.")
    return text


def _whole(value: Any) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float():
            return int(value) if value.is_integer() else None
        case str():
            return _whole_of_text(value.strip())
        case _:
            return None


def _whole_of_text(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return _whole(float(text))
    except (ValueError, OverflowError):
        return None


# Durations -------------------------------------------------------------------------------------------

#: Ten years. A longer duration is a typing error, and dates cannot be much later.
LONGEST_SECONDS = 10 * 365 * 86400
#: The longest text for a duration or a time. Longer text is refused without parsing it.
LONGEST_TEXT = 200


def refuse_long_text(value: str, *, field: str, way_out: str) -> None:
    """Raise `InvalidInput`, with only the beginning of the text, for more than `LONGEST_TEXT` characters."""
    if len(value) > LONGEST_TEXT:
        problem = f"this text has {len(value):,} characters, the limit is {LONGEST_TEXT}; {way_out}"
        raise InvalidInput(field, f"{value[:20]}...", problem)


def parse_seconds(value: object, *, field: str) -> int:
    """Whole seconds from a number, a `timedelta`, or text: `"7200"`, `"2h"`, `"1h 30m"`.

    Raises `EmptyValue` for nothing and `InvalidInput` for anything else, naming `field`.
    """
    match value:
        case bool():
            raise InvalidInput(field, value, _WAY_OUT)
        case timedelta():
            seconds = value.total_seconds()
        case int() | float():
            seconds = float(min(value, LONGEST_SECONDS + 1)) if value == value else math.nan
        case _ if is_left_out(value):
            raise EmptyValue(field, value, _WAY_OUT)
        case str():
            seconds = _seconds_of_text(value, field=field)
        case _:
            raise InvalidInput(field, value, _WAY_OUT)
    if not math.isfinite(seconds):
        raise InvalidInput(field, value, _WAY_OUT)
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise InvalidInput(field, value, "give a duration from 0 seconds to ten years.")
    return round(seconds)


def at_least_a_second(value: object, *, field: str) -> int:
    """`parse_seconds` of a duration that may not be zero."""
    seconds = parse_seconds(value, field=field)
    if seconds < 1:
        raise InvalidInput(field, value, "give 1 second or more.")
    return seconds


def _seconds_of_text(value: str, *, field: str) -> float:
    refuse_long_text(value, field=field, way_out=_WAY_OUT)
    text = value.strip().lower()
    try:
        return float(text)
    except ValueError:
        pass
    seconds, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise InvalidInput(field, value, _WAY_OUT)
        seconds += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    return seconds


def in_words(seconds: float) -> str:
    """`5400` as `1 h 30 min`: at most two units."""
    total = round(seconds)
    if total < 0:
        return f"-{in_words(-total)}"
    if total < 60:
        return f"{total} s"
    minutes, seconds_left = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {seconds_left} s" if seconds_left and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def as_typed(seconds: int) -> str:
    """`5400` as people type it: `1h 30m`."""
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts) or "0s"
