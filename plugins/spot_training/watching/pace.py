"""When to look at AWS next. Pure: every moment is an argument (seconds of a monotonic clock).

Each waiting job pays for one look in its `check_interval`, and a look serves them all: the more jobs, the
more often, up to the steady pace. It is quick for a while after a job came, after a change, and around a
limit; and slow when events report changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

#: Together with the spread-out safety net this stays below twelve calls a minute.
STEADY_SECONDS = 8.0
QUICK_SECONDS = 4.0
#: How long it stays quick after something happened.
QUICK_FOR_SECONDS = 60.0
#: The safety net under events that may get lost.
WITH_EVENTS_SECONDS = 60.0
#: Looks are so far apart at least: jobs that come together are asked about together.
GATHER_SECONDS = 0.5


@dataclass(slots=True)
class Pace:
    """Seconds between looks, from who waits and what happened lately."""

    _intervals: Counter[float] = field(default_factory=Counter)
    _quick_until: float = float("-inf")

    def join(self, interval_seconds: float) -> None:
        """One more listener, that wants a look every so often."""
        self._intervals[interval_seconds] += 1

    def leave(self, interval_seconds: float) -> None:
        self._intervals[interval_seconds] -= 1
        if not self._intervals[interval_seconds]:
            del self._intervals[interval_seconds]

    def stir(self, now: float) -> None:
        """Something happened, or is about to: look quickly for a while."""
        self._quick_until = max(self._quick_until, now + QUICK_FOR_SECONDS)

    def seconds(self, now: float, *, has_events: bool = False) -> float:
        """From the last look to the next. Never above the shortest `check_interval` without events."""
        if has_events:
            return WITH_EVENTS_SECONDS
        shortest = min(self._intervals, default=STEADY_SECONDS)
        if now < self._quick_until:
            return min(shortest, QUICK_SECONDS)
        looks_per_second = sum(count / max(every, 0.001) for every, count in self._intervals.items())
        shared = max(STEADY_SECONDS, 1 / looks_per_second) if looks_per_second else STEADY_SECONDS
        return min(shortest, shared)
