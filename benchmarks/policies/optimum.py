"""The cheapest walk of all, by one who knows the future: what every policy is measured against.

Exact, by dynamic programming over ticks: for each mode, the frontier of (progress, cost) pairs of which no
other has more progress for less. A launch takes its overhead from the progress at once. That is the model's
own count except for a run that ends before its overhead is paid, and waiting instead of such a run costs
nothing and gets as far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .compiled import jit

if TYPE_CHECKING:
    from spot_training.advise.moves import Workload

_EPSILON = 1e-9
_SECOND_FRACTION = 1e-6


def find_optimum(workload: Workload, ticks: Any, tick_seconds: float) -> float:
    """The least cost in on-demand hours with which the deadline can be kept; infinite where it cannot.

    `ticks` holds 0 and 1 (1: spot capacity); after its end there is none.
    """
    price = workload.spot_price / workload.on_demand_price
    ticks = np.asarray(ticks, dtype=np.uint8)
    cost = _least_cost(
        ticks,
        float(tick_seconds),
        float(workload.work_seconds),
        float(workload.deadline_seconds),
        float(workload.overhead_seconds),
        price,
    )
    return float(cost * tick_seconds / 3600)


@jit
def _merge(
    progress_a, cost_a, count_a, gain_a, price_a, progress_b, cost_b, count_b, gain_b, price_b, progress, cost
):
    """Two frontiers, each moved by a gain and a price, as one; cost and progress rise along a frontier."""
    i = j = count = 0
    furthest = -np.inf
    while i < count_a or j < count_b:
        takes_a = j >= count_b
        if not takes_a and i < count_a:
            a, b = cost_a[i] + price_a, cost_b[j] + price_b
            takes_a = a < b or (a == b and progress_a[i] + gain_a >= progress_b[j] + gain_b)
        if takes_a:
            p, c = progress_a[i] + gain_a, cost_a[i] + price_a
            i += 1
        else:
            p, c = progress_b[j] + gain_b, cost_b[j] + price_b
            j += 1
        if p > furthest + _EPSILON:
            progress[count], cost[count] = p, c
            furthest = p
            count += 1
    return count


@jit
def _keep_promising(progress, cost, count, needed, bound, price, work, tick):
    """Drop what can no longer be done in time, and what cannot become cheaper than the best known."""
    kept = 0
    for i in range(count):
        at_least = cost[i] + price * np.ceil((work - progress[i]) / tick - _EPSILON)
        if progress[i] >= needed - _SECOND_FRACTION and at_least < bound:
            progress[kept], cost[kept] = progress[i], cost[i]
            kept += 1
    return kept


@jit
def _least_cost(ticks, tick, work, deadline, overhead, price):
    """In ticks on demand."""
    best = np.inf
    if work + overhead <= deadline + _SECOND_FRACTION:
        best = np.ceil((work + overhead) / tick - _EPSILON)
    room = 4096
    progress, cost = np.empty((3, room)), np.empty((3, room))
    next_progress, next_cost = np.empty((3, room)), np.empty((3, room))
    some_progress, some_cost = np.empty(room), np.empty(room)
    count, next_count = np.zeros(3, np.int64), np.zeros(3, np.int64)
    progress[0, 0], cost[0, 0], count[0] = 0.0, 0.0, 1
    for now in range(int(np.ceil(deadline / tick - _EPSILON))):
        total = count[0] + count[1] + count[2]
        if total == 0:
            break
        if total > room:
            room = 2 * total
            wider_progress, wider_cost = np.empty((3, room)), np.empty((3, room))
            for mode in range(3):
                wider_progress[mode, : count[mode]] = progress[mode, : count[mode]]
                wider_cost[mode, : count[mode]] = cost[mode, : count[mode]]
            progress, cost = wider_progress, wider_cost
            next_progress, next_cost = np.empty((3, room)), np.empty((3, room))
            some_progress, some_cost = np.empty(room), np.empty(room)
        left = deadline - now * tick
        n = _merge(
            progress[0], cost[0], count[0], 0.0, 0.0,
            progress[1], cost[1], count[1], 0.0, 0.0, some_progress, some_cost,
        )  # fmt: skip
        next_count[0] = _merge(
            some_progress, some_cost, n, 0.0, 0.0,
            progress[2], cost[2], count[2], 0.0, 0.0, next_progress[0], next_cost[0],
        )  # fmt: skip
        for mode in (1, 2):
            next_count[mode] = 0
            if mode == 1 and not (now < len(ticks) and ticks[now] == 1):
                continue
            other, mode_price = 3 - mode, price if mode == 1 else 1.0
            n = _merge(
                progress[0], cost[0], count[0], -overhead, 0.0,
                progress[other], cost[other], count[other], -overhead, 0.0, some_progress, some_cost,
            )  # fmt: skip
            n = _merge(
                some_progress, some_cost, n, tick, mode_price,
                progress[mode], cost[mode], count[mode], tick, mode_price,
                next_progress[mode], next_cost[mode],
            )  # fmt: skip
            unusable = max(0.0, tick - left)
            for i in range(n):
                if next_progress[mode, i] - unusable >= work - _SECOND_FRACTION:
                    best = min(best, next_cost[mode, i])
                    n = i
                    break
            next_count[mode] = n
        rest = max(0.0, left - tick)
        for mode in range(3):
            to_launch = overhead if mode == 0 else 0.0
            next_count[mode] = _keep_promising(
                next_progress[mode], next_cost[mode], next_count[mode],
                work - rest + to_launch, best, price, work, tick,
            )  # fmt: skip
        progress, next_progress = next_progress, progress
        cost, next_cost = next_cost, cost
        count, next_count = next_count, count
    return best
