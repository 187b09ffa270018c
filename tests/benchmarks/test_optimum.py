"""The omniscient optimum: equal to brute force where that is possible, never above any policy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policies.baselines import BASELINES
from benchmarks.policies.optimum import find_optimum
from benchmarks.policies.planning import Planner
from spot_training.advise.moves import BY_TICK, BackToSpot, Mode, UntilDeadline, Workload
from spot_training.advise.simulator import walk

TICK = 600.0
HOUR_OF_TICKS = TICK / 3600


def _workload(work: float, deadline: float, overhead: float, **overrides: object) -> Workload:
    """In ticks."""
    values = {
        "work_seconds": work * TICK,
        "deadline_seconds": deadline * TICK,
        "overhead_seconds": overhead * TICK,
        "spot_price": 0.318,
        "on_demand_price": 1.0,
    }
    return Workload(**{**values, **overrides})  # type: ignore[arg-type]


def _try_everything(workload: Workload, ticks: list[int]) -> float:
    """The least cost over every sequence of modes, by the model's own words."""
    length = math.ceil(workload.deadline_seconds / TICK)
    choices = [
        (Mode.WAIT, Mode.ON_DEMAND, *([Mode.SPOT] if tick < len(ticks) and ticks[tick] else []))
        for tick in range(length)
    ]
    return min((_cost_of(workload, modes) for modes in itertools.product(*choices)), default=math.inf)


def _cost_of(workload: Workload, modes: tuple[Mode, ...]) -> float:
    work, owed, cost, last = workload.work_seconds, 0.0, 0.0, Mode.WAIT
    for tick, mode in enumerate(modes):
        if mode is Mode.WAIT:
            owed = 0.0
        elif mode is not last:
            owed = workload.overhead_seconds
        last = mode
        if mode is Mode.WAIT:
            continue
        cost += (workload.spot_price if mode is Mode.SPOT else workload.on_demand_price) * HOUR_OF_TICKS
        paid = min(owed, TICK)
        if work <= TICK - paid + 1e-6:
            is_late = tick * TICK + paid + work > workload.deadline_seconds + 1e-6
            return math.inf if is_late else cost
        owed -= paid
        work -= TICK - paid
    return math.inf


@pytest.mark.slow
@settings(max_examples=60)
@given(
    ticks=st.lists(st.integers(0, 1), min_size=4, max_size=8),
    work=st.sampled_from([1.0, 2.0, 2.6, 3.3, 4.0]),
    slack=st.sampled_from([0.0, 0.4, 1.0, 2.5, 3.0]),
    overhead=st.sampled_from([0.0, 0.12, 0.3, 1.0, 1.2]),
)
def test_the_optimum_is_what_trying_everything_finds(
    ticks: list[int], work: float, slack: float, overhead: float
) -> None:
    workload = _workload(work, min(8.0, work + overhead + slack), overhead)
    found = find_optimum(workload, ticks, TICK)
    expected = _try_everything(workload, ticks)
    assert found == pytest.approx(expected)


@st.composite
def _intervals(draw: st.DrawFn) -> list[int]:
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=12))
    first = draw(st.integers(0, 1))
    return [(first + n) % 2 for n, length in enumerate(lengths) for _ in range(length)]


@pytest.mark.slow
@settings(max_examples=60)
@given(
    ticks=_intervals(),
    work=st.sampled_from([20.0, 33.3]),
    slack=st.floats(0, 60),
    overhead=st.sampled_from([0.0, 0.2, 1.0, 2.5]),
    back=st.sampled_from(BY_TICK),
)
def test_no_policy_is_below_the_optimum_and_none_is_late(
    ticks: list[int], work: float, slack: float, overhead: float, back: BackToSpot
) -> None:
    workload = _workload(work, work + overhead + slack, overhead, back_to_spot=back)
    least = find_optimum(workload, ticks, TICK)
    for make in [*BASELINES.values(), Planner, UntilDeadline]:
        result = walk(make(), workload, ticks, tick_seconds=TICK)
        assert not result.missed
        assert result.cost_on_demand_hours >= least - 1e-9


@pytest.mark.slow
def test_a_deadline_nobody_can_keep_has_no_optimum() -> None:
    assert find_optimum(_workload(10, 9, 0), [0] * 10, TICK) == math.inf


@pytest.mark.slow
def test_a_long_fine_trace_outgrows_no_room() -> None:
    rng = np.random.default_rng(5)
    ticks = (rng.random(6000) < 0.5).astype(np.uint8)
    workload = _workload(2000, 5000, 0.137)
    assert 2000 * 0.318 * HOUR_OF_TICKS < find_optimum(workload, ticks, TICK) < 2000 * HOUR_OF_TICKS
