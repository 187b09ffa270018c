"""Value iteration: the expected cost of every next step, for every moment, slack, interval and market type.

Backwards over the time left, in on-demand hours of cost. The state is (time left, slack on a square-root
grid, mode, age of the interval, market type); the work left is time left minus slack, a launch takes its
overhead from the slack. The market is redrawn from the prior now and then. What is stored is the cost of the
steps, from which a belief over types picks the cheapest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .kernels import AGE_HOURS, AGES, ENTRIES
from .market import Prior, market_types

if TYPE_CHECKING:
    from spot_training.advise.moves import Workload

Table = NDArray[np.float32]


SLACKS = 48
#: Time steps, and how many there may be at least and at most.
STEP_HOURS = 0.25
FEWEST_STEPS, MOST_STEPS = 100, 400
#: Every second step is stored: between them the cost is nearly straight.
STORED_EVERY = 2
#: More than any step costs.
_NEVER = np.float32(1e6)


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Cost to go in on-demand hours, shape (times, slacks, entries, types), and the axes' steps in hours."""

    costs: Table
    slacks: NDArray[np.float64]
    step_hours: float

    @property
    def megabytes(self) -> float:
        return self.costs.nbytes / 1e6


def make_tables(workload: Workload, prior: Prior, *, redraw_per_hour: float) -> Tables:
    """The tables of one workload; below a second on one core."""
    return _Iteration(workload, prior, redraw_per_hour).tables()


class _Iteration:
    def __init__(self, workload: Workload, prior: Prior, redraw_per_hour: float) -> None:
        self.hours = workload.deadline_seconds / 3600
        self.overhead = workload.overhead_seconds / 3600
        self.price = np.float32(workload.spot_price / workload.on_demand_price)
        steps = int(np.clip(np.ceil(self.hours / STEP_HOURS), FEWEST_STEPS, MOST_STEPS))
        self.steps = steps + steps % STORED_EVERY
        self.step = self.hours / self.steps
        most_slack = max(self.hours - workload.work_seconds / 3600, 1e-3)
        self.slacks = most_slack * (np.arange(SLACKS) / (SLACKS - 1)) ** 2
        self.weights = prior.type_weights.astype(np.float32)
        self.redrawn = np.float32(-np.expm1(-redraw_per_hour * self.step))
        widths = np.append(np.diff(AGE_HOURS), np.inf)
        self.ageing = (-np.expm1(-self.step / widths)).astype(np.float32)[None, :, None]
        chances = prior.hazard_table[:, :, None] * market_types().T[:, None, :] * self.step
        self.comes, self.goes = (-np.expm1(-chances)).astype(np.float32)[:, None]
        self.after_wait = self._find_cells(self.step)
        self.after_launch = self._find_cells(self.overhead)
        slack = self.slacks[:, None, None]
        self.is_late = slack < self.overhead - 1e-9
        self.cannot_launch_spot = slack < 2 * self.overhead - 1e-9
        self.cannot_wait = slack < self.overhead + self.step / 2 - 1e-9

    def _find_cells(self, less: float) -> tuple[NDArray[np.intp], Table]:
        """For each slack of the grid: the cell that holds it after losing `less`, and how far into it."""
        wanted = np.clip(self.slacks - less, 0.0, None)
        cell = np.clip(np.searchsorted(self.slacks, wanted, side="right") - 1, 0, SLACKS - 2)
        width = self.slacks[cell + 1] - self.slacks[cell]
        return cell, ((wanted - self.slacks[cell]) / width).astype(np.float32)[:, None, None]

    @staticmethod
    def _lose(costs: Any, cells: tuple[NDArray[np.intp], Table]) -> Any:
        cell, share = cells
        return costs[cell] * (1 - share) + costs[cell + 1] * share

    def _redraw(self, costs: Any) -> Any:
        return (1 - self.redrawn) * costs + self.redrawn * (costs @ self.weights)[..., None]

    def _age(self, costs: Any) -> Any:
        older = np.concatenate([costs[:, 1:], costs[:, -1:]], axis=1)
        return costs * (1 - self.ageing) + self.ageing * older

    def tables(self) -> Tables:
        types = len(self.weights)
        stored = np.zeros((self.steps // STORED_EVERY + 1, SLACKS, ENTRIES, types), dtype=np.float32)
        nothing = np.zeros((SLACKS, AGES, types), dtype=np.float32)
        # The best of the steps, by what is seen: running on spot, no spot, spot not taken, and on demand.
        run = down = up = on_demand_down = on_demand_up = nothing
        for number in range(1, self.steps + 1):
            left = number * self.step
            work = np.maximum(left - self.slacks, 0.0).astype(np.float32)[:, None, None]
            worked, goes_on = np.minimum(work, np.float32(self.step)), work > self.step
            run, down, up = self._redraw(run), self._redraw(down), self._redraw(up)
            on_demand_down, on_demand_up = self._redraw(on_demand_down), self._redraw(on_demand_up)

            keep_running = self._age(run) * (1 - self.goes) + down[:, :1] * self.goes
            keep_running = self.price * worked + goes_on * keep_running
            down_later = self._lose(down, self.after_wait)
            up_later = self._lose(up, self.after_wait)
            forced = np.float32(self.overhead) + work
            wait_down = self._age(down_later) * (1 - self.comes) + up_later[:, :1] * self.comes
            wait_down = np.where(self.cannot_wait, forced, wait_down)
            wait_up = self._age(up_later) * (1 - self.goes) + down_later[:, :1] * self.goes
            wait_up = np.where(self.cannot_wait, forced, wait_up)
            stay_up = self._age(on_demand_up) * (1 - self.goes) + on_demand_down[:, :1] * self.goes
            stay_up = worked + goes_on * stay_up
            stay_down = self._age(on_demand_down) * (1 - self.comes) + on_demand_up[:, :1] * self.comes
            stay_down = worked + goes_on * stay_down

            launch = np.float32(self.price * self.overhead) + self._lose(keep_running, self.after_launch)
            launch = np.where(self.cannot_launch_spot, _NEVER, launch)
            to_on_demand_up = self._launch_on_demand(stay_up, forced)
            to_on_demand_down = self._launch_on_demand(stay_down, forced)
            if number % STORED_EVERY == 0:
                parts = (keep_running, wait_down, wait_up, stay_down, stay_up[:, :1])
                np.concatenate(parts, axis=1, out=stored[number // STORED_EVERY])
            run = np.minimum(keep_running, to_on_demand_up)
            down = np.minimum(wait_down, to_on_demand_down)
            up = np.minimum(np.minimum(launch, wait_up), to_on_demand_up)
            # Nobody sees an interval that began while on-demand ran: an order takes it at once, or not at
            # all.
            on_demand_up = stay_up
            on_demand_up[:, :1] = np.minimum(stay_up, launch)[:, :1]
            on_demand_down = np.minimum(stay_down, np.where(self.cannot_wait, _NEVER, wait_down))
            for best in (run, down, up, on_demand_up, on_demand_down):
                best[left <= self.slacks] = 0.0
        return Tables(costs=stored, slacks=self.slacks, step_hours=self.step * STORED_EVERY)

    def _launch_on_demand(self, stay: Any, forced: Any) -> Any:
        launched = np.float32(self.overhead) + self._lose(stay, self.after_launch)
        return np.where(self.is_late, forced, launched)
