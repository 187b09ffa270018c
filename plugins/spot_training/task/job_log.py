"""What the task log shows of a training's jobs: their transitions, and the end of their own log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spot_training.domain.lifecycle import Ending, JobSnapshot
from spot_training.domain.messages import TransitionTracker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spot_training.domain.savings import Attempt

    from .options import TaskOptions

#: How much of the training's own log goes into the task log when an attempt is over.
LOG_TAIL_LINES = 50


class JobLog:
    """The task log of one process."""

    def __init__(self, log: Any, options: TaskOptions) -> None:
        self._log = log
        self._options = options
        self._tracker = TransitionTracker()
        self._postponed: list[Attempt] = []

    def show(self, job: JobSnapshot, *, only_the_latest: bool = False) -> None:
        """Log the job's new transitions."""
        for line in self._tracker.lines(job)[-1 if only_the_latest else 0 :]:
            self._log.info("%s", line)

    def show_over(self, job: JobSnapshot, attempt: Attempt) -> None:
        """Log all transitions of a job that is over, and the end of its log.

        All of them, although the trigger logged them: Airflow starts the trigger's log anew at each deferral
        of a try, so only the last attempt's would be left.
        """
        self.show(job)
        if attempt.ending is Ending.STOPPED_FOR_DEADLINE:
            self._postponed.append(attempt)  # the on-demand job must not wait for this log
        else:
            self._show_tail(attempt)

    def show_postponed(self) -> None:
        """Log the end of the logs that had to wait."""
        for attempt in self._postponed:
            self._show_tail(attempt)
        self._postponed.clear()

    def _show_tail(self, attempt: Attempt) -> None:
        failed = attempt.ending in {Ending.ALGORITHM_ERROR, Ending.CLIENT_ERROR}
        if not attempt.has_started or not (self._options.print_log or failed):
            return
        try:
            lines = self._options.access.logs().tail(attempt.job_name, LOG_TAIL_LINES)
        except Exception as error:  # noqa: BLE001 - a missing logs permission must not fail a training
            self._log.warning("The log of %s could not be read: %s", attempt.job_name, error)
            return
        if lines:
            self._log.info("The last %d lines of the log of %s:", len(lines), attempt.job_name)
        self.show_lines(lines)

    def show_lines(self, lines: Iterable[str]) -> None:
        """Log lines of the training's own log."""
        for line in lines:
            self._log.info("  | %s", line)
