"""The logs of a few jobs, shown while they are written: whose, when to read, and what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .duty import Renewed
from .logs import LogTail
from .reports import LogLines

if TYPE_CHECKING:
    from .budget import CallBudget
    from .logs import TrainingLogs

#: For so many jobs of a watcher at most, so often.
LIVE_LOGS_UP_TO = 10
LIVE_LOG_SECONDS = 10.0


class LiveLogs:
    """Not safe for threads but in `read`: who adds and drops while it reads holds a lock."""

    def __init__(
        self,
        make_logs: Callable[[], TrainingLogs],
        budget: CallBudget,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._make_logs = make_logs
        self._monotonic = monotonic
        self.client = Renewed(self._connect, monotonic=monotonic)
        self._tails: dict[str, LogTail] = {}
        self._read_at = float("-inf")
        self._failed = ""

    def add(self, name: str) -> None:
        """Show this job's log, if not too many others are shown."""
        if len(self._tails) < LIVE_LOGS_UP_TO:
            self._tails.setdefault(name, LogTail(name))

    def drop(self, name: str) -> None:
        self._tails.pop(name, None)

    def names(self) -> tuple[str, ...]:
        return tuple(self._tails)

    def due_at(self) -> float:
        return self._read_at if self._tails else float("inf")

    def read(self, is_awaited: Callable[[str], bool]) -> Iterator[LogLines]:
        """New lines of those that are awaited. After a failure another job's log comes first."""
        began_at = self._monotonic()
        for name, tail in sorted(self._tails.items(), key=lambda entry: entry[0] == self._failed):
            if not is_awaited(name):
                continue
            self._failed = name
            lines = tail.new_lines(self.client.get())
            self._failed = ""
            self.client.answered()
            if lines:
                yield LogLines(name=name, lines=tuple(lines))
        self._read_at = began_at + LIVE_LOG_SECONDS

    def _connect(self) -> TrainingLogs:
        logs = self._make_logs()
        logs.listen(self._budget.govern)
        return logs
