"""How often AWS is asked: the pace of looks, and the process's rate limit. No clock but the test's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from spot_training.domain.errors import InvalidInput
from spot_training.sagemaker.clock import ServiceClock
from spot_training.watching.event_feed import EventFeed
from spot_training.watching.listing import LookForChanges
from spot_training.watching.pace import QUICK_FOR_SECONDS, QUICK_SECONDS, STEADY_SECONDS, Pace
from spot_training.watching.rate_limit import SLOWEST_CALLS_PER_SECOND, RateLimit
from spot_training.watching.registry import WatchedJobs
from spot_training.watching.watched import BEFORE_A_LIMIT_SECONDS, Limits, Watch, Watched
from spot_training.watching.watcher import JobWatcher
from spot_training.watching.windows import FLOOD_OVERLAP, LONG_OVERLAP, OVERLAP, Windows

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Time:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _pace(jobs: int, interval_seconds: float = 30) -> Pace:
    pace = Pace()
    for _ in range(jobs):
        pace.join(interval_seconds)
    return pace


def test_one_job_in_a_drought_is_looked_at_as_often_as_it_was_asked_for() -> None:
    assert _pace(1).seconds(0) == 30


def test_a_look_comes_when_a_limit_of_a_job_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = JobWatcher(lambda: pytest.fail("nothing is asked"))
    monkeypatch.setattr(Limits, "next_at", lambda _self: 100.25)
    assert watcher._changes.seconds_to_next(100.0) == 0.25
    assert watcher._changes.seconds_to_next(101.0) == 0


def test_many_jobs_share_looks_up_to_the_steady_pace() -> None:
    assert _pace(2).seconds(0) == 15
    assert _pace(10_000).seconds(0) == STEADY_SECONDS
    assert 60 / STEADY_SECONDS + 3 <= 12  # with the round's three calls a minute


def test_it_is_quick_for_a_while_after_something_happened() -> None:
    pace = _pace(1)
    pace.stir(1000)
    assert pace.seconds(1000 + QUICK_FOR_SECONDS - 1) == QUICK_SECONDS
    assert pace.seconds(1000 + QUICK_FOR_SECONDS + 1) == 30


def test_who_asks_for_more_gets_it_and_takes_it_along() -> None:
    pace = _pace(10_000)
    pace.join(1)
    assert pace.seconds(0) == 1
    pace.leave(1)
    assert pace.seconds(0) == STEADY_SECONDS


def test_events_leave_a_slow_safety_net() -> None:
    pace = _pace(100)
    pace.stir(0)
    assert pace.seconds(1, has_events=True) == 60


def _limit(time: Time, calls_per_second: float = 5, burst: int = 1) -> RateLimit:
    return RateLimit(calls_per_second, burst=burst, monotonic=lambda: time.now, sleep=time.sleep)


def test_calls_are_spread_at_the_rate() -> None:
    time = Time()
    limit = _limit(time)
    for _ in range(51):
        limit.take()
    assert 10 <= time.now - 100 < 10.3


def test_room_that_was_not_used_serves_one_burst() -> None:
    time = Time()
    limit = _limit(time, burst=10)
    time.now += 3600
    started = time.now
    for _ in range(10):
        limit.take()
    assert time.now == started
    limit.take()
    assert time.now > started


def _answer(limit: RateLimit, code: str | None) -> None:
    limit._response_received(parsed_response={"Error": {"Code": code}} if code else {})


def test_throttling_slows_it_and_answers_bring_it_back() -> None:
    time = Time()
    limit = _limit(time)
    _answer(limit, "ThrottlingException")
    assert limit.calls_per_second == 2.5
    for _ in range(1000):
        time.sleep(2)
        _answer(limit, "ThrottlingException")
    assert limit.calls_per_second == SLOWEST_CALLS_PER_SECOND
    before = time.now
    limit.take()
    assert time.now - before <= 1 / SLOWEST_CALLS_PER_SECOND
    for _ in range(100):
        _answer(limit, None)
    assert limit.calls_per_second == 5


def test_one_storm_of_throttling_counts_once() -> None:
    limit = _limit(Time())
    for _ in range(20):
        _answer(limit, "Throttling")
    assert limit.calls_per_second == 2.5


def test_other_errors_do_not_slow_it() -> None:
    limit = _limit(Time())
    _answer(limit, "ValidationException")
    assert limit.calls_per_second == 5


def test_a_client_is_governed_once_however_often_it_is_handed_over() -> None:
    registered: dict[str, str] = {}

    def register(event: str, _handler: object, unique_id: str) -> None:
        assert registered.setdefault(unique_id, event) == event

    client = SimpleNamespace(meta=SimpleNamespace(events=SimpleNamespace(register=register)))
    limit = _limit(Time())
    limit.govern(client)
    limit.govern(client)
    assert sorted(registered.values()) == ["before-send", "response-received"]


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused_by_its_setting(rate: float) -> None:
    with pytest.raises(InvalidInput, match=r"calls_per_second"):
        RateLimit(rate)


def _limited(limits: Limits, count: int) -> list[Watched]:
    watch = SimpleNamespace(name="", interval_seconds=30, shows_log=False)
    jobs = [Watched(f"job-{n}") for n in range(count)]
    for n, job in enumerate(jobs):
        job.listeners = (watch,)
        limits.set_limit(job, 1000 + n + BEFORE_A_LIMIT_SECONDS)
    return jobs


def test_a_limit_counts_once_and_not_after_its_job() -> None:
    limits = Limits()
    jobs = _limited(limits, 2)
    jobs[0].is_over = True
    assert not limits.pass_due(1000)
    assert limits.next_at() == 1001
    assert limits.pass_due(1001)
    assert not limits.pass_due(1001)
    assert limits.next_at() == float("inf")


def test_a_limit_that_moves_leaves_nothing_behind() -> None:
    limits = Limits()
    (job,) = _limited(limits, 1)
    limits.set_limit(job, 5000 + BEFORE_A_LIMIT_SECONDS)
    assert not limits.pass_due(4999)
    assert limits.pass_due(5000)


def test_in_a_flood_windows_are_short_and_the_first_one_after_makes_up_for_it() -> None:
    windows = Windows()
    windows.open(BEGAN)
    for second in range(60):
        since = windows.since(second, is_flood=True)
        assert second == 0 or since == BEGAN + timedelta(seconds=second - 1) - FLOOD_OVERLAP
        windows.done(BEGAN + timedelta(seconds=second), second, is_flood=True)
    assert windows.since(60) == BEGAN - OVERLAP
    windows.done(BEGAN + timedelta(seconds=60), 60)
    assert windows.since(70) == BEGAN + timedelta(seconds=60) - OVERLAP
    assert windows.since(10_000) == BEGAN + timedelta(seconds=60) - LONG_OVERLAP


def test_what_changed_up_to_half_a_minute_before_the_last_look_is_listed_again() -> None:
    """AWS may report a change late."""
    windows = Windows()
    windows.open(BEGAN)
    windows.done(BEGAN + timedelta(seconds=100), 100)
    assert windows.since(110) == BEGAN + timedelta(seconds=70)
    assert windows.since(110, is_flood=True) == BEGAN + timedelta(seconds=97)
    assert windows.since(110 + 300) == BEGAN + timedelta(seconds=100 - 600)


class _Jobs:
    """An account's jobs. The clock is ahead until an answer sets it."""

    ahead = timedelta(minutes=5)

    def __init__(self) -> None:
        self.asked: list[datetime] = []

    def now(self) -> datetime:
        return BEGAN + self.ahead

    def pages(self, modified_since: datetime) -> Iterator[list[Any]]:
        self.asked.append(modified_since)
        self.ahead = timedelta()
        yield []


def test_what_changed_while_the_clock_was_ahead_of_aws_is_listed_by_the_next_look() -> None:
    jobs: Any = _Jobs()
    client: Any = SimpleNamespace(get=lambda: jobs, answered=lambda: None)
    feed = EventFeed(None, monotonic=lambda: 0.0)
    watched = WatchedJobs(ServiceClock(), feed, monotonic=lambda: 0.0)
    for number in range(10):
        listener = Watch(name=f"job-{number}", notify=lambda _: None, interval_seconds=30)
        watched.add(listener, must_describe=False, due_in_seconds=None)
    changes = LookForChanges(client, watched)
    changes.windows.open(BEGAN)
    changes.do()
    changes.do()
    assert jobs.asked == [BEGAN - OVERLAP, BEGAN - OVERLAP]
