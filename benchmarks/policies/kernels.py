"""What numba compiles of the planner and of the walks, all in one file.

Numba looks at this file alone to tell whether its cache on disk is still good, so nothing here may come from
another module. Modes are 0 wait, 1 spot, 2 on demand. Walks count in seconds, the planner in hours.
"""

from __future__ import annotations

import numpy as np

from .compiled import jit

#: Rounding of float seconds must not cost a launch (`domain.moves`).
TOLERANCE = 1e-6

#: Ages of an interval at which its hazard changes (hours).
AGE_HOURS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
AGES = len(AGE_HOURS)

#: Where the steps of each kind begin in the third axis of a table; one entry for each age of the interval.
RUN, WAIT_DOWN, WAIT_UP, STAY_DOWN, STAY_UP = 0, AGES, 2 * AGES, 3 * AGES, 4 * AGES
ENTRIES = 4 * AGES + 1

#: What `walk_rows` knows.
ON_DEMAND, GREEDY, UNIFORM_PROGRESS, RULE, WIDEN, UNTIL_DEADLINE = range(6)


@jit
def bucket_of(age, edges):
    bucket = 0
    for i in range(len(edges)):
        if age >= edges[i]:
            bucket = i
    return bucket


@jit
def observe(belief, hazards, types, weights, edges, redraw, was_up, is_up, age, hours):
    """Bayes: what an interval of `age` that went on, or ended, within `hours` says of the type. In place.

    `redraw` is the chance per hour that the market becomes another one.
    """
    upper = np.append(edges[1:], np.inf)
    within = np.minimum(upper, age + hours) - np.maximum(edges, age)
    passed = (np.maximum(within, 0.0) * hazards[was_up]).sum()
    stays = np.exp(-passed * types[:, was_up])
    belief *= stays if was_up == is_up else 1.0 - stays
    forget(belief, weights, redraw, hours, belief.sum())


@jit
def forget(belief, weights, redraw, hours, total):
    """Move a belief that sums to `total` towards the prior, as time passes. In place."""
    renewed = 1.0 - np.exp(-redraw * hours)
    if total > 0:
        belief *= (1.0 - renewed) / total
        belief += renewed * weights
    else:
        belief[:] = weights


@jit
def look_up(costs, slacks, step_hours, left, slack, entry, belief):
    """The expected cost to go, between the points of the grid, under a belief over types."""
    last = len(slacks) - 1
    slack = min(max(slack, 0.0), slacks[last])
    cell = min(int(np.sqrt(slack / slacks[last]) * last), last - 1)
    v = (slack - slacks[cell]) / (slacks[cell + 1] - slacks[cell])
    time = left / step_hours
    row = min(max(int(time), 0), costs.shape[0] - 2)
    u = np.float64(time - row)  # the table is of float32: numpy and numba shall round alike
    early = (1 - v) * costs[row, cell, entry] + v * costs[row, cell + 1, entry]
    late = (1 - v) * costs[row + 1, cell, entry] + v * costs[row + 1, cell + 1, entry]
    return (belief * ((1 - u) * early + u * late)).sum()


@jit
def choose(costs, slacks, step, belief, edges, mode, is_up, age, left, work, owed, overhead, price):
    """The cheapest step: 0 wait, 1 spot, 2 on demand. All times in hours."""
    bucket = bucket_of(age, edges)
    slack = left - work
    can_launch = slack >= 2 * overhead
    if mode == 2:
        if is_up:
            bucket = 0
        if not can_launch:
            return 2
        stay = look_up(costs, slacks, step, left, slack - owed, STAY_UP, belief)
        order = price * overhead + look_up(costs, slacks, step, left, slack - overhead, RUN, belief)
        return 1 if order < stay else 2
    stay_entry = STAY_UP if is_up else STAY_DOWN + bucket
    on_demand = overhead + look_up(costs, slacks, step, left, slack - overhead, stay_entry, belief)
    if not is_up:
        wait = look_up(costs, slacks, step, left, slack, WAIT_DOWN + bucket, belief)
        return 0 if wait < on_demand else 2
    if mode == 1:
        run = look_up(costs, slacks, step, left, slack - owed, RUN + bucket, belief)
        return 1 if run <= on_demand else 2
    wait = look_up(costs, slacks, step, left, slack, WAIT_UP + bucket, belief)
    if can_launch:
        launch = price * overhead + look_up(costs, slacks, step, left, slack - overhead, RUN + bucket, belief)
        if launch <= min(wait, on_demand):
            return 1
    return 0 if wait < on_demand else 2


@jit
def _decide(code, constants, left, work, owed, overhead, mode, is_up, unseen, all_work, deadline, tick):
    """What a policy wants: 0 wait, 1 spot, 2 on demand (`domain.moves`, `baselines` in other words)."""
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
    if code == 5:
        if mode == 2:
            return 1 if unseen >= constants[3] and left - work - owed > constants[2] * work else 2
        if is_up == 1:
            return 1
        keep = constants[0] * work - 1.5 * constants[1]
        waits = left - work > keep or keep - overhead <= max(constants[2] * work, 2 * overhead)
        return 0 if waits else 2
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
def _allow(wanted, left, work, owed, guard, mode, is_up, tick):
    """`guard`: launch and reserve in seconds, work factor. `is_up` is -1 where nobody sees it."""
    launch, reserve, work_factor = guard
    if wanted == 2:
        return 2
    if wanted == 1 and is_up == 0:
        wanted = 0
    spare = left - work * work_factor - launch - reserve
    if wanted == 1 and mode == 1:
        return 2 if spare < min(owed, tick) - TOLERANCE else 1
    if wanted == 1 and spare < launch - TOLERANCE:
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
def _walk(code, constants, ticks, tick, all_work, deadline, overhead, price, guard, back):
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
        allowed = _allow(wanted, left, work, owed, guard, mode, is_up if mode != 2 else -1, tick)
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
def walk_rows(code, constants, traces, tick, work, deadline, overhead, price, guard, back):
    rows = np.empty((len(traces), 3))
    for n in range(len(traces)):
        cost, finish, launches = _walk(
            code, constants, traces[n], tick, work, deadline, overhead, price, guard, back
        )
        rows[n, 0], rows[n, 1], rows[n, 2] = cost, finish, launches
    return rows


@jit
def walk_planner(
    ticks, tick, all_work, deadline, overhead, price, guard,
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
        allowed = _allow(wanted, left, work, owed, guard, mode, is_up if mode != 2 else -1, tick)
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
