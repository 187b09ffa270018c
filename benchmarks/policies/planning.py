"""The planner: a Bayes filter over market types, and the step that costs least under it.

It never needs to see spot capacity while on-demand runs. Going back to spot is an order given blind: a spot
job that starts as soon as there is capacity. An order that does not start is all there is to see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from spot_training.advise.moves import BackToSpot, Decider, Intervals, Mode, View, Workload

from .baselines import Greedy, Rule
from .built_in import BUILT_IN_PRIOR
from .kernels import AGE_HOURS, choose, forget, observe
from .market import Prior, market_types
from .tables import Tables, make_tables

#: A market becomes another one every so many hours: in the plan, and for what was learned of it.
PLANNED_REDRAW_HOURS = 12.0
LEARNED_REDRAW_HOURS = 8.0
#: An interval that was there when the first look was taken has lasted for a while (hours).
FIRST_AGE_HOURS = 4.0

MODES = (Mode.WAIT, Mode.SPOT, Mode.ON_DEMAND)
CODES = {mode: code for code, mode in enumerate(MODES)}

_EDGES = np.array(AGE_HOURS)
_TYPES = market_types()


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Bayesian value iteration. `prior`: what is known of markets in general; the built-in one by default.

    Where on-demand cannot be left again, waiting to the last moment costs nothing, and it is greedy; where it
    must be stopped to look for spot, it is the rule.
    """

    prior: Prior = field(default=BUILT_IN_PRIOR)
    name = "planner"

    def begin(self, workload: Workload, history: Intervals = ()) -> Decider:
        """The first call for a workload computes its tables (below a second); they are kept."""
        if workload.back_to_spot is BackToSpot.NEVER:
            return Greedy()
        if workload.back_to_spot is BackToSpot.STOP_FIRST:
            return Rule().begin(workload)
        if workload.deadline_seconds <= workload.work_seconds + workload.overhead_seconds:
            return Greedy()
        prior = learned_prior(self.prior, tuple(history)) if history else self.prior
        return Planning(workload, prior, planned_tables(workload, prior))


@lru_cache(maxsize=64)
def learned_prior(prior: Prior, history: tuple[tuple[bool, float], ...]) -> Prior:
    return prior.learn(history)


@lru_cache(maxsize=4)
def planned_tables(workload: Workload, prior: Prior) -> Tables:
    return make_tables(workload, prior, redraw_per_hour=1 / PLANNED_REDRAW_HOURS)


class Planning:
    """A planner at work on one training: its belief, the interval it sees, whether an order is open."""

    def __init__(self, workload: Workload, prior: Prior, tables: Tables) -> None:
        self.prior = prior
        self.tables = tables
        self.price = workload.spot_price / workload.on_demand_price
        self.belief = prior.type_weights.copy()
        self.is_up: bool | None = None
        self.age_hours = 0.0
        self.left_hours = 0.0
        self.has_order = False

    def __copy__(self) -> Planning:
        twin = Planning.__new__(Planning)
        twin.__dict__.update(self.__dict__)
        twin.belief = self.belief.copy()
        return twin

    def decide(self, view: View) -> Mode:
        self._learn(view)
        code = choose(
            self.tables.costs,
            self.tables.slacks,
            self.tables.step_hours,
            self.belief,
            _EDGES,
            CODES[view.mode],
            bool(self.is_up),
            self.age_hours,
            view.seconds_left / 3600,
            view.work_seconds / 3600,
            view.owed_seconds / 3600,
            view.overhead_seconds / 3600,
            self.price,
        )
        if view.mode is not Mode.ON_DEMAND and code == CODES[Mode.ON_DEMAND]:
            self._lose_sight()
        self.has_order = view.mode is Mode.ON_DEMAND and view.has_spot is None and code == CODES[Mode.SPOT]
        return MODES[code]

    def _learn(self, view: View) -> None:
        left = view.seconds_left / 3600
        hours, self.left_hours = max(0.0, self.left_hours - left), left
        if self.is_up is None:
            self.is_up = bool(view.has_spot)
            self.age_hours = max(FIRST_AGE_HOURS, view.interval_seconds / 3600)
            return
        if hours == 0:
            if view.has_spot is not None and view.has_spot is not self.is_up:
                self.is_up, self.age_hours = view.has_spot, 0.0
            return
        if self.has_order:
            started = view.mode is not Mode.ON_DEMAND
            self._observe(is_up=started, hours=hours)
            hours = 0.0 if not started else hours
        if view.has_spot is not None:
            self._observe(is_up=view.has_spot, hours=hours)
        elif hours:
            forget(self.belief, self.prior.type_weights, 1 / LEARNED_REDRAW_HOURS, hours, 1.0)
            self.age_hours += hours

    def _observe(self, *, is_up: bool, hours: float) -> None:
        observe(
            self.belief,
            self.prior.hazard_table,
            _TYPES,
            self.prior.type_weights,
            _EDGES,
            1 / LEARNED_REDRAW_HOURS,
            int(bool(self.is_up)),
            int(is_up),
            self.age_hours,
            hours,
        )
        self.age_hours = self.age_hours + hours if is_up == self.is_up else 0.0
        self.is_up = is_up

    def _lose_sight(self) -> None:
        if self.is_up:
            self.is_up, self.age_hours = False, 0.0
