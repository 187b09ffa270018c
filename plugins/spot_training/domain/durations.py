"""Seconds as people write and read them."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from .casting import is_left_out
from .errors import EmptyValue, InvalidInput

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_WAY_OUT = 'give whole seconds, or text like "90m", "2h" or "1d 12h".'


#: Nothing here takes longer than ten years; more is a slip, and no clock can hold much more.
LONGEST_SECONDS = 10 * 365 * 86400


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
        raise InvalidInput(field, value, "give 0 seconds or more, and ten years at most.")
    return round(seconds)


def _seconds_of_text(value: str, *, field: str) -> float:
    text = value.strip().lower()
    try:
        return float(text)
    except ValueError:
        pass
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        raise InvalidInput(field, value, _WAY_OUT)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def in_words(seconds: float) -> str:
    """`5400` as `1 h 30 min`: the two largest units that matter."""
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
