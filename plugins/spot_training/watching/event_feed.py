"""What one watcher gets from the queue of events: whether to rely on it, and whether it is flooded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .events import STORM_LASTS_SECONDS
from .periodic import NOW

if TYPE_CHECKING:
    from spot_training.sagemaker.jobs import TrainingJobs

    from .events import Handle, StateChanges

#: The list shows an end, and no event came within so long: events do not come, whatever the queue says.
EVENTS_ARE_LATE_AFTER_SECONDS = 20.0
#: For so long, and for so many jobs, an event about a job whose listeners have left still belongs to us.
REMEMBER_SECONDS = 600.0
REMEMBER_JOBS = 20_000


class EventFeed:
    """A watcher's subscription to `StateChanges`, if there is a queue. Callers hold the registry's lock."""

    def __init__(self, changes: StateChanges | None, *, monotonic: Callable[[], float]) -> None:
        self._changes = changes
        self._monotonic = monotonic
        self._is_subscribed = False
        self._are_missed = False
        #: Jobs whose listeners have left lately, and until when to remember each: the oldest first.
        self._left: dict[str, float] = {}
        self.flooded_until = NOW

    def subscribe(self, handle: Handle, jobs: TrainingJobs) -> None:
        """Have `handle` called with the events of the jobs' region. Once, however often this is called."""
        if self._changes is not None and not self._is_subscribed:
            with suppress(RuntimeError):  # no thread available: polling continues, and it is tried again
                self._is_subscribed = self._changes.subscribe(handle, region=jobs.region)

    def unsubscribe(self, handle: Handle) -> None:
        if self._changes is not None and self._is_subscribed:
            self._changes.unsubscribe(handle)
            self._is_subscribed = False
        self.flooded_until = NOW

    @property
    def is_flood(self) -> bool:
        """Whether the queue holds more events than fit into a batch."""
        return self._changes is not None and self._changes.is_behind

    @property
    def is_reliable(self) -> bool:
        """Whether events report changes soon enough: then the list is a slow safety net."""
        return (
            self._changes is not None
            and self._is_subscribed
            and self._changes.is_healthy
            and not (self._changes.is_behind or self._are_missed)
        )

    def note_event(self) -> None:
        """An event about a job of this watcher has come."""
        self._are_missed = False
        if self.is_flood:
            self.flooded_until = self._monotonic() + STORM_LASTS_SECONDS

    def note_end_without_event(self, seconds_ago: float) -> None:
        """The list or a description shows an end that no event has reported.

        A rule may be disabled, or be another account's, while the queue itself answers.
        """
        if self._is_subscribed and not self.is_flood:
            self._are_missed |= seconds_ago > EVENTS_ARE_LATE_AFTER_SECONDS

    def remember(self, name: str) -> None:
        """The last listener of this job has left: events about it may come late."""
        if self._changes is None:
            return
        now = self._monotonic()
        self._left.pop(name, None)
        self._left[name] = now + REMEMBER_SECONDS
        while len(self._left) > REMEMBER_JOBS or next(iter(self._left.values())) <= now:
            del self._left[next(iter(self._left))]

    def remembers(self, name: str) -> bool:
        return self._left.get(name, NOW) > self._monotonic()
