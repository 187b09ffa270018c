"""Simulated time. Everything the local SageMaker reports or waits for is in it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

#: The fastest: simulated seconds per real second.
MAX_SPEED = 10_000.0


class FixedSpeedError(ValueError):
    """The speed of this clock cannot be set. The text says why."""


class Clock(Protocol):
    """What the engine needs of a clock."""

    @property
    def speed(self) -> float:
        """Simulated seconds per real second."""

    @property
    def announced_speed(self) -> float:
        """The speed that answers tell clients."""

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
        #: A simulated instant, when it was (monotonic), and the speed since then: replaced as one.
        self._course = (datetime.now(UTC) + offset, time.monotonic(), speed)
        self.announced_speed = speed

    @property
    def speed(self) -> float:
        return self._course[2]

    def set_speed(self, speed: float, announced: float | None = None) -> None:
        """From now on. Whoever waits for an instant has to look again.

        A client that knows only the announced speed, which is faster, looks too early, and never too late.
        """
        real_now = time.monotonic()
        self._course = (self._at(real_now), real_now, speed)
        self.announced_speed = speed if announced is None else announced

    @property
    def shown_speed(self) -> float | str:
        return self.speed

    @property
    def told_speed(self) -> float | str:
        """The earlier name of `shown_speed`."""
        return self.shown_speed

    def now(self) -> datetime:
        return self._at(time.monotonic())

    def _at(self, real_moment: float) -> datetime:
        instant, since, speed = self._course
        return instant + timedelta(seconds=(real_moment - since) * speed)

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

    def set_speed(self, speed: float, announced: float | None = None) -> None:  # noqa: ARG002
        raise FixedSpeedError("The clock jumps (--speed max): its speed cannot be set.")

    def jump_to(self, at: datetime) -> None:
        with self._lock:
            instant, since, speed = self._course
            self._course = (instant + max(at - self.now(), timedelta()), since, speed)


class DrivenClock:
    """Moves only when `advance_to` is called: for tests and for simulations that need no real time."""

    def __init__(self, *, now: datetime, speed: float = 1.0) -> None:
        self.speed = speed
        self._now = now
        self._lock = threading.Lock()

    @property
    def announced_speed(self) -> float:
        return self.speed

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
