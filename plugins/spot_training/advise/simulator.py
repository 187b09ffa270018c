"""Simulates a policy on a capacity trace: what the training would have cost, and when it would be complete.

The model: the policy decides at each tick. A tick in which anything runs is billed as a whole. Every launch
takes the whole overhead, which is billed and makes no progress. Work in checkpoints is never lost. Waiting is
free. The deadline is missed if the training finishes after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spot_training.advise.moves import (
    BY_TICK,
    TOLERANCE,
    BackToSpot,
    Decider,
    Guard,
    Intervals,
    Mode,
    MovePolicy,
    View,
    Workload,
    not_by_tick,
)
from spot_training.advise.traces import Trace, make_trace

DEFAULT_GUARD = Guard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What one training cost and when it was complete. Times are seconds from submission.

    The fields from `scouts` on are only for the simulation with scouts (`hand_overs`). `cost` has theirs.
    """

    cost_dollars: float
    cost_on_demand_hours: float
    finish_seconds: float
    missed: bool
    launches: int
    interruptions: int
    wait_seconds: float
    spot_seconds: float
    on_demand_seconds: float
    scouts: int = 0
    scout_seconds: float = 0.0
    hand_overs: int = 0
    failed_hand_overs: int = 0
    lost_seconds: float = 0.0


def walk(
    policy: MovePolicy,
    workload: Workload,
    trace: Trace | Sequence[Any],
    *,
    tick_seconds: float = 300.0,
    history: Intervals = (),
    sees_capacity: bool = False,
    guard: Guard | None = DEFAULT_GUARD,
) -> Walk:
    """Simulate a policy on a trace (0 and 1 for each tick of `tick_seconds`, or a `Trace`).

    `sees_capacity`: whether the policy sees spot capacity while on-demand runs, which is impossible on
    SageMaker. After the end of the trace there is no capacity. Without a `guard`, only the policy protects
    the deadline: work that remains after the trace and the deadline is done on demand. Raises `InvalidInput`
    for `BackToSpot.HAND_OVER`.
    """
    if workload.back_to_spot not in BY_TICK:
        raise not_by_tick()
    seen = trace if isinstance(trace, Trace) else make_trace(trace, tick_seconds)
    run = _Run(workload, seen.tick_seconds, sees_capacity=sees_capacity)
    decider = policy.begin(workload, history)
    for has_spot in seen.ticks:
        if run.step(decider, guard, has_spot=bool(has_spot)):
            return run.result()
    while run.elapsed_seconds < workload.deadline_seconds:
        if run.step(decider, guard, has_spot=False):
            return run.result()
    while not run.step(_ON_DEMAND, guard, has_spot=False):
        pass
    return run.result()


class _OnDemandNow:
    def decide(self, view: View) -> Mode:  # noqa: ARG002
        return Mode.ON_DEMAND


_ON_DEMAND = _OnDemandNow()


class _Run:
    def __init__(self, workload: Workload, tick_seconds: float, *, sees_capacity: bool) -> None:
        self.workload = workload
        self.tick_seconds = tick_seconds
        self.sees_capacity = sees_capacity
        self.mode = Mode.WAIT
        self.work_seconds = workload.work_seconds
        self.owed_seconds = 0.0
        self.finish_seconds = 0.0
        self.ticks = self.launches = self.interruptions = 0
        self.ticks_in = dict.fromkeys(Mode, 0)
        self._seen: bool | None = None
        self._seen_ticks = 0

    @property
    def elapsed_seconds(self) -> float:
        return self.ticks * self.tick_seconds

    def step(self, decider: Decider, guard: Guard | None, *, has_spot: bool) -> bool:
        """Run one tick. Returns True when the work is complete."""
        view = self._look(has_spot=has_spot)
        wanted = decider.decide(view)
        allowed = guard.allow(wanted, view) if guard else wanted
        self._enter(self._mode_after(allowed, has_spot=has_spot), has_spot=has_spot)
        return self._work()

    def _look(self, *, has_spot: bool) -> View:
        is_seen = self.sees_capacity or self.mode is not Mode.ON_DEMAND
        now = has_spot if is_seen else None
        self._seen_ticks = self._seen_ticks + 1 if now is self._seen else 0
        self._seen = now
        return View(
            seconds_left=self.workload.deadline_seconds - self.elapsed_seconds,
            work_seconds=self.work_seconds,
            overhead_seconds=self.workload.overhead_seconds,
            owed_seconds=self.owed_seconds,
            mode=self.mode,
            has_spot=now,
            interval_seconds=self._seen_ticks * self.tick_seconds,
            total_work_seconds=self.workload.work_seconds,
            total_seconds=self.workload.deadline_seconds,
            tick_seconds=self.tick_seconds,
        )

    def _mode_after(self, wanted: Mode, *, has_spot: bool) -> Mode:
        """The mode that results from the wanted one, with or without capacity."""
        if self.mode is Mode.ON_DEMAND and wanted is not Mode.ON_DEMAND:
            return self._leave_on_demand(wanted, has_spot=has_spot)
        return Mode.WAIT if wanted is Mode.SPOT and not has_spot else wanted

    def _leave_on_demand(self, wanted: Mode, *, has_spot: bool) -> Mode:
        match self.workload.back_to_spot:
            case BackToSpot.NEVER | BackToSpot.HAND_OVER:
                return Mode.ON_DEMAND
            case BackToSpot.BESIDE:
                return Mode.ON_DEMAND if wanted is Mode.SPOT and not has_spot else wanted
            case BackToSpot.STOP_FIRST:
                return Mode.WAIT if wanted is Mode.SPOT and not has_spot else wanted

    def _enter(self, mode: Mode, *, has_spot: bool) -> None:
        self.interruptions += self.mode is Mode.SPOT and not has_spot
        if mode is Mode.WAIT:
            self.owed_seconds = 0.0
        elif mode is not self.mode:
            self.owed_seconds = self.workload.overhead_seconds
            self.launches += 1
        self.mode = mode
        self.ticks_in[mode] += 1

    def _work(self) -> bool:
        if self.mode is Mode.WAIT:
            self.ticks += 1
            return False
        paid = min(self.owed_seconds, self.tick_seconds)
        if self.work_seconds <= self.tick_seconds - paid + TOLERANCE:
            self.finish_seconds = self.elapsed_seconds + paid + self.work_seconds
            return True
        self.owed_seconds -= paid
        self.work_seconds -= self.tick_seconds - paid
        self.ticks += 1
        return False

    def result(self) -> Walk:
        seconds = {mode: ticks * self.tick_seconds for mode, ticks in self.ticks_in.items()}
        spot = seconds[Mode.SPOT] / 3600 * self.workload.spot_price
        dollars = spot + seconds[Mode.ON_DEMAND] / 3600 * self.workload.on_demand_price
        return Walk(
            cost_dollars=dollars,
            cost_on_demand_hours=dollars / self.workload.on_demand_price,
            finish_seconds=self.finish_seconds,
            missed=self.finish_seconds > self.workload.deadline_seconds + TOLERANCE,
            launches=self.launches,
            interruptions=self.interruptions,
            wait_seconds=seconds[Mode.WAIT],
            spot_seconds=seconds[Mode.SPOT],
            on_demand_seconds=seconds[Mode.ON_DEMAND],
        )
