"""Capacity traces: whether there was spot capacity, for each tick.

The format is that of the public spot traces: `{"metadata": {"gap_seconds": 300}, "data": [1, 0, ...]}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spot_training.domain.errors import InvalidTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Capacity of one market: a 1 or 0 for each tick of `tick_seconds`, one byte each."""

    ticks: bytes
    tick_seconds: float
    name: str = "trace"

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def seconds(self) -> float:
        return len(self.ticks) * self.tick_seconds

    @property
    def availability(self) -> float:
        """The share of ticks with capacity."""
        return sum(self.ticks) / len(self.ticks)

    def windows(self, seconds: float, count: int) -> Iterator[Trace]:
        """Up to `count` parts of `seconds`, evenly spread, or the whole trace if it is shorter."""
        length = min(len(self.ticks), math.ceil(seconds / self.tick_seconds))
        last = len(self.ticks) - length
        starts = sorted({round(last * n / max(1, count - 1)) for n in range(count)})
        for start in starts:
            ticks = self.ticks[start : start + length]
            yield Trace(ticks=ticks, tick_seconds=self.tick_seconds, name=f"{self.name}+{start}")


def make_trace(values: Sequence[Any], tick_seconds: float, *, name: str = "trace") -> Trace:
    """A trace from plain values: 0 and 1 (or booleans), and the length of a tick. Raises `InvalidTrace`."""
    is_number = isinstance(tick_seconds, int | float) and not isinstance(tick_seconds, bool)
    if not is_number or not math.isfinite(tick_seconds) or tick_seconds <= 0:
        raise InvalidTrace(name, f"gap_seconds is {tick_seconds!r}, but must be a number above zero")
    if len(values) == 0:
        raise InvalidTrace(name, "data has no ticks")
    try:
        ticks = bytes(map(int, values))
    except (TypeError, ValueError) as exc:
        raise InvalidTrace(name, f"data has a value that is not 0 or 1 ({exc})") from exc
    if strange := set(ticks) - {0, 1}:
        raise InvalidTrace(name, f"data has {min(strange)}, but only 0 and 1 are allowed")
    return Trace(ticks=ticks, tick_seconds=float(tick_seconds), name=name)


def parse_trace(text: str, *, source: str) -> Trace:
    """A trace from JSON. `source` (a path) is its name, also in errors. Raises `InvalidTrace`."""
    try:
        content = json.loads(text)
    except ValueError as exc:
        raise InvalidTrace(source, f"it is not valid JSON ({exc})") from exc
    metadata = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or "gap_seconds" not in metadata:
        raise InvalidTrace(source, "metadata.gap_seconds is missing")
    if not isinstance(content.get("data"), list):
        raise InvalidTrace(source, "data is missing or not a list")
    return make_trace(content["data"], metadata["gap_seconds"], name=source)
