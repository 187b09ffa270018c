"""The interruptions and internal errors that a market file scripts."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from .lifecycle import SecondaryStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_sagemaker.market import Market

    from .capacity import Capacity
    from .run import Run
    from .running import RunningJobs
    from .schedule import Schedule


class ScriptedEvents:
    """Calls `interrupt` for a scripted interruption, `break_down` for an internal error."""

    def __init__(
        self,
        market: Market,
        running: RunningJobs,
        schedule: Schedule,
        capacity: Capacity,
        *,
        interrupt: Callable[[Run], None],
        break_down: Callable[[Run], None],
    ) -> None:
        self._market = market
        self._running = running
        self._schedule = schedule
        self._capacity = capacity
        self._interrupt = interrupt
        self._break_down = break_down

    def schedule_for(self, run: Run) -> None:
        """Schedule what the market file has for a job that starts to train now."""
        for instance_type in run.instance_types:
            if run.is_spot:
                for index, interruption in self._market.interruptions_for(instance_type, run.name):
                    if interruption.after_seconds is not None:
                        fire = partial(self._fire, run, instance_type, index)
                        self._schedule.after(run, interruption.after_seconds, fire)
            for index, seconds in self._market.internal_errors_for(instance_type, run.name):
                self._schedule.after(run, seconds, partial(self._fail_inside, run, instance_type, index))

    def count_checkpoint(self, run: Run) -> None:
        """Interrupt the job if the market file wants that after so many checkpoints."""
        run.checkpoints += 1
        if not run.is_spot or self._running.status_of(run) is not SecondaryStatus.TRAINING:
            return
        for instance_type in run.instance_types:
            for index, interruption in self._market.interruptions_for(instance_type, run.name):
                wanted = interruption.after_checkpoints
                if wanted is not None and run.checkpoints >= wanted:
                    self._fire(run, instance_type, index)
                    return

    def _fire(self, run: Run, instance_type: str, index: int) -> None:
        """A scripted interruption is due: it happens unless another job had it first."""
        if index not in dict(self._market.interruptions_for(instance_type, run.name)):
            return
        interruption = self._market.fire(instance_type, index, run.name)
        if interruption.away_seconds:
            until = self._schedule.now + timedelta(seconds=interruption.away_seconds)
            self._market.withdraw_until(instance_type, until)
            self._capacity.change(instance_type)
        if self._running.status_of(run) is SecondaryStatus.TRAINING:
            self._interrupt(run)

    def _fail_inside(self, run: Run, instance_type: str, index: int) -> None:
        """An internal error of AWS is due: it happens unless another job had it first."""
        if index not in dict(self._market.internal_errors_for(instance_type, run.name)):
            return
        self._market.note_internal_error(instance_type, index, run.name)
        self._break_down(run)
