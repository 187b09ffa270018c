"""Move policies decide; the guard keeps the deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spot_training.advise.moves import (
    BackToSpot,
    Guard,
    Mode,
    OnDemand,
    UntilDeadline,
    Widen,
    must_go_on_demand,
)
from spot_training.domain.errors import InvalidInput

from .support import HOUR, make_view, make_workload


def test_on_demand_runs_from_the_start() -> None:
    assert OnDemand().begin(make_workload()).decide(make_view(has_spot=True)) is Mode.ON_DEMAND


@pytest.mark.parametrize("seconds_left", [20 * HOUR, 12 * HOUR, 10 * HOUR + 700])
def test_without_a_way_back_spot_is_waited_for_until_the_guard_says_no(seconds_left: float) -> None:
    decider = UntilDeadline().begin(make_workload(back_to_spot=BackToSpot.NEVER))
    view = make_view(seconds_left=seconds_left)
    assert decider.decide(view) is Mode.WAIT
    assert decider.decide(replace(view, has_spot=True)) is Mode.SPOT
    assert decider.decide(replace(view, mode=Mode.SPOT, has_spot=True)) is Mode.SPOT
    assert decider.decide(replace(view, mode=Mode.ON_DEMAND, has_spot=None)) is Mode.ON_DEMAND
    assert decider.decide(replace(view, mode=Mode.ON_DEMAND, has_spot=True)) is Mode.ON_DEMAND


#: What is kept as slack for ten hours of work: a fifth, less one and a half hand-overs.
KEPT = 10 * HOUR / 5 - 1.5 * (1 + 0.9731 / 3.06) * 600


def test_with_a_way_back_on_demand_starts_before_the_last_moment() -> None:
    decider = UntilDeadline().begin(make_workload())
    assert decider.decide(make_view(has_spot=True)) is Mode.SPOT
    assert decider.decide(make_view(seconds_left=10 * HOUR + KEPT + 1)) is Mode.WAIT
    assert decider.decide(make_view(seconds_left=10 * HOUR + KEPT - 1)) is Mode.ON_DEMAND


def test_what_a_launch_that_was_lost_still_owed_is_no_reason_to_stop_waiting() -> None:
    decider = UntilDeadline().begin(make_workload())
    lost = make_view(mode=Mode.SPOT, owed_seconds=600.0, seconds_left=10 * HOUR + KEPT + 1)
    assert decider.decide(lost) is Mode.WAIT


@pytest.mark.parametrize(
    ("work_hours", "overhead", "decision"),
    [
        (10, 600.0, Mode.ON_DEMAND),
        # A launch would leave 2 h - 1.5 x 0.66 h - 0.5 h: less than two launches.
        (10, 1800.0, Mode.WAIT),
        # ... and here less than a twelfth of the work left.
        (1.5, 240.0, Mode.WAIT),
        (4, 240.0, Mode.ON_DEMAND),
    ],
)
def test_on_demand_starts_early_only_where_enough_is_left_for_a_way_back(
    work_hours: float, overhead: float, decision: Mode
) -> None:
    """Otherwise it would run to its end anyhow, and spot may come until the last moment."""
    decider = UntilDeadline().begin(make_workload(overhead_seconds=overhead))
    work = work_hours * HOUR
    view = make_view(work_seconds=work, overhead_seconds=overhead, seconds_left=work + 2 * overhead + 1)
    assert decider.decide(view) is decision


def test_on_demand_starts_early_only_where_two_launches_are_left() -> None:
    """Cheap spot makes a hand-over cheap: then this, and no share of the work, is what counts."""
    decider = UntilDeadline().begin(make_workload(spot_price=0.0))
    view = make_view(work_seconds=22 * 600.0, seconds_left=22 * 600.0 + 1300)
    assert decider.decide(view) is Mode.WAIT
    longer = make_view(work_seconds=23 * 600.0, seconds_left=23 * 600.0 + 1300)
    assert decider.decide(longer) is Mode.ON_DEMAND


def test_spot_is_ordered_blind_while_on_demand_runs_and_slack_is_left() -> None:
    decider = UntilDeadline().begin(make_workload())
    unseen = make_view(mode=Mode.ON_DEMAND, has_spot=None)
    assert decider.decide(unseen) is Mode.SPOT
    assert decider.decide(replace(unseen, has_spot=True)) is Mode.SPOT
    least = 10 * HOUR + 10 * HOUR / 12
    assert decider.decide(replace(unseen, seconds_left=least + 1)) is Mode.SPOT
    assert decider.decide(replace(unseen, seconds_left=least - 1)) is Mode.ON_DEMAND
    assert decider.decide(replace(unseen, seconds_left=least + 1, owed_seconds=5.0)) is Mode.ON_DEMAND
    assert decider.decide(replace(unseen, has_spot=False)) is Mode.ON_DEMAND


def test_where_on_demand_must_be_stopped_first_spot_is_looked_for_now_and_then() -> None:
    decider = UntilDeadline().begin(make_workload(back_to_spot=BackToSpot.STOP_FIRST))
    unseen = make_view(mode=Mode.ON_DEMAND, has_spot=None, interval_seconds=3540)
    assert decider.decide(unseen) is Mode.ON_DEMAND
    assert decider.decide(replace(unseen, interval_seconds=3600)) is Mode.SPOT


def test_widened_waits_end_a_spot_job_and_then_go_on_demand() -> None:
    decider = Widen(first_wait_seconds=2 * HOUR, factor=2, spot_attempts=2).begin(make_workload())
    running = make_view(mode=Mode.SPOT, has_spot=True)
    assert decider.decide(replace(running, seconds_left=19 * HOUR)) is Mode.SPOT
    assert decider.decide(replace(running, seconds_left=18 * HOUR)) is Mode.WAIT
    assert decider.decide(replace(running, seconds_left=18 * HOUR - 60)) is Mode.SPOT
    assert decider.decide(replace(running, seconds_left=14 * HOUR)) is Mode.ON_DEMAND


@pytest.mark.parametrize("has_spot", [True, False, None])
def test_the_guard_goes_on_demand_while_there_is_just_time(has_spot: bool | None) -> None:
    mode = Mode.ON_DEMAND if has_spot is None else Mode.WAIT
    enough = make_view(seconds_left=10 * HOUR + 2 * 600, has_spot=has_spot, mode=mode)
    wanted = Mode.SPOT if has_spot is not False else Mode.WAIT
    assert Guard().allow(wanted, enough) is wanted
    late = replace(enough, seconds_left=10 * HOUR + 600 + (0 if has_spot is False else 599))
    assert Guard().allow(wanted, late) is Mode.ON_DEMAND


def test_the_guard_lets_a_spot_run_that_paid_its_launch_go_on() -> None:
    running = make_view(mode=Mode.SPOT, has_spot=True, seconds_left=10 * HOUR + 600)
    assert Guard().allow(Mode.SPOT, running) is Mode.SPOT
    assert Guard().allow(Mode.SPOT, replace(running, has_spot=False)) is Mode.ON_DEMAND


def test_reserves_bring_the_last_moment_forward() -> None:
    view = make_view(seconds_left=10 * HOUR + 1000)
    assert not must_go_on_demand(view)
    assert must_go_on_demand(view, reserve_seconds=400)
    assert Guard(overhead_seconds=990).must_go_on_demand(view)
    assert Guard(work_factor=1.1).must_go_on_demand(view)


@pytest.mark.parametrize("field", ["work_seconds", "deadline_seconds", "overhead_seconds", "spot_price"])
@pytest.mark.parametrize("value", [-1, float("nan"), "soon", True])
def test_a_workload_of_strange_numbers_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=field):
        make_workload(**{field: value})
