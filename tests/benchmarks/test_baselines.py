"""What each of the published policies decides, tick by tick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.policies.baselines import Greedy, Rule, UniformProgress
from benchmarks.policies.market import intervals_of
from spot_training.advise.moves import BackToSpot, Mode
from spot_training.domain.errors import InvalidInput
from tests.advise.support import HOUR, make_view, make_workload


def test_greedy_takes_spot_while_it_lasts_and_waits_without_it() -> None:
    decider = Greedy().begin(make_workload())
    assert decider.decide(make_view(has_spot=True)) is Mode.SPOT
    assert decider.decide(make_view()) is Mode.WAIT


def test_uniform_progress_pays_for_on_demand_only_behind_the_line() -> None:
    decider = UniformProgress().begin(make_workload())
    assert decider.decide(make_view(work_seconds=8 * HOUR, seconds_left=17 * HOUR)) is Mode.WAIT
    assert decider.decide(make_view(work_seconds=9.5 * HOUR, seconds_left=17 * HOUR)) is Mode.ON_DEMAND


def test_uniform_progress_stays_on_demand_until_it_is_two_overheads_ahead() -> None:
    decider = UniformProgress().begin(make_workload())
    at_the_line = make_view(mode=Mode.ON_DEMAND, has_spot=True, work_seconds=9 * HOUR, seconds_left=18 * HOUR)
    assert decider.decide(at_the_line) is Mode.ON_DEMAND
    assert decider.decide(replace(at_the_line, work_seconds=9 * HOUR - 600)) is Mode.SPOT


def test_the_rule_waits_while_its_share_of_slack_is_there() -> None:
    decider = Rule().begin(make_workload())
    keep = 0.20 * 10 * HOUR + 1.6 * 600 + 2 * 60
    assert decider.decide(make_view(seconds_left=10 * HOUR + keep + 1)) is Mode.WAIT
    assert decider.decide(make_view(seconds_left=10 * HOUR + keep)) is Mode.ON_DEMAND


def test_the_rule_orders_spot_blind_while_on_demand_runs() -> None:
    decider = Rule().begin(make_workload())
    unseen = make_view(mode=Mode.ON_DEMAND, has_spot=None)
    assert decider.decide(unseen) is Mode.SPOT
    keep = 0.057 * 10 * HOUR + 0.18 * 600
    assert decider.decide(replace(unseen, seconds_left=10 * HOUR + keep)) is Mode.ON_DEMAND


def test_the_rule_looks_for_spot_now_and_then_where_on_demand_must_be_stopped_first() -> None:
    decider = Rule().begin(make_workload(back_to_spot=BackToSpot.STOP_FIRST))
    unseen = make_view(mode=Mode.ON_DEMAND, has_spot=None, interval_seconds=3540)
    assert decider.decide(unseen) is Mode.ON_DEMAND
    assert decider.decide(replace(unseen, interval_seconds=3600)) is Mode.SPOT


def test_the_rule_waits_to_the_last_moment_where_there_is_no_way_back() -> None:
    decider = Rule().begin(make_workload(back_to_spot=BackToSpot.NEVER))
    assert decider.decide(make_view(seconds_left=10 * HOUR + 700)) is Mode.WAIT


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_rule_of_strange_numbers_is_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match=r"rule\.wait_work"):
        Rule(wait_work=value)


def test_intervals_are_runs_of_equal_ticks() -> None:
    assert intervals_of([1, 1, 0, 1], 60) == [(True, 120), (False, 60), (True, 60)]
