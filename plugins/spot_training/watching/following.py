"""Following one job, in an event loop or without: a watcher's reports on it until the end, or time is up."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, TypeAlias

from .checkpoint_looks import shared_looks
from .delivery import EventLoopQueue
from .reports import Report, TimeIsUp, is_last
from .scout_watch import watch_scouts
from .watched import Watch

if TYPE_CHECKING:
    from .checkpoint_watch import CheckpointWatch
    from .watched import Watcher

#: Until when a caller waits: a moment, or a function that returns it, which is called before each wait.
Until: TypeAlias = datetime | Callable[[], datetime | None] | None


def follow(
    watcher: Watcher,
    name: str,
    *,
    interval_seconds: float,
    until: Until = None,
    shows_log: bool = False,
    scouts: tuple[str, ...] = (),
    checkpoints: CheckpointWatch | None = None,
) -> Iterator[Report]:
    """Reports on a job until it is over or missing, time is up, or there is news of one of the `scouts`.

    With `checkpoints`, also what is seen of them.

    For code without a running event loop.
    """
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    watch = Watch(name=name, notify=reports.put, interval_seconds=interval_seconds, shows_log=shows_log)
    watcher.add(watch)
    watches = watch_scouts(watcher, scouts, interval_seconds=interval_seconds, notify=reports.put)
    patience = _Patience(watcher, name, until)
    if checkpoints is not None:
        shared_looks().add(checkpoints, reports.put)
    try:
        while True:
            try:
                report = reports.get(timeout=patience.seconds_left())
            except queue.Empty:
                report = patience.is_over()
            yield report
            if is_last(report):
                return
    finally:
        if checkpoints is not None:
            shared_looks().remove(checkpoints)
        for each in (watch, *watches):
            watcher.unwatch(each)


class Follower(EventLoopQueue[Report]):
    """Reports on a job as `follow` has them, without blocking the event loop.

        with Follower(watcher, name, interval_seconds=30) as reports:
            async for report in reports:

    Registers with the watcher where the iteration begins, and must be closed: `with` or `close` does it.
    `must_describe`, `due_in_seconds` and `shows_log`: see `JobWatcher.add`.
    """

    __slots__ = (
        "_checkpoints",
        "_due_in_seconds",
        "_must_describe",
        "_patience",
        "_scouts",
        "_watcher",
        "interval_seconds",
        "name",
        "shows_log",
    )

    def __init__(
        self,
        watcher: Watcher,
        name: str,
        *,
        interval_seconds: float,
        until: Until = None,
        must_describe: bool = True,
        due_in_seconds: float | None = None,
        shows_log: bool = False,
        scouts: tuple[str, ...] = (),
        checkpoints: CheckpointWatch | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.interval_seconds = interval_seconds
        self.shows_log = shows_log
        self._watcher = watcher
        self._checkpoints = checkpoints
        self._scouts: tuple[str, ...] | list[Watch] = scouts
        self._must_describe = must_describe
        self._due_in_seconds = due_in_seconds
        self._patience = None if until is None else _Patience(watcher, name, until)

    def close(self) -> None:
        self._watcher.unwatch(self)
        if self._checkpoints is not None:
            shared_looks().remove(self._checkpoints)
        for scout in self._scouts:
            if isinstance(scout, Watch):
                self._watcher.unwatch(scout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def notify(self, report: Report, /) -> None:
        self.put(report)

    def __aiter__(self) -> Self:
        self._watcher.add(self, must_describe=self._must_describe, due_in_seconds=self._due_in_seconds)
        names = tuple(scout for scout in self._scouts if isinstance(scout, str))
        if names:
            interval = self.interval_seconds
            self._scouts = watch_scouts(self._watcher, names, interval_seconds=interval, notify=self.notify)
        if self._checkpoints is not None:
            shared_looks().add(self._checkpoints, self.notify)
        return self

    def __anext__(self) -> asyncio.Future[Report]:
        previous = self._next
        if previous is not None and not previous.cancelled() and is_last(previous.result()):
            raise StopAsyncIteration
        if self._patience is None:
            return self.next()
        return self.next(self._patience.seconds_left(), self._patience.is_over)


class _Patience:
    """Until when a caller waits. The watcher expects each new moment."""

    __slots__ = ("_moment", "_name", "_until", "_watcher")

    def __init__(self, watcher: Watcher, name: str, until: Until) -> None:
        self._watcher = watcher
        self._name = name
        self._until = until
        self._moment: datetime | None = None

    def seconds_left(self) -> float | None:
        moment = self._until() if callable(self._until) else self._until
        left = None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())
        if left is not None and moment != self._moment:
            self._watcher.expect(self._name, left)
        self._moment = moment
        return left

    def is_over(self) -> TimeIsUp:
        return TimeIsUp(until=self._moment or datetime.now(UTC))
