"""Recorded spot capacity, one value for each tick.

The format is the one of the public spot traces: `{"metadata": {"gap_seconds": 300}, "data": [1, 0, ...]}`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

_FORMAT = 'give JSON as {"metadata": {"gap_seconds": 300}, "data": [1, 0, ...]}, 1 for spot capacity.'


class TraceError(ValueError):
    """A trace that cannot be read. The text names the source, the problem and the format."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}; {_FORMAT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Capacity of one market: a byte, 1 or 0, for each tick of `tick_seconds`."""

    ticks: bytes
    tick_seconds: float

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def seconds(self) -> float:
        return len(self.ticks) * self.tick_seconds


def parse_trace(text: str, *, source: str) -> Trace:
    """Read a trace from its JSON text. Errors name `source` (a path). Raises `TraceError`."""
    try:
        content = json.loads(text)
    except ValueError as exc:
        raise TraceError(source, f"it is not valid JSON ({exc})") from exc
    metadata = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or "gap_seconds" not in metadata:
        raise TraceError(source, "metadata.gap_seconds is missing")
    if not isinstance(content.get("data"), list):
        raise TraceError(source, "data is missing or not a list")
    tick_seconds = _read_tick_seconds(metadata["gap_seconds"], source)
    return Trace(ticks=_read_ticks(content["data"], source), tick_seconds=tick_seconds)


def _read_tick_seconds(value: Any, source: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise TraceError(source, f"gap_seconds is {value!r}, but must be a number above zero")
    return float(value)


def _read_ticks(values: list[Any], source: str) -> bytes:
    if not values:
        raise TraceError(source, "data has no ticks")
    try:
        ticks = bytes(map(int, values))
    except (TypeError, ValueError) as exc:
        raise TraceError(source, f"data has a value that is not 0 or 1 ({exc})") from exc
    if strange := set(ticks) - {0, 1}:
        raise TraceError(source, f"data has {min(strange)}, but only 0 and 1 are allowed")
    return ticks
