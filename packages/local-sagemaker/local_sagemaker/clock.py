"""Simulated time. Everything the local SageMaker reports or waits for is in it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the engine needs of a clock."""

    @property
    def speed(self) -> float:
        """Simulated seconds per real second."""

    @property
    def shown_speed(self) -> float | str:
        """The speed as the page shows it: a number, or `max`."""

    def now(self) -> datetime:
        """The simulated instant, aware UTC; never goes back."""

    def real_seconds_until(self, at: datetime) -> float:
        """Real seconds until the simulated instant `at`; 0 if it has passed."""


class SimulatedClock:
    """Starts at the real time plus `offset` and runs `speed` times as fast."""

    def __init__(self, *, speed: float = 1.0, offset: timedelta = timedelta()) -> None:
        self.speed = speed
        self._origin = datetime.now(UTC) + offset
        self._started = time.monotonic()

    @property
    def shown_speed(self) -> float | str:
        return self.speed

    @property
    def told_speed(self) -> float | str:
        """The earlier name of `shown_speed`."""
        return self.shown_speed

    def now(self) -> datetime:
        return self._origin + timedelta(seconds=(time.monotonic() - self._started) * self.speed)

    def real_seconds_until(self, at: datetime) -> float:
        return max(0.0, (at - self.now()).total_seconds() / self.speed)


class JumpingClock(SimulatedClock):
    """`--speed max`: while no job runs a program, the engine moves the clock from one due event to the next.

    It never stops and never goes back. Between jumps, and while a program runs, it is an ordinary clock with
    the speed `SPEED_WITH_PROGRAMS`.
    """

    SPEED_WITH_PROGRAMS = 60.0
    #: The earlier name.
    SPEED_BESIDE_PROGRAMS = SPEED_WITH_PROGRAMS

    def __init__(self, *, offset: timedelta = timedelta()) -> None:
        super().__init__(speed=self.SPEED_WITH_PROGRAMS, offset=offset)
        self._lock = threading.Lock()

    @property
    def shown_speed(self) -> float | str:
        return "max"

    def jump_to(self, at: datetime) -> None:
        with self._lock:
            self._origin += max(at - self.now(), timedelta())


class DrivenClock:
    """Moves only when `advance_to` is called: for tests and for simulations that need no real time."""

    def __init__(self, *, now: datetime, speed: float = 1.0) -> None:
        self.speed = speed
        self._now = now
        self._lock = threading.Lock()

    @property
    def shown_speed(self) -> float | str:
        return self.speed

    def now(self) -> datetime:
        return self._now

    def advance_to(self, at: datetime) -> None:
        with self._lock:
            self._now = max(self._now, at)

    def real_seconds_until(self, at: datetime) -> float:
        return 0.0 if at <= self._now else threading.TIMEOUT_MAX
