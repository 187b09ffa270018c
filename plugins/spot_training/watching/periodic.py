"""What a loop does again and again: each task has its own due time, and its own rest after a failure.

A failure of one task delays no other: it comes again, later each time, and the others continue.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

Client = TypeVar("Client")

log = logging.getLogger(__name__)

#: After a failure a task is tried again so soon, then twice as late each time, up to ...
AFTER_FAILURE_SECONDS = 1.0
LONGEST_REST_SECONDS = 30.0
#: A failure is reported when it has lasted so long, and again so often.
TROUBLE_AFTER_SECONDS = 60.0
TROUBLE_AGAIN_SECONDS = 300.0
#: So many failures with no answer between them may be old credentials: the client is made again, so often.
FAILURES_BEFORE_RENEWAL = 2
RENEW_EVERY_SECONDS = 60.0

NOW, NEVER = float("-inf"), float("inf")


@dataclass(slots=True)
class Failing:
    """Something that has been failing. All moments except `since` are on the monotonic clock."""

    since: datetime
    since_monotonic: float
    again_at: float
    times: int = 1
    reported_at: float = NOW

    def lasts(self, now: float) -> bool:
        """Whether it has been failing for so long that listeners must know."""
        return now - self.since_monotonic >= TROUBLE_AFTER_SECONDS

    def must_report(self, now: float) -> bool:
        """Whether listeners must get a report now. Counts as reported when it says so."""
        if not self.lasts(now) or now - self.reported_at < TROUBLE_AGAIN_SECONDS:
            return False
        self.reported_at = now
        return True


def after_failure(failing: Failing | None, now: float) -> Failing:
    """One more failure: when to try again."""
    if failing is None:
        return Failing(since=datetime.now(UTC), since_monotonic=now, again_at=now + AFTER_FAILURE_SECONDS)
    rest = min(LONGEST_REST_SECONDS, AFTER_FAILURE_SECONDS * 2.0 ** min(failing.times, 30))
    failing.times += 1
    failing.again_at = now + rest
    return failing


class Renewed(Generic[Client]):
    """A client: made when first needed, and again when all its calls fail, at most once a minute.

    Threads may share it.
    """

    def __init__(
        self, make: Callable[[], Client], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._monotonic = monotonic
        self._client: Client | None = None
        self._made_at = NOW
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
        """The connection may have other credentials by now: perhaps make the client again next time."""
        with self._lock:
            self._failures += 1
            is_old = self._monotonic() - self._made_at >= RENEW_EVERY_SECONDS
            if self._failures >= FAILURES_BEFORE_RENEWAL and is_old:
                self._client = None


class PeriodicTask(ABC):
    """One thing that a loop does: `do` when `due_at` says so. `client` makes the calls that may fail."""

    def __init__(self, client: Renewed[Any], *, monotonic: Callable[[], float]) -> None:
        self.client = client
        self.failing: Failing | None = None
        self._monotonic = monotonic

    @abstractmethod
    def due_at(self) -> float:
        """When to do it, on the monotonic clock: `NOW`, `NEVER`, or a moment."""

    @abstractmethod
    def do(self) -> None: ...

    @abstractmethod
    def report_trouble(self, failing: Failing, error: Exception) -> None:
        """Called now and then after a failure that has lasted for a while, if it `may_report`."""

    @property
    def may_report(self) -> bool:
        return True

    def next_at(self) -> float:
        """When it is due, and its rest after a failure is over."""
        return self.due_at() if self.failing is None else max(self.due_at(), self.failing.again_at)

    @property
    def is_due(self) -> bool:
        return self.next_at() <= self._monotonic()

    @property
    def lasts_failing(self) -> bool:
        return self.failing is not None and self.failing.lasts(self._monotonic())

    def attempt(self) -> None:
        """Do it. Raises nothing: a poll that fails must never end a training."""
        try:
            self.do()
        except Exception as error:
            log.debug("A look at AWS failed", exc_info=error)
            now = self._monotonic()
            self.client.failed()
            self.failing = after_failure(self.failing, now)
            if self.may_report and self.failing.must_report(now):
                self.report_trouble(self.failing, error)
        else:
            self.failing = None
