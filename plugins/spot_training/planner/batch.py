"""Many walks at once, compiled: the simulator's own model, for the benchmark and the advisor.

Each function walks every row of an array of traces, nobody seeing capacity while on-demand runs. A test holds
them against the plain walk of `domain.simulator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spot_training.domain.errors import InvalidInput
from spot_training.domain.moves import (
    TOLERANCE,
    BackToSpot,
    Greedy,
    MovePolicy,
    OnDemand,
    Rule,
    UniformProgress,
    Widen,
    Workload,
)

from .compiled import jit
from .market import AGE_HOURS, forget, market_types, observe
from .optimum import find_optimum
from .planning import FIRST_AGE_HOURS, LEARNED_REDRAW_HOURS, Planner, choose, planned_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ON_DEMAND, _GREEDY, _UNIFORM_PROGRESS, _RULE, _WIDEN = range(5)
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


def walk_many(policy: MovePolicy, workload: Workload, traces: Any, tick_seconds: float) -> Walks:
    """Walk one of the built-in policies over every row of `traces`, an array of 0 and 1 (traces, ticks)."""
    ticks = np.ascontiguousarray(traces, dtype=np.uint8)
    tick = float(tick_seconds)
    if isinstance(policy, Planner) and not isinstance(policy.begin(workload), Greedy | Rule):
        rows = _walk_planner_rows(policy, workload, ticks, tick)
    else:
        if isinstance(policy, Planner):
            policy = policy.begin(workload)  # type: ignore[assignment]
        code, constants = _constants(policy, workload)
        rows = _walk_rows(code, constants, ticks, tick, *_amounts(workload), _BACK[workload.back_to_spot])
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


def _constants(policy: object, workload: Workload) -> tuple[int, NDArray[np.float64]]:
    match policy:
        case OnDemand():
            return _ON_DEMAND, np.zeros(1)
        case Greedy():
            return _GREEDY, np.zeros(1)
        case UniformProgress():
            return _UNIFORM_PROGRESS, np.array([1.0 if policy.hysteresis else 0.0])
        case Rule():
            rule = policy.begin(workload)
            if isinstance(rule, Greedy):
                return _GREEDY, np.zeros(1)
            constants = (rule.wait_work, rule.wait_overhead, rule.return_work, rule.return_overhead)  # type: ignore[attr-defined]
            return _RULE, np.array([*constants, rule.look_every_seconds])  # type: ignore[attr-defined]
        case Widen():
            return _WIDEN, np.array(policy.begin(workload).ends)  # type: ignore[attr-defined]
    raise InvalidInput("policy", policy, "only the built-in policies are compiled: use simulate().")


@jit
def _decide(code, constants, left, work, owed, overhead, mode, is_up, unseen, all_work, deadline, tick):
    """What a policy wants: 0 wait, 1 spot, 2 on demand (`domain.moves` in other words)."""
    if code == 0:
        return 2
    if code == 1:
        return 2 if mode == 2 else is_up
    if code == 2:
        done, elapsed = all_work - work, deadline - left
        if mode == 2:
            lead = done - (elapsed + 2 * overhead) * all_work / deadline
            return 1 if constants[0] == 0 or lead >= 0 else 2
        if is_up == 1:
            return 1
        return 2 if done - elapsed * all_work / deadline < 0 else 0
    if code == 3:
        if mode == 2:
            keep = constants[2] * work + constants[3] * overhead
            return 1 if unseen >= constants[4] and left - work - owed > keep else 2
        if is_up == 1:
            return 1
        return 0 if left - work > constants[0] * work + constants[1] * overhead + 2 * tick else 2
    elapsed = deadline - left
    if mode == 2 or elapsed >= constants[-1] - TOLERANCE:
        return 2
    if is_up == 0:
        return 0
    if mode == 1:
        for end in constants:
            if elapsed - tick < end - TOLERANCE <= elapsed:
                return 0
    return 1


@jit
def _allow(wanted, left, work, owed, overhead, mode, is_up, tick):
    """The guard, without reserves. `is_up` is -1 where nobody sees it."""
    if wanted == 2:
        return 2
    if wanted == 1 and is_up == 0:
        wanted = 0
    spare = left - work - overhead
    if wanted == 1 and mode == 1:
        return 2 if spare < min(owed, tick) - TOLERANCE else 1
    if wanted == 1 and spare < overhead - TOLERANCE:
        return 2
    if wanted == 1 and is_up == 1:
        return 1
    return 2 if spare < tick - TOLERANCE else wanted


@jit
def _come_to_pass(wanted, mode, is_up, back):
    if mode == 2 and wanted != 2:
        if back == 2:
            return 2
        if wanted == 1 and is_up == 0:
            return 2 if back == 0 else 0
        return wanted
    return 0 if wanted == 1 and is_up == 0 else wanted


@jit
def _walk(code, constants, ticks, tick, all_work, deadline, overhead, price, back):
    work, owed, cost = all_work, 0.0, 0.0
    mode = launches = now = unseen = 0
    while True:
        left = deadline - now * tick
        is_up = int(ticks[now]) if now < len(ticks) else 0
        if left <= 0 and now >= len(ticks):
            wanted = 2
        else:
            wanted = _decide(
                code,
                constants,
                left,
                work,
                owed,
                overhead,
                mode,
                is_up,
                unseen * tick,
                all_work,
                deadline,
                tick,
            )
        allowed = _allow(wanted, left, work, owed, overhead, mode, is_up if mode != 2 else -1, tick)
        entered = _come_to_pass(allowed, mode, is_up, back)
        unseen = unseen + 1 if mode == 2 and entered == 2 else 0
        if entered == 0:
            owed = 0.0
        elif entered != mode:
            owed = overhead
            launches += 1
        mode = entered
        if mode != 0:
            cost += price if mode == 1 else 1.0
            paid = min(owed, tick)
            if work <= tick - paid + TOLERANCE:
                return cost * tick / 3600, now * tick + paid + work, launches
            owed -= paid
            work -= tick - paid
        now += 1


@jit
def _walk_rows(code, constants, traces, tick, work, deadline, overhead, price, back):
    rows = np.empty((len(traces), 3))
    for n in range(len(traces)):
        cost, finish, launches = _walk(
            code, constants, traces[n], tick, work, deadline, overhead, price, back
        )
        rows[n, 0], rows[n, 1], rows[n, 2] = cost, finish, launches
    return rows


def _walk_planner_rows(
    planner: Planner, workload: Workload, traces: NDArray[np.uint8], tick: float
) -> NDArray[np.float64]:
    tables = planned_tables(workload, planner.prior)
    rows = np.empty((len(traces), 3))
    for n in range(len(traces)):
        rows[n] = _walk_planner(
            traces[n],
            tick,
            *_amounts(workload),
            tables.costs,
            tables.slacks,
            tables.step_hours,
            planner.prior.hazard_table,
            market_types(),
            planner.prior.type_weights,
            np.array(AGE_HOURS),
            FIRST_AGE_HOURS,
            1 / LEARNED_REDRAW_HOURS,
        )
    return rows


@jit
def _walk_planner(
    ticks, tick, all_work, deadline, overhead, price,
    costs, slacks, step, hazards, types, weights, edges, first_age, redraw,
):  # fmt: skip
    """`planning.Planning`, walked."""
    overhead_hours = overhead / 3600
    belief = weights.copy()
    work, owed, cost, age = all_work, 0.0, 0.0, first_age
    mode = launches = now = was_up = 0
    has_order = False
    while True:
        left = deadline - now * tick
        hours = (left + tick) / 3600 - left / 3600
        is_up = int(ticks[now]) if now < len(ticks) else 0
        if now == 0:
            was_up = is_up
        else:
            if has_order:
                started = 0 if mode == 2 else 1
                observe(belief, hazards, types, weights, edges, redraw, was_up, started, age, hours)
                age = age + hours if started == was_up else 0.0
                was_up = started
            if mode != 2:
                observe(belief, hazards, types, weights, edges, redraw, was_up, is_up, age, hours)
                age = age + hours if is_up == was_up else 0.0
                was_up = is_up
            elif not has_order:
                forget(belief, weights, redraw, hours, 1.0)
                age += hours
        wanted = choose(
            costs, slacks, step, belief, edges, mode, was_up == 1, age,
            left / 3600, work / 3600, owed / 3600, overhead_hours, price,
        )  # fmt: skip
        if mode != 2 and wanted == 2 and was_up == 1:
            was_up, age = 0, 0.0
        has_order = mode == 2 and wanted == 1
        allowed = _allow(wanted, left, work, owed, overhead, mode, is_up if mode != 2 else -1, tick)
        entered = _come_to_pass(allowed, mode, is_up, 0)
        if entered == 0:
            owed = 0.0
        elif entered != mode:
            owed = overhead
            launches += 1
        mode = entered
        if mode != 0:
            cost += price if mode == 1 else 1.0
            paid = min(owed, tick)
            if work <= tick - paid + TOLERANCE:
                return cost * tick / 3600, now * tick + paid + work, launches
            owed -= paid
            work -= tick - paid
        now += 1
