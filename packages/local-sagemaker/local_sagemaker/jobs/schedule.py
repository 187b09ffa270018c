"""What happens when: one heap of events for all jobs.

A waiting job costs an entry in a dict; no job has a poll or a timer. An event happens at the instant it is
due, even when the thread comes late or the clock jumps. So the same market gives the same events at every
speed.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .run import Run

log = logging.getLogger(__name__)

#: Events of jobs that moved on stay in the heap until due, but no more than this, or a quarter of the heap.
_FEW_EVENTS = 1000


@dataclass(order=True, slots=True)
class Event:
    """Something due. With a run, it happens only while the job is not over and in the given phase and
    stretch.
    """

    due: datetime
    order: int
    action: Callable[[], None] = field(compare=False)
    run: Run | None = field(compare=False, default=None)
    phase: int | None = field(compare=False, default=None)
    stretch: int | None = field(compare=False, default=None)

    @property
    def is_alive(self) -> bool:
        run = self.run
        return run is None or (
            not run.is_over and self.phase in (None, run.phase) and self.stretch in (None, run.stretch)
        )


class Schedule:
    """The events to come. Guarded by the engine's lock.

    `now` is the simulated instant of the current event or call. `wake` is called when a new event is the
    first one due, `fail` when an event of a job raises an exception.
    """

    def __init__(self, now: datetime, *, wake: Callable[[], None], fail: Callable[[Run], None]) -> None:
        self.now = now
        self.wake = wake
        self._fail = fail
        self._heap: list[Event] = []
        self._sweep_above = _FEW_EVENTS
        self._orders = itertools.count()

    def at(
        self,
        due: datetime,
        action: Callable[[], None],
        run: Run | None = None,
        *,
        phase: int | None = None,
        stretch: int | None = None,
    ) -> None:
        """Do something at an instant."""
        event = Event(due, next(self._orders), action, run, phase, stretch)
        heapq.heappush(self._heap, event)
        if self._heap[0] is event:
            self.wake()
        if len(self._heap) > self._sweep_above:
            self._drop_dead_events()

    def after(self, run: Run, seconds: float, action: Callable[[], None]) -> None:
        """Do something later, unless the job has moved to another phase by then."""
        self.at(self.now + timedelta(seconds=seconds), action, run, phase=run.phase)

    def run_due(self, now: datetime) -> None:
        """Do everything due until `now`, each at its own instant."""
        while self._heap and self._heap[0].due <= now:
            event = heapq.heappop(self._heap)
            if event.is_alive:
                self.now = max(self.now, event.due)
                self._perform(event)
        self.now = max(self.now, now)

    def next_due(self) -> datetime | None:
        return self._heap[0].due if self._heap else None

    def next_alive_due(self) -> datetime | None:
        """When something will really happen next."""
        while self._heap and not self._heap[0].is_alive:
            heapq.heappop(self._heap)
        return self.next_due()

    def list_alive(self) -> list[Event]:
        return [event for event in self._heap if event.is_alive]

    def clear(self) -> None:
        self._heap.clear()
        self._sweep_above = _FEW_EVENTS

    def _perform(self, event: Event) -> None:
        try:
            event.action()
        except Exception:
            # A bug in one job must not end all jobs: the traceback goes to the log, and the job fails.
            log.exception("an event of the simulation failed")
            if event.run is not None and not event.run.is_over:
                self._fail(event.run)

    def _drop_dead_events(self) -> None:
        """Each holds its job as it was, maybe for days. The next sweep is many events away."""
        self._heap = self.list_alive()
        heapq.heapify(self._heap)
        self._sweep_above = _FEW_EVENTS + len(self._heap) * 5 // 4
