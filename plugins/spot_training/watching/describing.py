"""Describing jobs, one call each: the few that a watcher waits for, or what the list cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .periodic import Failing, PeriodicTask

if TYPE_CHECKING:
    from .connection import Connection
    from .listing import LookForChanges, LookUpNewJobs
    from .registry import WatchedJobs

#: After so many jobs in a row that cannot be described the others wait, too: the cause is not these jobs.
GIVE_UP_AFTER = 3


class DescribeJobs(PeriodicTask):
    """Describes the queued jobs one by one, until the list is due: that says more for a call."""

    def __init__(
        self, client: Connection, watched: WatchedJobs, changes: LookForChanges, look_up: LookUpNewJobs
    ) -> None:
        super().__init__(client, monotonic=watched.monotonic)
        self._watched = watched
        self._changes = changes
        self._look_up = look_up

    def due_at(self) -> float:
        return self._watched.to_describe.due_at(only_musts=self._watched.feed.is_flood)

    def do(self) -> None:
        jobs = self.client.get()
        in_vain = 0
        while (watched := self._watched.next_to_describe()) is not None:
            try:
                job = jobs.snapshot(watched.name)
            except Exception as error:
                self._watched.update_failed(watched, error, is_quiet=not self.may_report)
                in_vain += 1
                if in_vain == GIVE_UP_AFTER:
                    raise  # which counts for the client as well
                self.client.failed()
            else:
                in_vain = 0
                self.client.answered()
                self._watched.update_described(watched, job)
            if self._changes.is_due or self._look_up.is_due:
                return

    @property
    def may_report(self) -> bool:
        """Where the list fails as well, `LookForChanges` reports it."""
        return self._changes.failing is None

    def report_trouble(self, failing: Failing, error: Exception) -> None:
        self._watched.report_trouble(failing, error, only_queued=True)
