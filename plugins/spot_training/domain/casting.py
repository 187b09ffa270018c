"""Values that may have come out of a template or a form as text."""

from __future__ import annotations

import re
from typing import Any

from .errors import EmptyValue, InvalidInput

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
#: It becomes a part of AWS's host name.
_REGION = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,16}){1,4}")
#: Which types there are AWS knows; that they begin with `ml.` is what people forget.
_INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9.-]+")
_LEFT_OUT = frozenset({"", "none", "null"})


class _Hidden:
    """Stands for a value that is not told: errors go into logs and the ledger, where nothing masks it."""

    def __repr__(self) -> str:
        return MASK


#: What people see instead of a value that may be a secret, as in Airflow's own logs.
MASK = "***"
HIDDEN = _Hidden()


def is_left_out(value: Any) -> bool:
    """Whether a template rendered to nothing: None, empty text, or the word None."""
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


def as_whole_number(value: Any, *, field: str) -> int:
    """The number in `3`, `3.0`, `"3"` or `"3.0"`. Raises `EmptyValue` or `InvalidInput`, naming `field`."""
    if is_left_out(value):
        raise EmptyValue(field, value, "give a whole number.")
    number = _whole(value)
    if number is None:
        raise InvalidInput(field, value, "give a whole number.")
    return number


def as_region(value: Any, *, field: str) -> str | None:
    """An AWS region's name, None where it is left out. Raises `InvalidInput`, naming `field`."""
    if is_left_out(value):
        return None
    if not isinstance(value, str) or not _REGION.fullmatch(value.strip()):
        raise InvalidInput(field, value, "give an AWS region, like us-east-1.")
    return value.strip()


def as_instance_type(value: str, *, field: str) -> str:
    """A training instance type of the right form. Raises `InvalidInput`, naming `field`."""
    text = value.strip()
    if not _INSTANCE_TYPE.fullmatch(text):
        raise InvalidInput(field, value, "give a type of SageMaker's, like ml.m5.xlarge.")
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
