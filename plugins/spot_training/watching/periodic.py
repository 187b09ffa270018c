"""What a loop does again and again: each duty has its own due time, and its own rest after a failure.

A failure of one is nobody else's: it comes again, later each time, and the others go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

Client = TypeVar("Client")

#: After a failure it is tried again so soon, then twice as late each time, up to ...
AFTER_FAILURE_SECONDS = 1.0
LONGEST_REST_SECONDS = 30.0
#: How long it must have been failing before those concerned are told, and how often they are told again.
TROUBLE_AFTER_SECONDS = 60.0
TROUBLE_AGAIN_SECONDS = 300.0
#: So many failures with no answer between them may be old credentials: the client is made anew, so often.
FAILURES_BEFORE_RENEWAL = 2
RENEW_EVERY_SECONDS = 60.0


@dataclass(slots=True)
class Failing:
    """Something that has been failing. Moments but `since` are on the monotonic clock."""

    since: datetime
    since_monotonic: float
    again_at: float
    times: int = 1
    told_at: float = float("-inf")

    def lasts(self, now: float) -> bool:
        """Whether it has been failing for so long that it is trouble."""
        return now - self.since_monotonic >= TROUBLE_AFTER_SECONDS

    def is_to_be_told(self, now: float) -> bool:
        """Whether those concerned are to be told now; says so once."""
        if not self.lasts(now) or now - self.told_at < TROUBLE_AGAIN_SECONDS:
            return False
        self.told_at = now
        return True


def after_failure(failing: Failing | None, now: float) -> Failing:
    """One failure more: when to try again."""
    if failing is None:
        return Failing(since=datetime.now(UTC), since_monotonic=now, again_at=now + AFTER_FAILURE_SECONDS)
    rest = min(LONGEST_REST_SECONDS, AFTER_FAILURE_SECONDS * 2.0 ** min(failing.times, 30))
    failing.times += 1
    failing.again_at = now + rest
    return failing


@dataclass(slots=True, eq=False)
class Duty:
    """One thing to do: `do` when `due_at` says so; on a failure `tell_trouble` is told when it lasts."""

    do: Callable[[], None]
    due_at: Callable[[], float]
    tell_trouble: Callable[[Failing, Exception], None]
    failing: Failing | None = None

    def next_at(self) -> float:
        """When it is due, on the monotonic clock; not before its rest is over."""
        return self.due_at() if self.failing is None else max(self.due_at(), self.failing.again_at)

    def lasts_failing(self, now: float) -> bool:
        return self.failing is not None and self.failing.lasts(now)


class Renewed(Generic[Client]):
    """A client: made when first needed, and anew when only failures come of it, at most once a minute.

    Threads may share it.
    """

    def __init__(
        self, make: Callable[[], Client], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._monotonic = monotonic
        self._client: Client | None = None
        self._made_at = float("-inf")
        self._failures = 0
        self._lock = threading.Lock()

    def get(self) -> Client:
        with self._lock:
            client = self._client
            if client is None:
                client = self._client = self._make()
                self._made_at, self._failures = self._monotonic(), 0
            return client

    def answered(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        """The connection's credentials may be others by now: perhaps make the client anew next time."""
        with self._lock:
            self._failures += 1
            is_old = self._monotonic() - self._made_at >= RENEW_EVERY_SECONDS
            if self._failures >= FAILURES_BEFORE_RENEWAL and is_old:
                self._client = None
