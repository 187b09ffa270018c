"""The planner: its prior, its tables, its decisions; and many walks at once against one by one."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policies.baselines import BASELINES, Greedy, Rule, UniformProgress
from benchmarks.policies.batch import optimum_many, walk_many
from benchmarks.policies.built_in import BUILT_IN_PRIOR
from benchmarks.policies.market import fit_prior, market_types
from benchmarks.policies.planning import Planner, Planning, planned_tables
from spot_training.advise.moves import (
    BY_TICK,
    BackToSpot,
    Guard,
    Mode,
    MovePolicy,
    OnDemand,
    UntilDeadline,
    View,
    Widen,
    Workload,
)
from spot_training.advise.simulator import walk
from spot_training.advise.traces import Trace, make_trace, parse_trace
from spot_training.domain.errors import InvalidInput

HOUR = 3600.0
POLICIES_UNDER_TEST = [
    OnDemand(),
    Greedy(),
    UniformProgress(),
    UniformProgress(hysteresis=False),
    Rule(),
    Widen(first_wait_seconds=9 * HOUR),
    Planner(),
    UntilDeadline(),
]
#: All there are, by name.
EVERY: dict[str, Callable[[], MovePolicy]] = {**BASELINES, "planner": Planner, "deadline": UntilDeadline}


def _workload(**overrides: object) -> Workload:
    values = {"work_seconds": 24 * HOUR, "deadline_seconds": 36 * HOUR, "overhead_seconds": 360.0}
    return Workload(**{**values, **overrides})  # type: ignore[arg-type]


def _market(seed: int, ticks: int, up_hours: float, down_hours: float, tick: float = 600.0) -> Trace:
    """Intervals of memoryless lengths."""
    rng = np.random.default_rng(seed)
    values: list[int] = []
    is_up = bool(rng.integers(2))
    while len(values) < ticks:
        mean = (up_hours if is_up else down_hours) * HOUR / tick
        values += [int(is_up)] * (1 + int(rng.exponential(mean)))
        is_up = not is_up
    return make_trace(values[:ticks], tick)


def _views(decider: Planning, workload: Workload, ticks: list[int], tick: float) -> list[Mode]:
    """What it decides while it waits through these ticks."""
    return [
        decider.decide(
            View(
                seconds_left=workload.deadline_seconds - n * tick,
                work_seconds=workload.work_seconds,
                overhead_seconds=workload.overhead_seconds,
                mode=Mode.WAIT,
                has_spot=bool(value),
                total_work_seconds=workload.work_seconds,
                total_seconds=workload.deadline_seconds,
                tick_seconds=tick,
            )
        )
        for n, value in enumerate(ticks)
    ]


@pytest.mark.parametrize("policy", POLICIES_UNDER_TEST, ids=lambda policy: policy.name)
@pytest.mark.parametrize("back", BY_TICK)
@pytest.mark.parametrize("tick", [195.0, 600.0])
@pytest.mark.parametrize(
    "guard",
    [Guard(), Guard(overhead_seconds=900.0, reserve_seconds=1320.0, work_factor=1.15)],
    ids=["no-reserve", "reserve"],
)
def test_many_walks_at_once_are_the_walks_one_by_one(
    policy: object, back: BackToSpot, tick: float, guard: Guard
) -> None:
    workload = _workload(back_to_spot=back)
    traces = [_market(seed, math.ceil(36 * HOUR / tick), 5, 3, tick) for seed in range(3)]
    many = walk_many(policy, workload, [list(trace.ticks) for trace in traces], tick, guard=guard)  # type: ignore[arg-type]
    for row, trace in enumerate(traces):
        one = walk(policy, workload, trace, guard=guard)  # type: ignore[arg-type]
        assert many.cost_on_demand_hours[row] == pytest.approx(one.cost_on_demand_hours)
        assert many.finish_seconds[row] == pytest.approx(one.finish_seconds)
        assert many.launches[row] == one.launches
    assert many.missed == 0


def test_only_built_in_policies_are_compiled() -> None:
    class Mine:
        name = "mine"

        def begin(self, workload: Workload, history: object = ()) -> Greedy:  # noqa: ARG002
            return Greedy()

    with pytest.raises(InvalidInput, match="simulate"):
        walk_many(Mine(), _workload(), [[1, 0]], 600)


def test_tables_are_small() -> None:
    tables = planned_tables(_workload(work_seconds=48 * HOUR, deadline_seconds=92 * HOUR), BUILT_IN_PRIOR)
    assert tables.megabytes < 50
    assert np.isfinite(tables.costs).all()


def test_more_slack_never_costs_more_in_the_tables() -> None:
    """Up to what the grid's straight lines between points add."""
    tables = planned_tables(_workload(), BUILT_IN_PRIOR)
    latest = tables.costs[-1]
    assert (np.diff(latest, axis=0) <= 0.05).all()


def test_the_planner_takes_spot_and_waits_while_there_is_time() -> None:
    workload = _workload()
    decider = Planner().begin(workload)
    assert isinstance(decider, Planning)
    assert _views(decider, workload, [1], 600) == [Mode.SPOT]
    assert _views(copy.copy(decider), workload, [0], 600) == [Mode.WAIT]


def test_the_planner_gives_up_sooner_in_a_market_it_saw_without_capacity() -> None:
    workload = _workload()
    bad = [(has_spot, hours * HOUR) for _ in range(10) for has_spot, hours in ((False, 20), (True, 0.3))]
    good = [(has_spot, hours * HOUR) for _ in range(10) for has_spot, hours in ((False, 0.5), (True, 20))]
    moments = {}
    for name, history in (("bad", bad), ("good", good)):
        decider = Planner().begin(workload, history)
        assert isinstance(decider, Planning)
        moments[name] = _views(decider, workload, [0] * 72, 600).index(Mode.ON_DEMAND)
    assert moments["bad"] < moments["good"]


def test_a_copy_of_a_planner_learns_by_itself() -> None:
    workload = _workload()
    decider = Planner().begin(workload)
    assert isinstance(decider, Planning)
    _views(decider, workload, [0, 0, 1, 1], 600)
    belief, age = decider.belief.copy(), decider.age_hours
    twin = copy.copy(decider)
    _views(twin, workload, [0] * 12, 600)
    assert not np.array_equal(twin.belief, belief)
    assert np.array_equal(decider.belief, belief)
    assert decider.age_hours == age


def test_the_belief_finds_the_market_it_looks_at() -> None:
    workload = _workload(deadline_seconds=400 * HOUR)
    decider = Planner().begin(workload)
    assert isinstance(decider, Planning)
    trace = _market(3, 600, 0.4, 20)
    _views(decider, workload, list(trace.ticks), 600)
    scale_down, scale_up = decider.belief @ market_types()
    assert scale_down < 1 < scale_up


@settings(max_examples=40)
@given(
    ticks=st.lists(st.integers(0, 1), min_size=1, max_size=150),
    slack=st.floats(0, 20 * HOUR),
    overhead=st.sampled_from([0.0, 72.0, 720.0, 2000.0]),
    back=st.sampled_from(BY_TICK),
    sees=st.booleans(),
)
def test_the_planner_misses_no_deadline(
    ticks: list[int], slack: float, overhead: float, back: BackToSpot, sees: bool
) -> None:
    work = _workload(
        work_seconds=8 * HOUR,
        deadline_seconds=8 * HOUR + overhead + slack,
        overhead_seconds=overhead,
        back_to_spot=back,
    )
    assert not walk(Planner(), work, ticks, tick_seconds=600, sees_capacity=sees).missed


@pytest.mark.parametrize("name", sorted(EVERY))
@pytest.mark.parametrize("overhead", [0.0, 72.0, 720.0, 1500.0])
def test_capacity_that_vanishes_at_the_worst_moment_makes_nobody_late(name: str, overhead: float) -> None:
    """The market sees what the policy is about to do, and takes the capacity away under it."""
    workload = _workload(work_seconds=8 * HOUR, deadline_seconds=11 * HOUR, overhead_seconds=overhead)
    ticks: list[int] = []
    for _ in range(math.ceil(11 * HOUR / 600)):
        with_spot = walk(EVERY[name](), workload, [*ticks, 1], tick_seconds=600)
        without = walk(EVERY[name](), workload, [*ticks, 0], tick_seconds=600)
        ticks.append(int(with_spot.finish_seconds > without.finish_seconds))
        assert not with_spot.missed
        assert not without.missed


def test_a_fitted_prior_knows_the_market_it_was_fitted_on() -> None:
    short = fit_prior([_market(seed, 4000, 0.5, 0.5) for seed in range(3)])
    long = fit_prior([_market(seed, 4000, 10, 10) for seed in range(3)])
    assert np.mean(short.hazards) > np.mean(long.hazards)
    assert sum(long.weights) == pytest.approx(1)


def test_the_guards_reserve_moves_the_planner_too() -> None:
    workload = _workload(work_seconds=8 * HOUR, deadline_seconds=12 * HOUR)
    plain = walk(Planner(), workload, [0] * 72, tick_seconds=600)
    careful = walk(Planner(), workload, [0] * 72, tick_seconds=600, guard=Guard(reserve_seconds=3.5 * HOUR))
    assert careful.finish_seconds < plain.finish_seconds


def _shared_traces() -> list[Trace]:
    folder = os.environ.get("SPOT_TRACES")
    if not folder:
        pytest.skip("needs the spot traces: give their folder as SPOT_TRACES")
    paths = sorted(Path(folder).rglob("*.json"))
    return [parse_trace(path.read_text(), source=path.stem) for path in paths]


def test_policies_rank_on_recorded_traces_as_published() -> None:
    """Greedy, Uniform Progress, the rule, the planner: each cheaper than the one before, none ever late."""
    names = ("greedy", "uniform_progress", "rule", "planner")
    costs = dict.fromkeys(names, 0.0)
    count = 0
    for trace in _shared_traces():
        windows = [list(window.ticks) for window in trace.windows(92.3 * HOUR, 4)]
        for deadline, overhead in ((52, 0.05), (70, 0.1)):
            workload = _workload(
                work_seconds=48 * HOUR, deadline_seconds=deadline * HOUR, overhead_seconds=overhead * HOUR
            )
            least = optimum_many(workload, windows, trace.tick_seconds)
            count += len(windows)
            for name in names:
                walks = walk_many(EVERY[name](), workload, windows, trace.tick_seconds)
                assert walks.missed == 0
                assert (walks.cost_on_demand_hours >= least - 1e-9).all()
                costs[name] += float((walks.cost_on_demand_hours / least).sum())
    ratios = [costs[name] / count for name in names]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 1.05
