"""What jobs saw of their market, as intervals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.advise.intervals import Stretch, intervals_seen, stretches_of
from spot_training.domain.lifecycle import SecondaryStatus, Transition

S = SecondaryStatus
T0 = datetime(2026, 3, 2, tzinfo=UTC)
UP, DOWN = True, False


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def job(*visits: tuple[SecondaryStatus, float], over: float) -> list[Stretch]:
    """What a job saw that entered these statuses at these minutes; a launch takes five minutes at most."""
    transitions = [Transition(status=status, started_at=at(minute)) for status, minute in visits]
    return stretches_of(transitions, over_at=at(over), launch_seconds=300)


def minutes(intervals: list[tuple[bool, float]]) -> list[tuple[bool, float]]:
    return [(has_spot, seconds / 60) for has_spot, seconds in intervals]


def test_an_ordinary_start_is_no_want_of_capacity() -> None:
    seen = job(
        (S.STARTING, 0), (S.PENDING, 2), (S.DOWNLOADING, 4), (S.TRAINING, 6), (S.COMPLETED, 90), over=90
    )
    assert minutes(intervals_seen([seen])) == [(UP, 90)]


def test_a_long_wait_is_an_interval_without_capacity() -> None:
    seen = job((S.STARTING, 0), (S.DOWNLOADING, 60), (S.TRAINING, 62), (S.COMPLETED, 120), over=120)
    assert minutes(intervals_seen([seen])) == [(DOWN, 60), (UP, 60)]


def test_each_interruption_ends_an_interval_however_short_the_wait_after_it() -> None:
    seen = job(
        (S.STARTING, 0),
        (S.TRAINING, 3),
        (S.INTERRUPTED, 50),
        (S.STARTING, 51),
        (S.TRAINING, 53),
        (S.INTERRUPTED, 100),
        (S.STARTING, 101),
        (S.TRAINING, 160),
        (S.COMPLETED, 200),
        over=200,
    )
    assert minutes(intervals_seen([seen])) == [(UP, 50), (DOWN, 3), (UP, 47), (DOWN, 60), (UP, 40)]


def test_a_restart_without_an_interruption_is_no_loss() -> None:
    seen = job(
        (S.STARTING, 0), (S.TRAINING, 3), (S.RESTARTING, 50), (S.TRAINING, 52), (S.FAILED, 60), over=60
    )
    assert minutes(intervals_seen([seen])) == [(UP, 60)]


@pytest.mark.parametrize("gap", [1, 600])
def test_the_end_of_a_job_is_no_loss_of_capacity(gap: int) -> None:
    begin = 60 + gap
    seen = [
        job((S.STARTING, 0), (S.TRAINING, 3), (S.COMPLETED, 60), over=60),
        job((S.STARTING, begin), (S.TRAINING, begin + 3), (S.INTERRUPTED, begin + 40), over=begin + 41),
    ]
    assert minutes(intervals_seen(seen)) == [(UP, 100), (DOWN, 1)]


def test_waits_that_max_wait_cut_off_are_one_interval() -> None:
    seen = [
        job((S.STARTING, 0), (S.STOPPING, 120), (S.MAX_WAIT_TIME_EXCEEDED, 121), over=121),
        job((S.STARTING, 122), (S.TRAINING, 182), (S.COMPLETED, 200), over=200),
    ]
    assert minutes(intervals_seen(seen)) == [(DOWN, 180), (UP, 18)]


def test_a_job_that_was_stopped_while_it_started_says_nothing() -> None:
    assert intervals_seen([job((S.STARTING, 0), (S.STOPPED, 3), over=3)]) == []


def test_jobs_in_parallel_see_one_market() -> None:
    """One trains from 0 to 100, the other waits from 20 to 140; both ends of capacity are no loss."""
    seen = [
        job((S.STARTING, 0), (S.TRAINING, 2), (S.COMPLETED, 100), over=100),
        job((S.STARTING, 20), (S.TRAINING, 140), (S.COMPLETED, 200), over=200),
        job((S.STARTING, 150), (S.TRAINING, 152), (S.COMPLETED, 190), over=190),
    ]
    assert minutes(intervals_seen(seen)) == [(DOWN, 40), (UP, 160)]


def test_a_job_that_two_records_hold_counts_once() -> None:
    seen = job((S.STARTING, 0), (S.TRAINING, 3), (S.INTERRUPTED, 50), (S.TRAINING, 80), over=100)
    assert intervals_seen([seen, seen]) == intervals_seen([seen])


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([S.STARTING, S.TRAINING, S.INTERRUPTED, S.STOPPING]), st.integers(0, 500)
            ),
            min_size=1,
            max_size=6,
        ),
        max_size=5,
    )
)
def test_no_second_is_made_up_and_none_counts_twice(
    jobs: list[list[tuple[SecondaryStatus, int]]],
) -> None:
    seen = [job(*sorted(visits, key=lambda visit: visit[1]), over=600) for visits in jobs]
    watched = {
        minute
        for stretches in seen
        for s in stretches
        for minute in range(*(round((m - T0).total_seconds() / 60) for m in (s.began_at, s.ended_at)))
    }
    assert sum(seconds for _, seconds in intervals_seen(seen)) == len(watched) * 60
