"""The process's thread that looks at checkpoints, one look at a time, for all jobs that wait in it.

A look may block, so it is made neither in an event loop nor in a watcher's thread. Each call passes the
process's one rate limit. With one thread, looks wait for each other before they delay anything else.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Protocol

from spot_training.process import PerProcess

from .gauges import Age, AgeGauges
from .periodic import Failing, after_failure

if TYPE_CHECKING:
    from .reports import CheckpointNews

log = logging.getLogger(__name__)

#: After a failure, a look is tried again no sooner than this.
AFTER_FAILURE_SECONDS = 10.0


class Watch(Protocol):
    """One job's checkpoints: `CheckpointWatch`."""

    def seconds_until_due(self) -> float | None: ...

    def look(self) -> CheckpointNews | None: ...

    def age(self) -> Age | None: ...


@dataclass(slots=True)
class _Entry:
    watch: Watch
    notify: Callable[[CheckpointNews], None]
    due_at: float | None = None
    failing: Failing | None = None


class CheckpointLooks:
    """Makes the looks that are due. The thread ends when nothing is watched."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._gauges = AgeGauges(monotonic)
        self._entries: dict[int, _Entry] = {}
        self._heap: list[tuple[float, int, int]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch, notify: Callable[[CheckpointNews], None]) -> None:
        """Look from now on. `notify` is called from the thread, and must return at once."""
        with self._changed:
            self._entries[id(watch)] = entry = _Entry(watch, notify)
            self._plan(entry)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="spot-training-checkpoints", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def remove(self, watch: Watch) -> None:
        with self._changed:
            self._entries.pop(id(watch), None)
            self._changed.notify()

    def reconsider(self, watch: Watch) -> None:
        """The watch has got a report of its job: its next look may be due at another time."""
        with self._changed:
            if (entry := self._entries.get(id(watch))) is not None:
                self._plan(entry)
                self._changed.notify()

    def _plan(self, entry: _Entry) -> None:
        left = entry.watch.seconds_until_due()
        entry.due_at = None if left is None else self._monotonic() + left
        if entry.due_at is not None and entry.failing is not None:
            entry.due_at = max(entry.due_at, entry.failing.again_at)
        if entry.due_at is not None:
            heapq.heappush(self._heap, (entry.due_at, next(self._numbers), id(entry.watch)))

    def _run(self) -> None:
        while True:
            self._gauges.send(self._ages)
            with self._changed:
                entry = self._next_due()
                if not self._entries:
                    self._thread, self._heap = None, []
                    break
                if entry is None:
                    self._changed.wait(self._seconds_left())
                    continue
            self._look(entry)
        self._gauges.send(self._ages, at_once=True)

    def _seconds_left(self) -> float | None:
        """Until the next look, or the gauges, are due; None for never."""
        look = max(0.0, self._heap[0][0] - self._monotonic()) if self._heap else None
        return min((left for left in (look, self._gauges.seconds_left()) if left is not None), default=None)

    def _ages(self) -> list[Age]:
        with self._changed:
            watches = [entry.watch for entry in self._entries.values()]
        return [age for watch in watches if (age := watch.age()) is not None]

    def _next_due(self) -> _Entry | None:
        """The entry with the earliest look that is due. Drops what does not count any longer."""
        while self._heap:
            due_at, _, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due_at == due_at:
                if due_at > self._monotonic():
                    return None
                heapq.heappop(self._heap)
                entry.due_at = None
                return entry
            heapq.heappop(self._heap)
        return None

    def _look(self, entry: _Entry) -> None:
        try:
            news = entry.watch.look()
        except Exception as error:
            log.debug("A look at checkpoints failed", exc_info=error)
            now = self._monotonic()
            entry.failing = after_failure(entry.failing, now)
            entry.failing.again_at = max(entry.failing.again_at, now + AFTER_FAILURE_SECONDS)
            news = None
        else:
            entry.failing = None
        with self._changed:
            is_awaited = self._entries.get(id(entry.watch)) is entry
            if is_awaited:
                self._plan(entry)
        if news is not None and is_awaited:
            entry.notify(news)


_shared: PerProcess[CheckpointLooks] = PerProcess()


def shared_looks() -> CheckpointLooks:
    """The process's one `CheckpointLooks`."""
    return _shared.get(CheckpointLooks)
