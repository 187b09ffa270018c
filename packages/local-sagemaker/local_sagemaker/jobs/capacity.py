"""Which jobs wait for which instance types, and what a change of capacity means for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local_sagemaker.market import Market

    from .run import Run
    from .running import RunningJobs
    from .schedule import Schedule


class Capacity:
    """Guarded by the engine's lock. `gained` is called for a job that waits for a type that now has capacity,
    `lost` for a job on a type that has none any more.
    """

    def __init__(
        self,
        market: Market,
        running: RunningJobs,
        schedule: Schedule,
        *,
        gained: Callable[[Run], None],
        lost: Callable[[Run], None],
    ) -> None:
        self._market = market
        self._running = running
        self._schedule = schedule
        self._gained = gained
        self._lost = lost
        self._waiting: dict[str, dict[str, Run]] = {}
        #: (instance type, is spot) -> the next change that has an event.
        self._watched: dict[tuple[str, bool], datetime] = {}

    def find(self, run: Run) -> tuple[str, ...] | None:
        """The first choice of the job that has capacity."""
        return next(
            (
                instance_types
                for instance_types in self._running.job_of(run).choices
                if all(self._is_available(run, each) for each in instance_types)
            ),
            None,
        )

    def wait(self, run: Run) -> None:
        """Let a job wait for every type it may run on."""
        for instance_type in self._running.job_of(run).possible_types:
            self._waiting.setdefault(instance_type, {})[run.name] = run
            self.watch(instance_type, is_spot=run.is_spot)

    def stop_waiting(self, run: Run) -> None:
        for waiting in self._waiting.values():
            waiting.pop(run.name, None)

    def is_waiting(self, run: Run) -> bool:
        return any(run.name in waiting for waiting in self._waiting.values())

    def watch(self, instance_type: str, *, is_spot: bool) -> None:
        """Schedule an event for the next change of the type's capacity."""
        find = self._market.next_spot_change if is_spot else self._market.next_on_demand_change
        key = (instance_type, is_spot)
        if (due := self._watched.get(key)) is not None and due <= self._schedule.now:
            return  # the event of this very change is still to come, and watches on
        change_at = find(instance_type, self._schedule.now)
        if change_at is None:
            self._watched.pop(key, None)
        elif self._watched.get(key) != change_at:
            self._watched[key] = change_at
            self._schedule.at(change_at, lambda: self._meet_change(key, change_at))

    def change(self, instance_type: str, *, is_spot: bool = True) -> None:
        """The capacity of a type may have changed: call `gained` and `lost`."""
        waiting = self._waiting.get(instance_type, {})
        concerned = [
            run
            for run in list(self._running.runs.values())
            if run.is_spot == is_spot and (instance_type in run.instance_types or run.name in waiting)
        ]
        for run in concerned:
            available = self._is_available(run, instance_type)
            if available and run.name in self._waiting.get(instance_type, {}):
                self._gained(run)
            elif not available and instance_type in run.instance_types:
                self._lost(run)
        if concerned:
            self.watch(instance_type, is_spot=is_spot)

    def clear(self) -> None:
        self._waiting.clear()
        self._watched.clear()

    def _is_available(self, run: Run, instance_type: str) -> bool:
        if run.is_spot:
            return self._market.is_spot_available(instance_type, self._schedule.now)
        return self._market.is_on_demand_available(instance_type, self._schedule.now)

    def _meet_change(self, key: tuple[str, bool], change_at: datetime) -> None:
        if self._watched.get(key) == change_at:
            del self._watched[key]
            self.change(key[0], is_spot=key[1])
