"""The rule of the way back to spot: when it pays, when scouts go out, and what the guard keeps free."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.errors import InvalidInput
from spot_training.domain.way_back import (
    HandOver,
    Progress,
    SpotGuard,
    WayBack,
    fails_too_often,
    pause_seconds,
)

HOUR = 3600.0
seconds = st.floats(0, 2000)


def _hand_over(**overrides: Any) -> HandOver:
    values = {"launch_seconds": 360.0, "price_ratio": 0.318, "checkpoint_every_seconds": 300.0}
    return HandOver(**{**values, **overrides})


def _way_back(**overrides: Any) -> WayBack:
    return WayBack(hand_over=_hand_over(**overrides))


def _progress(*, work: float, slack: float, **overrides: Any) -> Progress:
    return Progress(seconds_left=work + slack, work_seconds=work, **overrides)


hand_overs = st.builds(
    HandOver,
    launch_seconds=seconds,
    price_ratio=st.floats(0, 0.9),
    checkpoint_every_seconds=seconds,
    stop_seconds=seconds,
    scout_launch_seconds=seconds,
    scout_stop_seconds=seconds,
    is_quota_shared=st.booleans(),
    notice_seconds=seconds,
    reserve_seconds=seconds,
    lost_seconds=seconds,
)
progresses = st.builds(
    Progress,
    seconds_left=st.floats(0, 100 * HOUR),
    work_seconds=st.floats(0, 60 * HOUR),
    unsaved_seconds=seconds,
)


def test_the_cost_of_a_hand_over_is_that_of_its_parts() -> None:
    # STOP of on-demand while the scout runs, L at the difference of the prices, half a checkpoint interval, a
    # launch of each, and the end of the scout.
    cost = 180 * 1.318 + 180 * 0.682 + 150 + 360 * 1.318 + 60 * 0.318
    assert _hand_over().cost_seconds == pytest.approx(cost)


def test_waiting_ends_when_the_slack_is_a_fifth_of_the_work_less_one_and_a_half_hand_overs() -> None:
    rule = _way_back()
    keep = 48 * HOUR / 5 - 1.5 * rule.hand_over.cost_seconds
    at = rule.on_demand_in_seconds(_progress(work=48 * HOUR, slack=12 * HOUR))
    assert at == pytest.approx(12 * HOUR - keep)
    assert rule.on_demand_in_seconds(_progress(work=48 * HOUR, slack=keep - 1)) == 0


def test_where_the_way_back_does_not_pay_waiting_ends_at_the_last_moment() -> None:
    for rule in (replace(_way_back(), is_allowed=False), _way_back(price_ratio=0.61)):
        assert rule.on_demand_in_seconds(_progress(work=48 * HOUR, slack=12 * HOUR)) == 12 * HOUR - 360
    assert _way_back().on_demand_in_seconds(_progress(work=4 * HOUR, slack=2 * HOUR)) == 2 * HOUR - 360


@pytest.mark.parametrize(
    ("overrides", "hand_overs", "launches", "others"),
    [
        # w > 13 h + 9 d
        ({}, 1.5 / (1 / 5 - 1 / 12), 1 / (1 / 5 - 1 / 12), 0),
        # w > 7.5 h + 15 d + 5 (STOP + reserve)
        ({"reserve_seconds": 1320}, 7.5, 15, 5 * (180 + 1320)),
    ],
)
def test_it_pays_from_the_work_that_the_slack_and_the_guard_need(
    overrides: dict[str, Any], hand_overs: float, launches: float, others: float
) -> None:
    rule = _way_back(**overrides)
    least = hand_overs * rule.hand_over.cost_seconds + launches * 360 + others
    assert rule.least_work_seconds == pytest.approx(least)
    assert not rule.pays(least - 1)
    assert rule.pays(least + 1)


def test_a_verdict_says_why() -> None:
    rule = _way_back()
    assert rule.verdict(48 * HOUR).is_on
    assert "2 d of work are left, more than the 4 h 26 min" in rule.verdict(48 * HOUR).reason
    assert not rule.verdict(HOUR).is_on
    assert "not more than" in rule.verdict(HOUR).reason
    dear = _way_back(price_ratio=0.7).verdict(48 * HOUR)
    assert (dear.is_on, "70% of on-demand" in dear.reason) == (False, True)
    assert not replace(rule, is_allowed=False).verdict(48 * HOUR).is_on


def test_scouts_go_out_once_the_slack_is_a_twelfth_of_the_work() -> None:
    rule = _way_back()
    assert rule.scouts_in_seconds(_progress(work=48 * HOUR, slack=5 * HOUR)) == 0
    assert rule.scouts_in_seconds(_progress(work=48 * HOUR, slack=3 * HOUR)) == pytest.approx(12 * HOUR)
    launching = _progress(work=48 * HOUR, slack=3 * HOUR + 60, owed_seconds=60.0)
    assert rule.scouts_in_seconds(launching) == pytest.approx(12 * HOUR + 60)


def test_scouts_stay_at_home_without_room_or_reason_for_a_hand_over() -> None:
    rule = _way_back()
    room = rule.hand_over.room_seconds + 360
    assert rule.scouts_in_seconds(_progress(work=2 * HOUR, slack=room + 1)) == 0
    assert rule.scouts_in_seconds(_progress(work=2 * HOUR, slack=room - 1)) is None
    assert rule.scouts_in_seconds(_progress(work=0.3 * HOUR, slack=5 * HOUR)) is None
    assert _way_back(price_ratio=0.61).scouts_in_seconds(_progress(work=9 * HOUR, slack=9 * HOUR)) is None
    off = replace(rule, is_allowed=False)
    assert off.scouts_in_seconds(_progress(work=9 * HOUR, slack=9 * HOUR)) is None


#: More or less than the guard needs: the cases on both sides of its limit.
around = st.floats(-300, 300)


def _with_spare(how: HandOver, progress: Progress, spare: float) -> Progress:
    """The same with this much time to spare."""
    needed = progress.work_seconds + progress.unsaved_seconds + how.slow_launch_seconds + how.reserve_seconds
    return replace(progress, seconds_left=needed + spare)


@given(how=hand_overs, progress=progresses, more=around)
def test_the_guard_has_room_for_whatever_follows_a_stop_and_for_no_more(
    how: HandOver, progress: Progress, more: float
) -> None:
    """A failed hand-over, or a spot job that ends before its first checkpoint, leaves time for a launch."""
    guard, now = SpotGuard(hand_over=how), _with_spare(how, progress, how.room_seconds + more)
    has_room = guard.has_room_for_hand_over(now)
    assert has_room or more < 1e-5
    stopped = now.seconds_left - how.stop_seconds - how.scout_wait_seconds
    late = how.stop_seconds if how.lost_seconds else 0.0  # the spot job that saves nothing has to stop, too
    ends = (how.notice_seconds, how.slow_launch_seconds + how.lost_seconds + late)
    work = now.work_seconds + now.unsaved_seconds
    left = [guard.seconds_to_spare(Progress(seconds_left=stopped - lost, work_seconds=work)) for lost in ends]
    assert (min(left) >= -1e-4) if has_room else (min(left) < 0)


@given(how=hand_overs, progress=progresses, more=around)
def test_a_spot_job_starts_only_if_it_may_end_at_the_worst_moment(
    how: HandOver, progress: Progress, more: float
) -> None:
    guard, now = SpotGuard(hand_over=how), _with_spare(how, progress, how.spot_room_seconds + more)
    has_room = guard.has_room_for_spot(now)
    assert has_room or more < 1e-5
    lost = how.slow_launch_seconds + how.lost_seconds + (how.stop_seconds if how.lost_seconds else 0.0)
    later = replace(now, seconds_left=now.seconds_left - lost)
    assert (guard.seconds_to_spare(later) >= -1e-4) if has_room else (guard.seconds_to_spare(later) < 0)


@given(how=hand_overs, progress=progresses, more=st.floats(0, 10 * HOUR))
def test_waiting_never_passes_the_last_moment_and_more_time_is_never_worse(
    how: HandOver, progress: Progress, more: float
) -> None:
    rule = WayBack(hand_over=how)
    waits = rule.on_demand_in_seconds(progress)
    assert 0 <= waits <= max(0.0, rule.guard.seconds_to_spare(progress))
    later = replace(progress, seconds_left=progress.seconds_left + more)
    assert rule.on_demand_in_seconds(later) >= waits - 1e-5
    assert rule.may_hand_over(later) or not rule.may_hand_over(progress)


@given(how=hand_overs, progress=progresses)
def test_scouts_that_go_out_may_end_in_a_hand_over(how: HandOver, progress: Progress) -> None:
    rule, saved = WayBack(hand_over=how), replace(progress, unsaved_seconds=0.0)
    until = rule.scouts_in_seconds(saved)
    if until is None:
        return
    then = Progress(
        seconds_left=saved.seconds_left - until, work_seconds=max(0.0, saved.work_seconds - until)
    )
    assert rule.may_hand_over(replace(then, seconds_left=then.seconds_left + 1e-3))


def test_the_pause_after_a_failed_hand_over_doubles() -> None:
    assert [pause_seconds(failed) for failed in range(4)] == [0, 1800, 3600, 7200]


@pytest.mark.parametrize(
    ("hand_overs", "failed", "is_off"),
    [(0, 0, False), (3, 3, False), (4, 2, False), (4, 3, True), (5, 3, True), (100, 50, False)],
)
def test_a_type_is_off_where_more_than_half_of_the_hand_overs_fail(
    hand_overs: int, failed: int, is_off: bool
) -> None:
    assert fails_too_often(hand_overs=hand_overs, failed=failed) is is_off


@pytest.mark.parametrize("field", ["stop_seconds", "launch_seconds", "price_ratio", "lost_seconds"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_strange_seconds_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=field):
        _hand_over(**{field: value})
