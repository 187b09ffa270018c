"""The jobs that are not over, and the one way to save a change of a job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .lifecycle import SecondaryStatus, TrainingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from .job import TrainingJob
    from .run import Run
    from .schedule import Schedule
    from .store import Store
    from .work import Work


class RunningJobs:
    """`runs` holds the jobs that are not over by name. Guarded by the engine's lock.

    The listeners are called for each change of a status or message, under the lock: they must return at once.
    """

    def __init__(
        self, store: Store, schedule: Schedule, listeners: tuple[Callable[[TrainingJob], None], ...]
    ) -> None:
        self.runs: dict[str, Run] = {}
        self._store = store
        self._schedule = schedule
        self._listeners = listeners
        self._programs: set[int] = set()

    @property
    def has_programs(self) -> bool:
        """Whether the work of any job takes real time."""
        return bool(self._programs)

    def job_of(self, run: Run) -> TrainingJob:
        job = self._store.get(run.name)
        assert job is not None  # noqa: S101
        return job

    def status_of(self, run: Run) -> SecondaryStatus:
        return self.job_of(run).secondary_status

    def is_in_progress(self, run: Run) -> bool:
        return not run.is_over and self.job_of(run).status is TrainingStatus.IN_PROGRESS

    def save(self, job: TrainingJob) -> None:
        before = self._store.get(job.name)
        self._store.put(job)
        if before is None or (before.status, before.transitions) != (job.status, job.transitions):
            for listener in self._listeners:
                listener(job)

    def enter(
        self, run: Run, status: SecondaryStatus, message: str, *, coarse: TrainingStatus | None = None
    ) -> None:
        """Move a job to another secondary status, and to another status if `coarse` gives one."""
        run.enter_phase()
        job = self.job_of(run).entered(status, self._schedule.now, message, price_ratio=run.price_ratio)
        self.save(replace(job, status=coarse) if coarse else job)

    def say(self, run: Run, message: str) -> None:
        """Replace the message of the current transition."""
        self.save(self.job_of(run).saying(message, self._schedule.now))

    def take_work(self, run: Run, work: Work) -> None:
        run.work = work
        if work.is_real:
            self._programs.add(id(run))

    def discard_work(self, run: Run) -> None:
        if run.work:
            run.work.abandon()
            run.work = None
            if id(run) in self._programs:
                self._programs.discard(id(run))
                self._schedule.wake()

    def count_instances(self, instance_type: str, *, is_spot: bool) -> int:
        """Instances of the type that spot or on-demand jobs have. Jobs that wait count too."""
        jobs = (self.job_of(run) for run in self.runs.values() if run.is_spot == is_spot)
        return sum(job.instances.get(instance_type, 0) for job in jobs)

    def abandon_all(self) -> None:
        """Kill what runs, and report nothing."""
        for run in self.runs.values():
            if run.work:
                run.work.abandon()

    def clear(self) -> None:
        for run in self.runs.values():
            run.is_over = True
        self.runs.clear()
        self._programs.clear()
