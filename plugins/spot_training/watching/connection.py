"""A watcher's connection to SageMaker: its client, AWS's time, and the rate limit of its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spot_training.sagemaker.clock import ServiceClock

from .periodic import Renewed

if TYPE_CHECKING:
    from spot_training.sagemaker.jobs import TrainingJobs

    from .rate_limit import RateLimit


class Connection(Renewed["TrainingJobs"]):
    """The client, made when first needed. `prepare` gets it before each use."""

    def __init__(
        self,
        make_jobs: Callable[[], TrainingJobs],
        *,
        rate_limit: RateLimit,
        prepare: Callable[[TrainingJobs], None],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(self._connect, monotonic=monotonic)
        self.clock = ServiceClock()
        self._make_jobs = make_jobs
        self._rate_limit = rate_limit
        self._prepare = prepare

    def get(self) -> TrainingJobs:
        jobs = super().get()
        self._prepare(jobs)
        return jobs

    def _connect(self) -> TrainingJobs:
        jobs = self._make_jobs()
        jobs.listen(self.clock.listen_to)
        jobs.listen(self._rate_limit.govern)
        return jobs
