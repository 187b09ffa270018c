"""When a market has spot capacity, on a continuous time: from a trace, and less what is gone for a while.

A trace says what there is for each of its ticks. Here, capacity comes and goes only where the value changes,
so that ticks of any length, and several traces with different ticks, are on one timeline in seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spot_training.advise.moves import TOLERANCE
from spot_training.domain.errors import InvalidInput

if TYPE_CHECKING:
    from spot_training.advise.traces import Trace

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """An instance type (or a zone) to run on. All traces begin at the submission.

    `spot_price`: dollars per instance hour (None: the workload's). `speed`: work per second, compared with
    on-demand.
    """

    trace: Trace
    spot_price: float | None = None
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.speed) and self.speed > 0):
            raise InvalidInput("market.speed", self.speed, "give a number above zero.")
        price = self.spot_price
        if price is not None and not (math.isfinite(price) and price >= 0):
            raise InvalidInput("market.spot_price", price, "give dollars per instance hour.")


def intervals_of(trace: Trace) -> tuple[Interval, ...]:
    """When there is capacity: from and until, in seconds from the beginning of the trace."""
    ticks, tick, intervals, start = trace.ticks, trace.tick_seconds, [], trace.ticks.find(1)
    while start >= 0:
        end = ticks.find(0, start)
        end = len(ticks) if end < 0 else end
        intervals.append((start * tick, end * tick))
        start = ticks.find(1, end)
    return tuple(intervals)


@dataclass(slots=True)
class Capacity:
    """The capacity of one market during one training. After the end of the trace there is none."""

    intervals: Sequence[Interval]
    gone_until: float = 0.0
    _ends: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._ends = [end for _, end in self.intervals]

    def from_(self, now: float, *, for_seconds: float = 0.0) -> Interval | None:
        """The first stretch of capacity at or after `now` that lasts longer than this, or None."""
        now = max(now, self.gone_until)
        for start, end in self.intervals[bisect_right(self._ends, now) :]:
            begins = max(start, now)
            if end - begins > for_seconds + TOLERANCE:
                return begins, end
        return None

    def until(self, now: float) -> float | None:
        """Until when there is capacity; None if there is none now."""
        found = self.from_(now)
        return found[1] if found and found[0] <= now else None
