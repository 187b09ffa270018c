"""Capacity over time, from windows, a recorded trace, or random intervals."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator
from typing import TypeAlias

#: The changes of capacity: (seconds since the origin, available). The first is at 0; there may be no last
#: one.
Changes: TypeAlias = Iterator[tuple[float, bool]]


class Timeline:
    """Capacity over the seconds since an origin. It takes changes only as far as it is asked for."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._starts: list[float] = []
        self._values: list[bool] = []
        self._ended = False

    def is_available_at(self, seconds: float) -> bool:
        self._draw_beyond(seconds)
        return self._values[max(0, bisect.bisect_right(self._starts, seconds) - 1)]

    def next_change_after(self, seconds: float) -> float | None:
        self._draw_beyond(seconds)
        position = bisect.bisect_right(self._starts, seconds)
        return self._starts[position] if position < len(self._starts) else None

    def _draw_beyond(self, seconds: float) -> None:
        while not self._ended and (not self._starts or self._starts[-1] <= seconds):
            change = next(self._changes, None)
            if change is None:
                self._ended = True
            elif not self._values or change[1] != self._values[-1]:
                # To the millisecond: converting to an instant and back must give the same number.
                self._starts.append(round(change[0], 3))
                self._values.append(change[1])


def windows(given: list[tuple[float, float, bool]], default: bool) -> Callable[[str], Changes]:
    edges = sorted({0.0, *(edge for start, end, _ in given for edge in (start, end) if edge != float("inf"))})

    def value(seconds: float) -> bool:
        matching = [available for start, end, available in given if start <= seconds < end]
        return matching[-1] if matching else default

    return lambda _instance_type: iter([(edge, value(edge)) for edge in edges])


def trace_changes(
    data: list[bool], *, gap_seconds: float, skip_seconds: float, repeat: bool
) -> Callable[[str], Changes]:
    skipped = int(skip_seconds // gap_seconds)
    rotated = data[skipped:] + (data[:skipped] if repeat else [])

    def changes(_instance_type: str) -> Changes:
        values = itertools.cycle(rotated) if repeat and len(set(rotated)) > 1 else iter(rotated)
        return ((tick * gap_seconds, value) for tick, value in enumerate(values))

    return changes


def random_changes(
    *, seed: int, available_for_seconds: float, away_for_seconds: float
) -> Callable[[str], Changes]:
    def changes(instance_type: str) -> Changes:
        # Not for secrets: the same seed must give the same capacity. Each type has its own random stream.
        stream = random.Random(f"{seed}:{instance_type}")  # noqa: S311
        at = 0.0
        for available in itertools.cycle((True, False)):
            yield at, available
            at += max(1.0, stream.expovariate(1 / (available_for_seconds if available else away_for_seconds)))

    return changes
