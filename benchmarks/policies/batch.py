"""Many walks at once, compiled: the simulator's own model.

Each function walks every row of an array of traces, nobody seeing capacity while on-demand runs. A test holds
them against the plain walk of `spot_training.advise.simulator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spot_training.advise.moves import (
    TOLERANCE,
    BackToSpot,
    Guard,
    MovePolicy,
    OnDemand,
    UntilDeadline,
    Widen,
    Workload,
)
from spot_training.advise.simulator import DEFAULT_GUARD
from spot_training.domain.errors import InvalidInput
from spot_training.domain.way_back import KEEP_WHILE_ON_DEMAND, KEEP_WHILE_WAITING

from . import kernels
from .baselines import Greedy, Rule, UniformProgress
from .market import market_types
from .optimum import find_optimum
from .planning import FIRST_AGE_HOURS, LEARNED_REDRAW_HOURS, Planner, planned_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BACK = {BackToSpot.BESIDE: 0, BackToSpot.STOP_FIRST: 1, BackToSpot.NEVER: 2}


@dataclass(frozen=True, kw_only=True)
class Walks:
    """One value for each trace: cost in on-demand hours, finish in seconds from submission, launches."""

    cost_on_demand_hours: NDArray[np.float64]
    finish_seconds: NDArray[np.float64]
    launches: NDArray[np.float64]
    deadline_seconds: float

    @property
    def missed(self) -> int:
        return int((self.finish_seconds > self.deadline_seconds + TOLERANCE).sum())


def walk_many(
    policy: MovePolicy,
    workload: Workload,
    traces: Any,
    tick_seconds: float,
    *,
    guard: Guard = DEFAULT_GUARD,
) -> Walks:
    """Walk one of the built-in policies over every row of `traces`, an array of 0 and 1 (traces, ticks)."""
    ticks = np.ascontiguousarray(traces, dtype=np.uint8)
    tick = float(tick_seconds)
    if isinstance(policy, Planner) and not isinstance(policy.begin(workload), Greedy | Rule):
        rows = _walk_planner_rows(policy, workload, ticks, tick, guard)
    else:
        if isinstance(policy, Planner):
            policy = policy.begin(workload)  # type: ignore[assignment]
        code, constants = _constants(policy, workload)
        rows = kernels.walk_rows(
            code,
            constants,
            ticks,
            tick,
            *_amounts(workload),
            _kept_by(guard, workload),
            _BACK[workload.back_to_spot],
        )
    return Walks(
        cost_on_demand_hours=rows[:, 0],
        finish_seconds=rows[:, 1],
        launches=rows[:, 2],
        deadline_seconds=workload.deadline_seconds,
    )


def optimum_many(workload: Workload, traces: Any, tick_seconds: float) -> NDArray[np.float64]:
    """The least cost in on-demand hours for every row of `traces`."""
    return np.array([find_optimum(workload, ticks, tick_seconds) for ticks in traces])


def _amounts(workload: Workload) -> tuple[float, float, float, float]:
    return (
        float(workload.work_seconds),
        float(workload.deadline_seconds),
        float(workload.overhead_seconds),
        workload.spot_price / workload.on_demand_price,
    )


def _kept_by(guard: Guard, workload: Workload) -> tuple[float, float, float]:
    launch = workload.overhead_seconds if guard.overhead_seconds is None else guard.overhead_seconds
    return float(launch), float(guard.reserve_seconds), float(guard.work_factor)


def _constants(policy: object, workload: Workload) -> tuple[int, NDArray[np.float64]]:
    match policy:
        case OnDemand():
            return kernels.ON_DEMAND, np.zeros(1)
        case Greedy():
            return kernels.GREEDY, np.zeros(1)
        case UniformProgress():
            return kernels.UNIFORM_PROGRESS, np.array([1.0 if policy.hysteresis else 0.0])
        case Rule():
            rule = policy.begin(workload)
            if isinstance(rule, Greedy):
                return kernels.GREEDY, np.zeros(1)
            constants = (rule.wait_work, rule.wait_overhead, rule.return_work, rule.return_overhead)  # type: ignore[attr-defined]
            return kernels.RULE, np.array([*constants, rule.look_every_seconds])  # type: ignore[attr-defined]
        case UntilDeadline():
            decider = policy.begin(workload)
            if workload.back_to_spot is BackToSpot.NEVER:
                return kernels.GREEDY, np.zeros(1)
            waits = (KEEP_WHILE_WAITING, decider.hand_over_seconds)  # type: ignore[attr-defined]
            back = (KEEP_WHILE_ON_DEMAND, decider.look_every_seconds)  # type: ignore[attr-defined]
            return kernels.UNTIL_DEADLINE, np.array([*waits, *back])
        case Widen():
            return kernels.WIDEN, np.array(policy.begin(workload).ends)  # type: ignore[attr-defined]
    raise InvalidInput("policy", policy, "only the built-in policies are compiled: use simulate().")


def _walk_planner_rows(
    planner: Planner, workload: Workload, traces: NDArray[np.uint8], tick: float, guard: Guard
) -> NDArray[np.float64]:
    tables = planned_tables(workload, planner.prior)
    rows = np.empty((len(traces), 3))
    for n in range(len(traces)):
        rows[n] = kernels.walk_planner(
            traces[n],
            tick,
            *_amounts(workload),
            _kept_by(guard, workload),
            tables.costs,
            tables.slacks,
            tables.step_hours,
            planner.prior.hazard_table,
            market_types(),
            planner.prior.type_weights,
            np.array(kernels.AGE_HOURS),
            FIRST_AGE_HOURS,
            1 / LEARNED_REDRAW_HOURS,
        )
    return rows
