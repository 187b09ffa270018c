"""The logs of a few jobs, shown while they are written: of which jobs, when to read, and what is new."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from spot_training.sagemaker.logs import LogTail

from .periodic import NEVER, NOW, Failing, PeriodicTask, Renewed
from .reports import LogLines, Trouble

if TYPE_CHECKING:
    from spot_training.sagemaker.logs import TrainingLogs

    from .rate_limit import RateLimit
    from .registry import WatchedJobs

#: For so many jobs of a watcher at most, so often.
LIVE_LOGS_UP_TO = 10
LIVE_LOG_SECONDS = 10.0
#: A listener that waits for a deadline leaves its job and comes back: the log continues then.
REMEMBER_SECONDS = 60.0


class ReadLogs(PeriodicTask):
    """Reads the logs of the first jobs that show theirs. Where one leaves, the next has its place.

    `add` and `drop` are called under the registry's lock.
    """

    client: Renewed[TrainingLogs]

    def __init__(
        self, make_logs: Callable[[], TrainingLogs], watched: WatchedJobs, rate_limit: RateLimit
    ) -> None:
        client = Renewed(self._connect, monotonic=watched.monotonic)
        super().__init__(client, monotonic=watched.monotonic)
        self._make_logs = make_logs
        self._watched = watched
        self._rate_limit = rate_limit
        #: In the order in which they came.
        self._tails: dict[str, LogTail] = {}
        #: Those that were dropped lately, and until when to remember each: the oldest first.
        self._left: dict[str, tuple[float, LogTail]] = {}
        self._read_at = NOW
        self._failed = ""

    def add(self, name: str) -> None:
        """Show this job's log, from where it ended if it was dropped just now."""
        self._forget_old()
        if name not in self._tails:
            _, tail = self._left.pop(name, (0.0, None))
            self._tails[name] = tail or LogTail(name)

    def drop(self, name: str) -> None:
        if (tail := self._tails.pop(name, None)) is not None:
            self._left[name] = (self._monotonic() + REMEMBER_SECONDS, tail)
        self._forget_old()

    def due_at(self) -> float:
        return self._read_at if self._tails else NEVER

    def do(self) -> None:
        """Report new lines. After a failure another job's log comes first."""
        began_at = self._monotonic()
        shown = list(islice(self._tails.items(), LIVE_LOGS_UP_TO))  # at once: others come and go meanwhile
        for name, tail in sorted(shown, key=lambda entry: entry[0] == self._failed):
            if not self._watched.is_awaited(name):
                continue
            self._failed = name
            lines = tail.new_lines(self.client.get())
            self._failed = ""
            self.client.answered()
            if lines:
                self._watched.notify_log_readers(name, LogLines(name=name, lines=tuple(lines)))
        self._read_at = began_at + LIVE_LOG_SECONDS

    def report_trouble(self, failing: Failing, error: Exception) -> None:
        trouble = Trouble(since=failing.since, error=str(error), service="CloudWatch Logs")
        with self._watched.lock:
            for name in islice(self._tails, LIVE_LOGS_UP_TO):
                self._watched.notify_log_readers(name, trouble)

    def _forget_old(self) -> None:
        now = self._monotonic()
        while self._left and next(iter(self._left.values()))[0] <= now:
            del self._left[next(iter(self._left))]

    def _connect(self) -> TrainingLogs:
        logs = self._make_logs()
        logs.listen(self._rate_limit.ration)
        return logs
