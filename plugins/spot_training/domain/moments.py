"""Moments as people write and read them: a deadline's value, and a short text for a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import InvalidInput
from .parsing import LONGEST_SECONDS, parse_seconds, refuse_long_text


def clock_time(moment: datetime, now: datetime) -> str:
    """`21:40 UTC` for a time on the day of `now`, `2026-11-23 06:00 UTC` for another day."""
    same_day = moment.date() == now.date()
    return f"{moment:%H:%M} UTC" if same_day else f"{moment:%Y-%m-%d %H:%M} UTC"


_WAY_OUT = (
    'give a time with a time zone ("2026-11-23T06:00:00Z"), or a duration from the run\'s start ("12h").'
)


def deadline_from(value: object, *, run_started_at: datetime) -> datetime:
    """The moment of a deadline: a time with a time zone (ISO 8601), or a duration after the run started.

    The time zone is an offset, or an IANA name after a local time: `2026-11-23T06:00:00 Europe/Berlin`, or
    the name in brackets. Raises `InvalidInput` for a time without a time zone and for anything else.
    """
    moment = value if isinstance(value, datetime) else _as_moment(value)
    if moment is None:
        seconds = _as_duration(value)
        return run_started_at + timedelta(seconds=seconds)
    if moment.tzinfo is None:
        way_out = 'add a time zone: "2026-11-23T06:00:00+01:00" or "2026-11-23T06:00:00 Europe/Berlin".'
        raise InvalidInput("deadline", str(value), way_out)
    moment = moment.astimezone(UTC) if 2 < moment.year < 9998 else moment
    if abs((moment - run_started_at).total_seconds()) > LONGEST_SECONDS:
        raise InvalidInput(
            "deadline", str(value), "give a time within ten years of the start of the Dag run."
        )
    return moment


def _as_duration(value: object) -> int:
    if isinstance(value, str):
        refuse_long_text(value, field="deadline", way_out=_WAY_OUT)
    try:
        seconds = parse_seconds(value, field="deadline")
    except InvalidInput as error:
        raise InvalidInput("deadline", value, _WAY_OUT) from error
    if seconds == 0:
        raise InvalidInput("deadline", value, _WAY_OUT)
    return seconds


def _as_moment(value: object) -> datetime | None:
    if not isinstance(value, str) or "-" not in value:
        return None
    refuse_long_text(value, field="deadline", way_out=_WAY_OUT)
    local, name = _split_zone_name(value.strip())
    if name:
        return _in_zone(value, local, name)
    try:
        return datetime.fromisoformat(local)
    except ValueError:
        return None


_BEGINS_WITH_LETTER = re.compile(r"[A-Za-z]")


def _split_zone_name(text: str) -> tuple[str, str]:
    """A time and the name of its time zone, in brackets or after a space. The name is "" if there is none."""
    if text.endswith("]"):
        local, _, name = text[:-1].rpartition("[")
        return (local.rstrip(), name) if local.strip() and name and "]" not in name else (text, "")
    local, *behind = text.rsplit(maxsplit=1)
    return (local, behind[0]) if behind and _BEGINS_WITH_LETTER.match(behind[0]) else (text, "")


def _in_zone(value: str, local: str, name: str) -> datetime:
    """A local time in a time zone.

    A local time that occurs twice, or not at all, when clocks change means the earlier moment, which is safe.
    """
    try:
        moment = datetime.fromisoformat(local)
    except ValueError:
        raise InvalidInput(
            "deadline", value, f"{local!r} is not a time: write it like 2026-11-23T06:00:00."
        ) from None
    if moment.tzinfo is not None:
        raise InvalidInput("deadline", value, "give the offset or the name of the time zone, not both.")
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        way_out = f"{name!r} is not a known time zone: give an IANA name, like Europe/Berlin, or an offset."
        raise InvalidInput("deadline", value, way_out) from None
    if not 2 < moment.year < 9998:
        return moment.replace(tzinfo=UTC)
    return min(moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
