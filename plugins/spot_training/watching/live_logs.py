"""The logs of a few jobs, shown while they are written: whose, when to read, and what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from spot_training.sagemaker.logs import LogTail

from .periodic import Renewed
from .reports import LogLines

if TYPE_CHECKING:
    from spot_training.sagemaker.logs import TrainingLogs

    from .rate_limit import CallBudget

#: For so many jobs of a watcher at most, so often.
LIVE_LOGS_UP_TO = 10
LIVE_LOG_SECONDS = 10.0
#: Who waits for a deadline looks up from its job and waits again: its log goes on then.
REMEMBER_SECONDS = 60.0


class LiveLogs:
    """The first jobs of those whose logs are asked for; where one is dropped, the next has its place.

    `add`, `drop` and `names` are called under the watcher's lock; `read` without it, by the watcher's thread.
    """

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
        #: In the order of their coming.
        self._tails: dict[str, LogTail] = {}
        #: Who was dropped lately, and until when to remember: the oldest first.
        self._left: dict[str, tuple[float, LogTail]] = {}
        self._read_at = float("-inf")
        self._failed = ""

    def add(self, name: str) -> None:
        """Show this job's log; on from where it was shown, if it was dropped just now."""
        self._forget_old()
        if name not in self._tails:
            _, tail = self._left.pop(name, (0.0, None))
            self._tails[name] = tail or LogTail(name)

    def drop(self, name: str) -> None:
        if (tail := self._tails.pop(name, None)) is not None:
            self._left[name] = (self._monotonic() + REMEMBER_SECONDS, tail)
        self._forget_old()

    def names(self) -> tuple[str, ...]:
        """Whose logs are shown."""
        return tuple(islice(self._tails, LIVE_LOGS_UP_TO))

    def due_at(self) -> float:
        return self._read_at if self._tails else float("inf")

    def read(self, is_awaited: Callable[[str], bool]) -> Iterator[LogLines]:
        """New lines of those that are awaited. After a failure another job's log comes first."""
        began_at = self._monotonic()
        shown = list(islice(self._tails.items(), LIVE_LOGS_UP_TO))  # at once: others come and go meanwhile
        for name, tail in sorted(shown, key=lambda entry: entry[0] == self._failed):
            if not is_awaited(name):
                continue
            self._failed = name
            lines = tail.new_lines(self.client.get())
            self._failed = ""
            self.client.answered()
            if lines:
                yield LogLines(name=name, lines=tuple(lines))
        self._read_at = began_at + LIVE_LOG_SECONDS

    def _forget_old(self) -> None:
        now = self._monotonic()
        while self._left and next(iter(self._left.values()))[0] <= now:
            del self._left[next(iter(self._left))]

    def _connect(self) -> TrainingLogs:
        logs = self._make_logs()
        logs.listen(self._budget.ration)
        return logs
