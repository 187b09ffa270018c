"""Move policies decide; the guard keeps the deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spot_training.domain.errors import InvalidInput, UnknownPolicy
from spot_training.domain.moves import (
    SIMPLE_POLICIES,
    BackToSpot,
    Greedy,
    Guard,
    Mode,
    Rule,
    UniformProgress,
    View,
    Widen,
    Workload,
    make_policy,
    must_go_on_demand,
    spells_of,
)

HOUR = 3600.0


def _workload(**overrides: object) -> Workload:
    values = {"work_seconds": 10 * HOUR, "deadline_seconds": 20 * HOUR, "overhead_seconds": 600.0}
    return Workload(**{**values, **overrides})  # type: ignore[arg-type]


def _view(**overrides: object) -> View:
    values = {
        "seconds_left": 20 * HOUR,
        "work_seconds": 10 * HOUR,
        "overhead_seconds": 600.0,
        "mode": Mode.WAIT,
        "has_spot": False,
        "total_work_seconds": 10 * HOUR,
        "total_seconds": 20 * HOUR,
        "tick_seconds": 60.0,
    }
    return View(**{**values, **overrides})  # type: ignore[arg-type]


def test_greedy_takes_spot_while_it_lasts_and_waits_without_it() -> None:
    decider = Greedy().begin(_workload())
    assert decider.decide(_view(has_spot=True)) is Mode.SPOT
    assert decider.decide(_view()) is Mode.WAIT


def test_uniform_progress_pays_for_on_demand_only_behind_the_line() -> None:
    decider = UniformProgress().begin(_workload())
    assert decider.decide(_view(work_seconds=8 * HOUR, seconds_left=17 * HOUR)) is Mode.WAIT
    assert decider.decide(_view(work_seconds=9.5 * HOUR, seconds_left=17 * HOUR)) is Mode.ON_DEMAND


def test_uniform_progress_stays_on_demand_until_it_is_two_overheads_ahead() -> None:
    decider = UniformProgress().begin(_workload())
    at_the_line = _view(mode=Mode.ON_DEMAND, has_spot=True, work_seconds=9 * HOUR, seconds_left=18 * HOUR)
    assert decider.decide(at_the_line) is Mode.ON_DEMAND
    assert decider.decide(replace(at_the_line, work_seconds=9 * HOUR - 600)) is Mode.SPOT


def test_the_rule_waits_while_its_share_of_slack_is_there() -> None:
    decider = Rule().begin(_workload())
    keep = 0.20 * 10 * HOUR + 1.6 * 600 + 2 * 60
    assert decider.decide(_view(seconds_left=10 * HOUR + keep + 1)) is Mode.WAIT
    assert decider.decide(_view(seconds_left=10 * HOUR + keep)) is Mode.ON_DEMAND


def test_the_rule_orders_spot_blind_while_on_demand_runs() -> None:
    decider = Rule().begin(_workload())
    unseen = _view(mode=Mode.ON_DEMAND, has_spot=None)
    assert decider.decide(unseen) is Mode.SPOT
    keep = 0.057 * 10 * HOUR + 0.18 * 600
    assert decider.decide(replace(unseen, seconds_left=10 * HOUR + keep)) is Mode.ON_DEMAND


def test_the_rule_looks_for_spot_now_and_then_where_on_demand_must_be_stopped_first() -> None:
    decider = Rule().begin(_workload(back_to_spot=BackToSpot.STOP_FIRST))
    unseen = _view(mode=Mode.ON_DEMAND, has_spot=None, spell_seconds=3540)
    assert decider.decide(unseen) is Mode.ON_DEMAND
    assert decider.decide(replace(unseen, spell_seconds=3600)) is Mode.SPOT


def test_the_rule_waits_to_the_last_moment_where_there_is_no_way_back() -> None:
    decider = Rule().begin(_workload(back_to_spot=BackToSpot.NEVER))
    assert decider.decide(_view(seconds_left=10 * HOUR + 700)) is Mode.WAIT


def test_widened_waits_end_a_spot_job_and_then_go_on_demand() -> None:
    decider = Widen(first_wait_seconds=2 * HOUR, factor=2, spot_attempts=2).begin(_workload())
    running = _view(mode=Mode.SPOT, has_spot=True)
    assert decider.decide(replace(running, seconds_left=19 * HOUR)) is Mode.SPOT
    assert decider.decide(replace(running, seconds_left=18 * HOUR)) is Mode.WAIT
    assert decider.decide(replace(running, seconds_left=18 * HOUR - 60)) is Mode.SPOT
    assert decider.decide(replace(running, seconds_left=14 * HOUR)) is Mode.ON_DEMAND


@pytest.mark.parametrize("has_spot", [True, False, None])
def test_the_guard_goes_on_demand_while_there_is_just_time(has_spot: bool | None) -> None:
    mode = Mode.ON_DEMAND if has_spot is None else Mode.WAIT
    enough = _view(seconds_left=10 * HOUR + 2 * 600, has_spot=has_spot, mode=mode)
    wanted = Mode.SPOT if has_spot is not False else Mode.WAIT
    assert Guard().allow(wanted, enough) is wanted
    late = replace(enough, seconds_left=10 * HOUR + 600 + (0 if has_spot is False else 599))
    assert Guard().allow(wanted, late) is Mode.ON_DEMAND


def test_the_guard_lets_a_spot_run_that_paid_its_launch_go_on() -> None:
    running = _view(mode=Mode.SPOT, has_spot=True, seconds_left=10 * HOUR + 600)
    assert Guard().allow(Mode.SPOT, running) is Mode.SPOT
    assert Guard().allow(Mode.SPOT, replace(running, has_spot=False)) is Mode.ON_DEMAND


def test_reserves_bring_the_last_moment_forward() -> None:
    view = _view(seconds_left=10 * HOUR + 1000)
    assert not must_go_on_demand(view)
    assert must_go_on_demand(view, reserve_seconds=400)
    assert Guard(overhead_seconds=990).must_go_on_demand(view)
    assert Guard(work_factor=1.1).must_go_on_demand(view)


def test_a_policy_is_made_by_name_with_its_options() -> None:
    assert make_policy("rule", SIMPLE_POLICIES, wait_work=0.1) == Rule(wait_work=0.1)
    with pytest.raises(UnknownPolicy, match="choose one of"):
        make_policy("lucky", SIMPLE_POLICIES)
    with pytest.raises(
        InvalidInput, match=r"policy\.luck is 1: rule takes wait_work, .*look_every_seconds\."
    ):
        make_policy("rule", SIMPLE_POLICIES, luck=1)
    with pytest.raises(InvalidInput, match=r"policy\.luck is 1: greedy takes no options\."):
        make_policy("greedy", SIMPLE_POLICIES, luck=1)


@pytest.mark.parametrize("field", ["work_seconds", "deadline_seconds", "overhead_seconds", "spot_price"])
@pytest.mark.parametrize("value", [-1, float("nan"), "soon", True])
def test_a_workload_of_strange_numbers_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=field):
        _workload(**{field: value})


def test_spells_are_runs_of_equal_ticks() -> None:
    assert spells_of([1, 1, 0, 1], 60) == [(True, 120), (False, 60), (True, 60)]
