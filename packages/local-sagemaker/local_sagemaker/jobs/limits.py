"""Max wait, max runtime and max pending time: each stops a job a little late, as AWS does.

Choices, where AWS's behaviour is unknown: max runtime counts the time in which instances are held, over all
stretches; limits are enforced a minute late (`enforcement_lag` of the market file).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from . import messages
from .lifecycle import SecondaryStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_sagemaker.market import Market

    from .run import Run
    from .running import RunningJobs
    from .schedule import Schedule

S = SecondaryStatus


class Limits:
    """Calls `stop` with the status that a job over its limit ends in."""

    def __init__(
        self,
        market: Market,
        running: RunningJobs,
        schedule: Schedule,
        *,
        stop: Callable[[Run, SecondaryStatus], None],
    ) -> None:
        self._market = market
        self._running = running
        self._schedule = schedule
        self._stop = stop

    def limit_wait(self, run: Run) -> None:
        """From the creation of a job to its end, whatever happens in between."""
        seconds = float(self._running.job_of(run).max_wait_seconds or 0) + self._lag_seconds(run)
        due = self._schedule.now + timedelta(seconds=seconds)
        self._schedule.at(due, lambda: self._enforce_max_wait(run), run)

    def limit_runtime(self, run: Run) -> None:
        """What is left of max runtime in this stretch."""
        job = self._running.job_of(run)
        left = job.max_runtime_seconds - job.held_seconds + self._lag_seconds(run)
        due = self._schedule.now + timedelta(seconds=max(0.0, left))
        self._schedule.at(due, lambda: self._enforce_max_runtime(run), run, stretch=run.stretch)

    def limit_pending(self, run: Run) -> None:
        """What is left of max pending time in this visit to Pending."""
        job = self._running.job_of(run)
        if job.max_pending_seconds is None:
            return
        left = job.max_pending_seconds + self._lag_seconds(run)
        left -= (self._schedule.now - job.transitions[-1].started_at).total_seconds()
        self._schedule.after(run, max(0.0, left), lambda: self._enforce_max_pending(run))

    def _lag_seconds(self, run: Run) -> float:
        return self._market.rule(self._running.job_of(run).instance_type).enforcement_lag_seconds

    def _enforce_max_wait(self, run: Run) -> None:
        if self._running.is_in_progress(run) and self._running.status_of(run) is not S.UPLOADING:
            self._stop(run, S.MAX_WAIT_TIME_EXCEEDED)

    def _enforce_max_runtime(self, run: Run) -> None:
        if self._running.is_in_progress(run) and self._running.status_of(run) in (S.DOWNLOADING, S.TRAINING):
            self._stop(run, S.MAX_RUNTIME_EXCEEDED)

    def _enforce_max_pending(self, run: Run) -> None:
        run.ending_message = messages.MAX_PENDING_EXCEEDED
        self._stop(run, S.STOPPED)
