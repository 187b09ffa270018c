"""Policies that the product is measured against: greedy, Uniform Progress, the four-constant rule.

Tick by tick, as `spot_training.advise.moves` has them. The planner, another one, is in `planning`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from spot_training.advise.moves import (
    BackToSpot,
    Decider,
    Intervals,
    Mode,
    MovePolicy,
    OnDemand,
    View,
    Widen,
    Workload,
    not_by_tick,
)
from spot_training.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Greedy:
    """Spot while it lasts, waiting while there is none, on-demand when the guard says so."""

    name = "greedy"

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:  # noqa: ARG002
        return self

    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND:
            return Mode.ON_DEMAND
        return Mode.SPOT if view.has_spot else Mode.WAIT


@dataclass(frozen=True, slots=True)
class UniformProgress:
    """Uniform Progress (NSDI '24): keep the work done above the straight line to the deadline.

    Behind the line and no spot: on-demand, which is never stopped to wait. It is left for spot only while the
    work done is ahead of where the line will be two overheads later; without `hysteresis`, always.
    """

    hysteresis: bool = True
    name = "uniform_progress"

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:  # noqa: ARG002
        return self

    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND:
            is_ahead = not self.hysteresis or self._lead(view, 2 * view.overhead_seconds) >= 0
            return Mode.SPOT if is_ahead and view.has_spot is not False else Mode.ON_DEMAND
        if view.has_spot:
            return Mode.SPOT
        return Mode.ON_DEMAND if self._lead(view, 0.0) < 0 else Mode.WAIT

    def _lead(self, view: View, ahead: float) -> float:
        done = view.total_work_seconds - view.work_seconds
        return done - (view.elapsed_seconds + ahead) * view.total_work_seconds / view.total_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Four constants: how much slack to keep, in proportion to the work left and the overhead.

    No spot: wait while the slack is above `wait_work` x work left + `wait_overhead` x overhead + two ticks,
    then on-demand, which is never stopped to wait. While the slack is above `return_work` x work left +
    `return_overhead` x overhead, on-demand is left for spot; where it must be stopped to look for spot, after
    `look_every_seconds` of it. Where there is no way back, waiting to the last moment costs nothing: the rule
    then waits until the guard says no.
    """

    wait_work: float = 0.20
    wait_overhead: float = 1.6
    return_work: float = 0.057
    return_overhead: float = 0.18
    look_every_seconds: float = 3600.0
    name = "rule"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= 0:
                raise InvalidInput(f"rule.{field.name}", value, "give a number of at least zero.")

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:  # noqa: ARG002
        match workload.back_to_spot:
            case BackToSpot.BESIDE:
                return replace(self, look_every_seconds=0.0)
            case BackToSpot.STOP_FIRST:
                return self
            case BackToSpot.NEVER:
                return Greedy()
            case BackToSpot.HAND_OVER:
                raise not_by_tick()

    def decide(self, view: View) -> Mode:
        if view.mode is Mode.ON_DEMAND:
            return Mode.SPOT if self._wants_back(view) else Mode.ON_DEMAND
        if view.has_spot:
            return Mode.SPOT
        return Mode.WAIT if view.seconds_left - view.work_seconds > self._keep(view) else Mode.ON_DEMAND

    def _wants_back(self, view: View) -> bool:
        if view.has_spot is False or (
            view.has_spot is None and view.interval_seconds < self.look_every_seconds
        ):
            return False
        keep = self.return_work * view.work_seconds + self.return_overhead * view.overhead_seconds
        return view.slack_seconds > keep

    def _keep(self, view: View) -> float:
        overhead = self.wait_overhead * view.overhead_seconds
        return self.wait_work * view.work_seconds + overhead + 2 * view.tick_seconds


#: Those that need neither numpy nor numba, by name.
BASELINES: dict[str, Callable[..., MovePolicy]] = {
    policy.name: policy for policy in (OnDemand, Greedy, UniformProgress, Rule, Widen)
}
