"""The jobs a watcher waits for: what is known of each, which to describe next, and when each may change.

No clock and no calls: every moment is an argument (seconds of the watcher's monotonic clock).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.sagemaker.descriptions import Summary

    from .periodic import Failing
    from .reports import Report

#: Looks are quick from so long before a limit on.
BEFORE_A_LIMIT_SECONDS = 15.0
_NEVER = float("inf")
#: AWS's time comes in whole seconds: limits that differ by less are one.
_SAME_SECONDS = 2.0


class Listener(Protocol):
    """Waits for one job. `notify` is called from the watcher's thread, and must return at once."""

    name: str
    interval_seconds: float
    shows_log: bool

    def notify(self, report: Report, /) -> None: ...


class Watcher(Protocol):
    """Where listeners register: `JobWatcher`."""

    def add(
        self, listener: Listener, *, must_describe: bool = True, due_in_seconds: float | None = None
    ) -> None: ...

    def unwatch(self, listener: Listener) -> None: ...

    def expect(self, name: str, seconds: float) -> None: ...


@dataclass(eq=False, slots=True)
class Watch:
    """A listener that calls a function."""

    name: str
    notify: Callable[[Report], None]
    interval_seconds: float
    shows_log: bool = False


#: Tells one state of a job from another: its LastModifiedTime in milliseconds, and its secondary status.
#: Plain values: the garbage collector does not visit a tuple of these.
State: TypeAlias = tuple[int, str]


def state_of(job: JobSnapshot | Summary) -> State:
    return round(job.last_modified_at.timestamp() * 1000), job.secondary_status.value


@dataclass(eq=False, slots=True)
class Watched:
    """One job, its listeners, and what is known of it."""

    name: str
    #: Nearly always there is one. A tuple of it would be one more object for the garbage collector to visit.
    _first: Listener | None = None
    _others: tuple[Listener, ...] = ()
    state: State | None = None
    #: A digest of the last report; None when a listener has not got one yet.
    reported: int | None = None
    #: It is in the `DescribeQueue`.
    is_queued: bool = False
    #: A listener needs every change described, as soon as possible.
    must_describe: bool = False
    is_over: bool = False
    #: When its next own limit is, and when its listeners expect something.
    limit_at: float = _NEVER
    expected_at: float = _NEVER
    failing: Failing | None = None

    @property
    def listeners(self) -> tuple[Listener, ...]:
        return () if self._first is None else (self._first, *self._others)

    @listeners.setter
    def listeners(self, listeners: tuple[Listener, ...]) -> None:
        self._first, self._others = (listeners[0], listeners[1:]) if listeners else (None, ())

    @property
    def is_awaited(self) -> bool:
        return self._first is not None and not self.is_over

    @property
    def shows_log(self) -> bool:
        return any(listener.shows_log for listener in self.listeners)

    def is_news(self, job: Summary) -> bool:
        """Whether it is another state, and not an older one: events come twice, late, and in any order."""
        if self.state is None:
            return True
        state = state_of(job)
        return state != self.state and (job.is_terminal or state[0] >= self.state[0])


@dataclass(slots=True)
class DescribeQueue:
    """Jobs to describe: first those that must be described, in the order of their expected moments."""

    _ready: list[tuple[bool, float, int, Watched]] = field(default_factory=list)
    _resting: list[tuple[float, int, Watched]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def add(self, watched: Watched, now: float) -> None:
        """One place for each job. A job that could not be described rests first."""
        if watched.is_queued or not watched.is_awaited:
            return
        watched.is_queued = True
        if watched.failing is not None and watched.failing.again_at > now:
            heapq.heappush(self._resting, (watched.failing.again_at, next(self._numbers), watched))
        else:
            self._push(watched)

    def reorder(self, watched: Watched) -> None:
        """Its expected moment has changed."""
        if watched.is_queued and watched.failing is None:
            self._push(watched)

    def pop(self, now: float, *, only_musts: bool = False) -> Watched | None:
        """The next job, or None when none is due."""
        while self._resting and self._resting[0][0] <= now:
            self._push(heapq.heappop(self._resting)[2])
        while self._ready:
            if only_musts and self._ready[0][0]:
                return None
            watched = heapq.heappop(self._ready)[3]
            was_queued, watched.is_queued = watched.is_queued, False
            if was_queued and watched.is_awaited:
                return watched
        return None

    def due_at(self, *, only_musts: bool = False) -> float:
        """When `pop` returns a job: minus infinity for now, infinity for never."""
        if self._ready and not (only_musts and self._ready[0][0]):
            return -_NEVER
        return self._resting[0][0] if self._resting else _NEVER

    def __iter__(self) -> Iterator[Watched]:
        """All queued jobs, in no order. Some may be there twice."""
        ready, resting = (entry[3] for entry in self._ready), (entry[2] for entry in self._resting)
        return (watched for watched in chain(ready, resting) if watched.is_queued)

    def _push(self, watched: Watched) -> None:
        # A listener without any report may wait for a job that was over before it registered.
        is_optional = not watched.must_describe and watched.state is not None
        heapq.heappush(self._ready, (is_optional, watched.expected_at, next(self._numbers), watched))


@dataclass(slots=True)
class Limits:
    """Moments around which jobs may change: their own limits, and what their listeners wait for."""

    _heap: list[tuple[float, int, Watched]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def __len__(self) -> int:
        return len(self._heap)

    def set_limit(self, watched: Watched, at: float) -> None:
        """The job's next limit, which replaces the one before."""
        at -= BEFORE_A_LIMIT_SECONDS
        if abs(at - watched.limit_at) > _SAME_SECONDS:
            watched.limit_at = at
            self._push(at, watched)

    def expect(self, watched: Watched, at: float, now: float) -> None:
        """A listener waits for this moment. The earliest that is ahead counts."""
        at -= BEFORE_A_LIMIT_SECONDS
        if at < watched.expected_at or watched.expected_at <= now:
            watched.expected_at = at
            self._push(at, watched)

    def pass_due(self, now: float) -> bool:
        """Whether one has come since the last call."""
        has_come = False
        while self._heap and (self._heap[0][0] <= now or not self._counts(self._heap[0])):
            entry = heapq.heappop(self._heap)
            if self._counts(entry):
                has_come = True
                at, _, watched = entry
                if watched.limit_at == at:
                    watched.limit_at = _NEVER
        return has_come

    def next_at(self) -> float:
        """The next one, infinity for none. After `pass_due`."""
        return self._heap[0][0] if self._heap else _NEVER

    def _push(self, at: float, watched: Watched) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), watched))

    def keep_few(self, jobs: int) -> None:
        """Drop the entries of jobs that are over, once most of them are: a limit may be a month ahead."""
        if len(self._heap) > 4 * jobs + 64:
            self._heap = [entry for entry in self._heap if self._counts(entry)]
            heapq.heapify(self._heap)

    @staticmethod
    def _counts(entry: tuple[float, int, Watched]) -> bool:
        at, _, watched = entry
        return watched.is_awaited and at in (watched.limit_at, watched.expected_at)
