"""The simulation of `widen` on any of several types, with scouts."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from benchmarks.policies.adversary import draw_case
from spot_training.advise.capacity import Market
from spot_training.advise.hand_overs import way_back_for
from spot_training.advise.moves import BackToSpot, Widen, Workload
from spot_training.advise.simulator import Walk, walk
from spot_training.advise.traces import Trace, make_trace
from spot_training.advise.widened import walk_widened
from spot_training.domain.scouting import PATIENCE_SECONDS
from spot_training.domain.way_back import HandOver
from spot_training.policies import simulate

MINUTE, HOUR = 60.0, 3600.0
LAUNCH = 6 * MINUTE


def _ticks(*minutes: int) -> Trace:
    """Without and with capacity in turn, for so many minutes each."""
    return make_trace([number % 2 for number, length in enumerate(minutes) for _ in range(length)], MINUTE)


NOTHING, ALWAYS = _ticks(1), _ticks(0, 9000)


def _workload(**overrides: Any) -> Workload:
    values = {
        "work_seconds": 10 * HOUR,
        "deadline_seconds": 100 * HOUR,
        "overhead_seconds": LAUNCH,
        "spot_price": 1.0,
        "on_demand_price": 3.0,
        "back_to_spot": BackToSpot.NEVER,
    }
    return Workload(**{**values, **overrides})


def _walk(*traces: Trace, policy: Widen | None = None, **overrides: Any) -> Walk:
    return simulate(policy or Widen(), _workload(**overrides), list(traces))


def test_a_training_moves_to_the_type_that_has_capacity() -> None:
    moved = _walk(NOTHING, ALWAYS)
    how = HandOver(launch_seconds=LAUNCH, price_ratio=1 / 3)
    waited = PATIENCE_SECONDS + how.scout_launch_seconds + how.scout_wait_seconds
    assert (moved.scouts, moved.launches, moved.on_demand_seconds) == (1, 1, 0)
    assert moved.finish_seconds == pytest.approx(waited + LAUNCH + 10 * HOUR)


def test_without_capacity_on_demand_starts_when_the_last_wait_is_over() -> None:
    walk = _walk(NOTHING, NOTHING, policy=Widen(first_wait_seconds=2 * HOUR, factor=2, spot_attempts=3))
    assert walk.finish_seconds == pytest.approx((2 + 4 + 8) * HOUR + LAUNCH + 10 * HOUR)
    assert walk.spot_seconds == 0


def test_the_deadline_comes_before_the_last_wait() -> None:
    walk = _walk(NOTHING, NOTHING, deadline_seconds=15 * HOUR)
    assert not walk.missed
    assert walk.finish_seconds == pytest.approx(15 * HOUR)


def test_a_job_that_runs_out_of_max_wait_is_stopped_and_waits_for_the_first_type_again() -> None:
    policy = Widen(first_wait_seconds=11 * HOUR, spot_attempts=1)
    late = simulate(policy, _workload(), [_ticks(5 * 60, 9000)])
    assert (late.launches, late.interruptions) == (2, 0)
    assert late.spot_seconds > 6 * HOUR
    assert late.on_demand_seconds > 0
    again = simulate(Widen(first_wait_seconds=11 * HOUR), _workload(), [_ticks(5 * 60, 9000)])
    assert (again.launches, again.on_demand_seconds) == (2, 0)


def test_a_job_that_moved_may_run_for_as_long_as_a_run_takes() -> None:
    """It has what is left of the max wait, at least MaxRuntimeInSeconds."""
    late = _ticks(10 * 60, 9000)
    walk = _walk(NOTHING, late, policy=Widen(first_wait_seconds=11 * HOUR, spot_attempts=1))
    assert (walk.launches, walk.on_demand_seconds > 0) == (2, True), "the launch is not part of the work"
    enough = _walk_with(late, max_runtime_seconds=12 * HOUR)
    assert (enough.launches, enough.on_demand_seconds) == (1, 0)


def _walk_with(late: Trace, *, max_runtime_seconds: float) -> Walk:
    workload = _workload()
    return walk_widened(
        Widen(first_wait_seconds=11 * HOUR, spot_attempts=1),
        workload,
        [Market(trace=NOTHING), Market(trace=late)],
        way_back_for(workload),
        max_runtime_seconds=max_runtime_seconds,
    )


def test_with_one_type_it_is_the_simulation_of_ticks_but_for_rounding() -> None:
    for seed in range(20):
        chance = Random(seed)  # noqa: S311 - repeatable, not secret
        trace = _ticks(*(round(chance.expovariate(1 / 90)) + 1 for _ in range(60)))
        by_tick, by_event = walk(Widen(), _workload(), trace), _walk_alone(trace)
        assert by_event.interruptions == by_tick.interruptions
        assert by_event.cost_dollars == pytest.approx(by_tick.cost_dollars, abs=0.4)
        assert by_event.finish_seconds == pytest.approx(by_tick.finish_seconds, abs=10 * MINUTE)


def _walk_alone(trace: Trace) -> Walk:
    return simulate("widen", _workload(), [trace])


def test_no_deadline_is_missed_whatever_capacity_and_checkpoints_do() -> None:
    walks = []
    for seed in range(3000):
        chance = Random(seed)  # noqa: S311 - repeatable, not secret
        case = draw_case(chance)
        first = chance.choice((0.1, 0.5, 1, 3)) * case.workload.work_seconds
        policy = Widen(first_wait_seconds=first, spot_attempts=chance.choice((1, 2, 5)))
        course = walk_widened(
            policy,
            case.workload,
            case.markets,
            case.way_back,
            case.hazards,
            max_runtime_seconds=chance.choice((None, 2 * case.workload.work_seconds)),
            intervals=case.intervals,
        )
        assert not course.missed, seed
        walks.append(course)
    used = sum(walk.spot_seconds > 0 for walk in walks)
    assert 500 < used < len(walks), "the cases are of all kinds"
    assert sum(walk.scouts > 0 for walk in walks) > 100
