"""The simulation with scouts: any of several types, and the way back to spot, with all costs."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.policies.adversary import Case, draw_case
from spot_training.advise.capacity import Capacity, Market, intervals_of
from spot_training.advise.hand_overs import Hazards, walk_events, way_back_for
from spot_training.advise.moves import BackToSpot, Guard, Workload
from spot_training.advise.simulator import Walk, walk
from spot_training.advise.traces import Trace, make_trace
from spot_training.domain.errors import InvalidInput
from spot_training.policies import POLICIES, simulate

MINUTE, HOUR = 60.0, 3600.0
RATIO = 1 / 3


def _trace(*spans: tuple[float, float]) -> Trace:
    """Capacity from and until these minutes."""
    length = int(max((end for _, end in spans), default=1))
    return make_trace([int(any(a <= m < b for a, b in spans)) for m in range(length)], MINUTE)


def _workload(**overrides: Any) -> Workload:
    values = {
        "work_seconds": 10 * HOUR,
        "deadline_seconds": 20 * HOUR,
        "overhead_seconds": 6 * MINUTE,
        "spot_price": 1.0,
        "on_demand_price": 3.0,
        "back_to_spot": BackToSpot.NEVER,
    }
    return Workload(**{**values, **overrides})


def _walk(*traces: Trace | Market, hazards: Hazards | None = None, how: Any = None, **overrides: Any) -> Walk:
    workload, dangers = _workload(**overrides), hazards or Hazards()
    markets = [trace if isinstance(trace, Market) else Market(trace=trace) for trace in traces]
    return walk_events(workload, markets, way_back_for(workload, hand_over=how, hazards=dangers), dangers)


ALWAYS, NOTHING = _trace((0, 3000)), make_trace([0], MINUTE)


def test_one_type_is_waited_for_without_a_scout_and_billed_by_the_second() -> None:
    walk = _walk(_trace((30, 3000)))
    assert (walk.scouts, walk.launches, walk.wait_seconds) == (0, 1, 30 * MINUTE)
    assert walk.finish_seconds == 30 * MINUTE + 6 * MINUTE + 10 * HOUR
    assert walk.cost_dollars == pytest.approx(10.1)


def test_without_capacity_on_demand_starts_at_the_last_moment() -> None:
    walk = _walk(NOTHING)
    assert (walk.finish_seconds, walk.missed) == (20 * HOUR, False)
    assert walk.cost_dollars == pytest.approx(30.3)


def test_the_first_scout_that_runs_decides_and_the_job_starts_after_it() -> None:
    """Type b has capacity at minute 20, and its scout runs at 23 and ends at 24."""
    traces = _trace((60, 3000)), _trace((20, 3000))
    walk = _walk(*traces)
    assert walk.finish_seconds == 23 * MINUTE + 6 * MINUTE + 10 * HOUR
    one = _walk(*traces, how={"is_quota_shared": True})
    assert one.finish_seconds == walk.finish_seconds + MINUTE
    assert one.cost_dollars == walk.cost_dollars
    assert (walk.scouts, walk.scout_seconds, walk.launches) == (1, MINUTE, 1)
    assert walk.cost_dollars == pytest.approx(10.1 + 1 / 60)


def test_a_type_with_capacity_is_not_left_for_another_one() -> None:
    dear = Market(trace=ALWAYS, spot_price=2.0)
    assert _walk(ALWAYS, dear).cost_dollars == pytest.approx(10.1)
    assert _walk(ALWAYS, dear).scouts == 0
    assert _walk(dear, ALWAYS).cost_dollars == pytest.approx(20.2)
    # The first type starts within the time of an ordinary launch, or before a scout of the other one runs.
    for minute in (4, 7):
        assert _walk(_trace((minute, 3000)), ALWAYS).finish_seconds == (minute + 6) * MINUTE + 10 * HOUR


def test_of_scouts_that_run_at_once_the_preferred_type_decides() -> None:
    dear = Market(trace=ALWAYS, spot_price=2.0)
    assert _walk(NOTHING, ALWAYS, dear).cost_dollars == pytest.approx(10.1 + 1 / 60)
    assert _walk(NOTHING, dear, ALWAYS).cost_dollars == pytest.approx(20.2 + 2 / 60)


def test_capacity_that_is_shorter_than_a_scouts_launch_is_not_found() -> None:
    walk = _walk(_trace((10, 12)), _trace((20, 23), (40, 3000)))
    assert (walk.scouts, walk.finish_seconds) == (1, 43 * MINUTE + 6 * MINUTE + 10 * HOUR)


def test_after_an_interruption_the_job_waits_for_its_own_type_before_scouts_go_out() -> None:
    back_soon = _walk(_trace((0, 103), (106, 3000)), ALWAYS)
    assert (back_soon.scouts, back_soon.interruptions, back_soon.launches) == (0, 1, 2)
    assert back_soon.wait_seconds == 3 * MINUTE
    another = _walk(_trace((0, 103)), ALWAYS)
    assert (another.scouts, another.interruptions, another.launches) == (1, 1, 2)
    assert another.wait_seconds == 5 * MINUTE + 3 * MINUTE


def test_the_job_goes_on_waiting_for_its_type_while_scouts_are_out() -> None:
    walk = _walk(_trace((30, 3000)), _trace((28, 3000)))
    assert (walk.scouts, walk.finish_seconds) == (0, 36 * MINUTE + 10 * HOUR)


def test_capacity_that_is_gone_when_the_job_asks_is_waited_for_while_scouts_go_out_again() -> None:
    gone = Hazards(gone_chance=1.0, gone_seconds=HOUR)
    walk = _walk(NOTHING, ALWAYS, hazards=gone)
    # The scout runs after 5 + 3 minutes; the capacity comes back after an hour.
    assert (walk.scouts, walk.finish_seconds) == (1, (8 + 60 + 6) * MINUTE + 10 * HOUR)
    third = _walk(NOTHING, ALWAYS, _trace((20, 3000)), hazards=replace(gone, gone_chance=0.5, seed=3))
    assert third.scouts > 1
    assert third.finish_seconds < walk.finish_seconds


def test_a_slower_type_takes_longer_and_one_that_saves_nothing_is_not_used() -> None:
    slow = Market(trace=ALWAYS, speed=0.8)
    assert _walk(slow).finish_seconds == pytest.approx(6 * MINUTE + 12.5 * HOUR)
    assert _walk(replace(slow, spot_price=2.5)).on_demand_seconds == 10.1 * HOUR
    assert _walk(replace(slow, spot_price=2.3)).on_demand_seconds == 0


def test_a_slower_type_is_left_before_it_misses_the_deadline() -> None:
    walk = _walk(Market(trace=ALWAYS, speed=0.5), deadline_seconds=15 * HOUR)
    assert (walk.missed, walk.launches) == (False, 2)
    assert walk.finish_seconds == pytest.approx(15 * HOUR)


def _back(*traces: Trace, **overrides: Any) -> Walk:
    values = {"work_seconds": 48 * HOUR, "deadline_seconds": 60 * HOUR}
    return _walk(*traces, **{**values, "back_to_spot": BackToSpot.HAND_OVER, **overrides})


def _on_demand_at(workload: Workload) -> float:
    rule = way_back_for(workload)
    return 12 * HOUR - (48 * HOUR / 5 - 1.5 * rule.hand_over.cost_seconds)


def test_the_way_back_is_one_hand_over_with_all_its_costs() -> None:
    """On-demand starts early. Capacity comes; L later the scout runs; it waits for the next checkpoint."""
    started_at = _on_demand_at(
        _workload(work_seconds=48 * HOUR, deadline_seconds=60 * HOUR, back_to_spot=BackToSpot.HAND_OVER)
    )
    comes_at = 10 * HOUR
    walk = _back(_trace((comes_at / MINUTE, 9000)))
    ready_at, runs_at = started_at + 6 * MINUTE, comes_at + 3 * MINUTE
    checkpoint_at = ready_at + -(-(runs_at - ready_at) // 300) * 300
    assert (walk.hand_overs, walk.failed_hand_overs, walk.scouts, walk.launches) == (1, 0, 1, 2)
    assert walk.on_demand_seconds == pytest.approx(checkpoint_at + 180 - started_at)
    assert walk.scout_seconds == pytest.approx(checkpoint_at + 180 + 60 - runs_at)
    rest = 48 * HOUR - (checkpoint_at - ready_at)
    assert walk.spot_seconds == pytest.approx(6 * MINUTE + rest)
    assert walk.finish_seconds == pytest.approx(checkpoint_at + 180 + 6 * MINUTE + rest)
    spot = walk.spot_seconds + walk.scout_seconds
    assert walk.cost_dollars == pytest.approx((spot + 3 * walk.on_demand_seconds) / HOUR)
    assert walk.lost_seconds == 0


def test_a_scout_that_is_interrupted_before_the_checkpoint_stops_nothing() -> None:
    walk = _back(_trace((600, 604)), hazards=Hazards(checkpoint_every_seconds=1e4))
    assert (walk.hand_overs, walk.scouts, walk.scout_seconds, walk.launches) == (0, 1, MINUTE, 1)


def test_a_checkpoint_that_does_not_come_is_awaited_for_two_intervals() -> None:
    walk = _back(_trace((600, 9000)), hazards=Hazards(checkpoint_every_seconds=1e9))
    assert walk.hand_overs == 0
    assert walk.scout_seconds % 600 == 0
    assert walk.scouts <= 10  # the pause doubles
    assert (walk.launches, walk.missed) == (1, False)


def test_a_script_that_saves_all_the_time_is_left_at_once() -> None:
    walk = _back(_trace((600, 9000)), how={"checkpoint_every_seconds": 0.0})
    assert walk.hand_overs == 1
    assert walk.scout_seconds == pytest.approx(180 + 60, abs=1)


def test_no_scout_goes_out_without_time_to_use_what_it_finds() -> None:
    walk = _walk(_trace((594, 3000)), _trace((594, 3000)))
    assert (walk.scouts, walk.scout_seconds, walk.on_demand_seconds) == (0, 0, 10.1 * HOUR)


def test_capacity_that_is_gone_when_the_job_asks_costs_a_stop_and_a_launch() -> None:
    gone = Hazards(gone_chance=1.0, gone_seconds=1e6)
    walk = _back(_trace((600, 9000)), hazards=gone)
    assert (walk.hand_overs, walk.failed_hand_overs, walk.launches) == (1, 1, 2)
    assert (walk.missed, walk.spot_seconds) == (False, 0)
    assert walk.on_demand_seconds == pytest.approx(48 * HOUR + 12 * MINUTE + 180)


def test_a_type_whose_hand_overs_fail_is_left_alone_and_then_on_demand_comes_late() -> None:
    ticks = [int(n % 90 < 15) for n in range(60 * 60)]
    gone = Hazards(gone_chance=1.0, gone_seconds=900.0)
    walk = _back(make_trace(ticks, MINUTE), hazards=gone)
    assert walk.hand_overs == walk.failed_hand_overs == 4
    assert not walk.missed


def test_work_since_the_last_checkpoint_is_lost_only_if_asked_for() -> None:
    trace = _trace((0, 6 + 98), (200, 3000))
    kept, lost = (_walk(trace, hazards=Hazards(loses_work=loses)) for loses in (False, True))
    assert (kept.lost_seconds, lost.lost_seconds) == (0, 3 * MINUTE)
    assert lost.finish_seconds - kept.finish_seconds == pytest.approx(3 * MINUTE)


def test_a_spot_job_without_checkpoints_is_stopped_for_the_deadline() -> None:
    never = Hazards(loses_work=True, checkpoint_every_seconds=1e9)
    walk = _walk(ALWAYS, deadline_seconds=15 * HOUR, hazards=never)
    assert (walk.launches, walk.missed) == (2, False)
    assert walk.finish_seconds == pytest.approx(15 * HOUR)
    enough = _walk(ALWAYS, deadline_seconds=21 * HOUR, hazards=never)
    assert (enough.launches, enough.on_demand_seconds) == (1, 0)


def test_the_reserve_of_the_guard_stays_free() -> None:
    guard = Guard(reserve_seconds=HOUR, overhead_seconds=20 * MINUTE, work_factor=1.1)
    walk = simulate("deadline", _workload(), [[0], [0]], guard=guard)
    # The slow launch is 14 min slower than the real one; the slow run takes an hour more.
    assert walk.finish_seconds == pytest.approx(20 * HOUR - HOUR - 14 * MINUTE - HOUR)


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - repeatable, not secret


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False))
def test_no_deadline_is_missed_whatever_capacity_and_checkpoints_do(chance: Random) -> None:
    """Random and adversarial markets, one or several, with and without a way back, p up to 1, lost work."""
    _check(draw_case(chance))


def test_the_same_over_many_seeds() -> None:
    """hypothesis searches near what it has found; this covers the whole range."""
    for seed in range(3000):
        _check(draw_case(_seeded(seed)))


def _check(case: Case) -> None:
    walk = case.walk()
    assert not walk.missed
    workload = case.workload
    fastest = max(1.0, *(market.speed for market in case.markets))
    assert walk.finish_seconds + 1e-3 >= walk.spot_seconds + walk.on_demand_seconds
    assert walk.spot_seconds + walk.on_demand_seconds >= workload.work_seconds / fastest - 1e-3
    assert walk.launches >= 1
    assert walk.failed_hand_overs <= walk.hand_overs <= walk.scouts
    spot = (walk.spot_seconds + walk.scout_seconds) / HOUR * workload.spot_price
    on_demand = walk.on_demand_seconds / HOUR * workload.on_demand_price
    assert walk.cost_dollars == pytest.approx(spot + on_demand)


def test_a_guard_that_forgets_what_an_interruption_loses_misses_deadlines() -> None:
    """So the cases above are hard enough."""

    def misses(case: Case) -> bool:
        how = replace(case.way_back.hand_over, lost_seconds=0.0)
        return replace(case, way_back=replace(case.way_back, hand_over=how)).walk().missed

    assert sum(misses(draw_case(_seeded(seed))) for seed in range(1000)) > 3


def test_the_same_training_costs_the_same_twice() -> None:
    case = draw_case(_seeded(7))
    assert case.walk() == case.walk()


@pytest.mark.parametrize("deadline_hours", [11, 14, 20])
def test_without_scouts_it_is_the_simulation_of_ticks_but_for_rounding(deadline_hours: float) -> None:
    """The guard acts at the last moment, not a tick before it, and seconds are billed, not ticks."""
    workload = _workload(deadline_seconds=deadline_hours * HOUR)
    for seed in range(20):
        chance = _seeded(seed)
        lengths = [round(chance.expovariate(1 / 90)) + 1 for _ in range(60)]
        ticks = [number % 2 for number, length in enumerate(lengths) for _ in range(length)]
        trace = make_trace(ticks, MINUTE)
        by_tick, by_event = walk(POLICIES["deadline"](), workload, trace), _walk_of(workload, trace)
        assert by_event.launches == by_tick.launches
        assert by_event.interruptions == by_tick.interruptions
        assert by_event.cost_dollars == pytest.approx(by_tick.cost_dollars, abs=2 * MINUTE / HOUR * 3)
        assert by_event.finish_seconds == pytest.approx(by_tick.finish_seconds, abs=2 * MINUTE)


def _walk_of(workload: Workload, trace: Trace) -> Walk:
    return walk_events(workload, [Market(trace=trace)], way_back_for(workload))


# --- through `simulate` ---


def test_several_traces_are_several_types_for_simulate() -> None:
    traces = [NOTHING, ALWAYS]
    expected = _walk(*traces)
    assert simulate("deadline", _workload(), traces) == expected
    assert simulate("deadline", _workload(), [[0], [1] * 3000], tick_seconds=60) == expected
    assert simulate("deadline", _workload(), [Market(trace=trace) for trace in traces]) == expected


def test_the_way_back_by_name_takes_its_costs_and_hazards_as_plain_values() -> None:
    values = {"work_seconds": 48 * HOUR, "deadline_seconds": 60 * HOUR, "back_to_spot": "hand-over"}
    ticks = [0] * 600 + [1] * 6000
    cheap, dear, gone = (
        simulate("deadline", values, ticks, tick_seconds=60, hand_over=how, hazards=hazards)
        for how, hazards in (
            ({"stop_seconds": 0.0}, None),
            ({"stop_seconds": 600.0}, {}),
            (None, {"gone_chance": 1.0}),
        )
    )
    assert cheap.finish_seconds < dear.finish_seconds
    assert gone.failed_hand_overs > 0


@pytest.mark.parametrize(
    ("policy", "workload", "options", "said"),
    [
        ("on_demand", {}, {}, "only deadline and widen are simulated with scouts"),
        ("widen", {}, {}, "it does not go back to spot"),
        ("deadline", {"back_to_spot": "beside"}, {}, "give never or hand-over"),
        ("deadline", {}, {"guard": None}, "has its own guard"),
        ("deadline", {}, {"sees_capacity": True}, "sees nothing"),
        ("deadline", {}, {"hand_over": {"luck": 1}}, r"hand_over\.luck is 1"),
        ("deadline", {}, {"hazards": {"luck": 1}}, r"hazards\.luck is 1"),
        ("deadline", {}, {"hazards": {"gone_chance": 2}}, "a chance from 0 to 1"),
        ("deadline", {}, {"hazards": {"checkpoint_every_seconds": 0}}, "above zero"),
    ],
)
def test_what_scouts_cannot_simulate_is_refused(
    policy: str, workload: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    values = {"work_seconds": 3600, "deadline_seconds": 7200, "back_to_spot": "hand-over", **workload}
    with pytest.raises(InvalidInput, match=said):
        simulate(policy, values, [[1] * 90, [1] * 90], **options)


def test_a_policy_that_decides_tick_by_tick_has_no_hand_over() -> None:
    with pytest.raises(InvalidInput, match="not decided tick by tick"):
        POLICIES["deadline"]().begin(_workload(back_to_spot=BackToSpot.HAND_OVER))
    with pytest.raises(InvalidInput, match="give back_to_spot hand-over or several traces"):
        simulate("deadline", _workload(), [1] * 90, hazards={"gone_chance": 0.1})


@pytest.mark.parametrize("overrides", [{"speed": 0.0}, {"speed": float("nan")}, {"spot_price": -1.0}])
def test_a_strange_market_is_refused(overrides: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="market"):
        Market(trace=ALWAYS, **overrides)
    with pytest.raises(InvalidInput, match="markets"):
        walk_events(_workload(), [], way_back_for(_workload()))


# --- capacity ---


def test_a_trace_is_intervals_of_capacity() -> None:
    assert intervals_of(make_trace([0, 1, 1, 0, 1], 60)) == ((60, 180), (240, 300))
    assert intervals_of(NOTHING) == ()


@given(ticks=st.lists(st.integers(0, 1), min_size=1, max_size=40), now=st.floats(0, 50))
def test_capacity_is_what_the_trace_says(ticks: list[int], now: float) -> None:
    capacity, tick = Capacity(intervals_of(make_trace(ticks, 1))), int(now)
    has_now = tick < len(ticks) and bool(ticks[tick])
    until = capacity.until(now)
    assert (until is not None) is has_now or now != tick
    if until is not None:
        assert all(ticks[tick : int(until)])
        assert int(until) == len(ticks) or not ticks[int(until)]


def test_capacity_that_is_gone_for_a_while_is_not_found_before() -> None:
    capacity = Capacity([(0, 100), (200, 300)])
    assert capacity.from_(50, for_seconds=40) == (50, 100)
    assert capacity.from_(50, for_seconds=60) == (200, 300)
    capacity.gone_until = 80
    assert (capacity.until(50), capacity.until(80)) == (None, 100)
    assert capacity.from_(50) == (80, 100)
    assert capacity.from_(250, for_seconds=60) is None
