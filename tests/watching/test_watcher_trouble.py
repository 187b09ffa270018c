"""What fails in a watcher, and what goes on meanwhile. No AWS and no clock but the test's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus
from spot_training.sagemaker.descriptions import Summary
from spot_training.sagemaker.logs import TrainingLogs
from spot_training.watching import event_feed
from spot_training.watching.delivery import Delivery
from spot_training.watching.events import StateChanges
from spot_training.watching.listing import FLOOD_SECONDS
from spot_training.watching.live_logs import LIVE_LOGS_UP_TO, REMEMBER_SECONDS
from spot_training.watching.pace import STEADY_SECONDS
from spot_training.watching.periodic import LONGEST_REST_SECONDS, TROUBLE_AFTER_SECONDS
from spot_training.watching.rate_limit import RateLimit
from spot_training.watching.watcher import JobWatcher, LogLines, Over, Report, Trouble, Watch
from tests.cloud import answer_before_sending, refusal

from .support import BEGAN, make_snapshot

HOUR = 3600.0


def _summary(name: str, at: datetime, status: TrainingStatus = TrainingStatus.COMPLETED) -> Summary:
    is_alive = status is TrainingStatus.IN_PROGRESS
    secondary = SecondaryStatus.STARTING if is_alive else SecondaryStatus(status.value)
    return Summary(name=name, status=status, secondary_status=secondary, last_modified_at=at)


class Account:
    """TrainingJobs of an account in which calls are refused when a test says so; a hundred jobs a page."""

    region = "us-east-1"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.over: dict[str, datetime] = {}
        self.listed: list[str] = []
        self.refuses_to_describe: Callable[[str], bool] = lambda _: False
        self.refuses_to_list: Callable[[], bool] = lambda: False
        self.described: list[str] = []
        self.windows: list[datetime] = []
        self.facts: dict[str, Any] = {}

    def listen(self, attach: Callable[[Any], None]) -> None:
        pass

    def snapshot(self, name: str) -> JobSnapshot:
        self.described.append(name)
        if self.refuses_to_describe(name):
            raise PermissionError("sagemaker:DescribeTrainingJob is not allowed")
        return make_snapshot(name, over_at=self.over.get(name), **self.facts)

    def pages(self, *, modified_since: datetime | None = None) -> Iterator[tuple[Summary, ...]]:
        if self.refuses_to_list():
            raise PermissionError("sagemaker:ListTrainingJobs is not allowed")
        if modified_since is not None:
            self.windows.append(modified_since)
            yield tuple(_summary(name, at) for name, at in self.over.items() if at >= modified_since)
            return
        for start in range(0, len(self.listed), 100):
            yield tuple(
                _summary(name, BEGAN, TrainingStatus.IN_PROGRESS)
                if name not in self.over
                else _summary(name, self.over[name])
                for name in self.listed[start : start + 100]
            )


class Logs:
    """CloudWatch Logs that nobody may read."""

    def listen(self, attach: Callable[[Any], None]) -> None:
        pass

    def since(self, *_: Any) -> list[dict[str, Any]]:
        raise PermissionError("logs:FilterLogEvents is not allowed")


class Written:
    """CloudWatch Logs in which each job wrote one line at the start and one each second."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def listen(self, attach: Callable[[Any], None]) -> None:
        pass

    def since(self, name: str, milliseconds: int) -> list[dict[str, Any]]:
        return [
            {"eventId": f"{second}", "timestamp": 1000 * second, "message": f"{name} {second}"}
            for second in range(1000, int(self._now()) + 1)
            if 1000 * second >= milliseconds
        ]


class Hand:
    """A watcher without its thread, for an hour in a moment."""

    def __init__(self, **how: Any) -> None:
        self.now = 1000.0
        self.account = Account(self.service_time)
        self.made = 0
        self.reports: dict[str, list[Report]] = {}
        self.watcher = JobWatcher(self._make, rate_limit=RateLimit(1e6), monotonic=lambda: self.now, **how)
        self.watcher._thread = threading.current_thread()
        self.watcher.clock.now = self.service_time  # type: ignore[method-assign]

    def _make(self) -> Any:
        self.made += 1
        return self.account

    def service_time(self) -> datetime:
        return BEGAN + timedelta(seconds=self.now - 1000)

    def watch(self, *names: str, **how: Any) -> list[Any]:
        return [
            self.watcher.watch(name, self.reports.setdefault(name, []).append, interval_seconds=30, **how)
            for name in names
        ]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.watcher.look()
            self.now += max(0.5, min(self.watcher._seconds_until_due(), end - self.now))

    def end(self, name: str) -> None:
        self.account.over[name] = self.service_time()

    def is_told(self, name: str) -> bool:
        return any(
            isinstance(report, Over) or (isinstance(report, JobSnapshot) and report.is_terminal)
            for report in self.reports[name]
        )

    def troubles(self, name: str) -> list[Trouble]:
        return [report for report in self.reports[name] if isinstance(report, Trouble)]


def _names(count: int) -> list[str]:
    return [f"job-{n}" for n in range(count)]


# One that fails, and the others -----------------------------------------------------------------------


def test_a_log_that_cannot_be_read_delays_no_news_of_the_job() -> None:
    hand = Hand(make_logs=Logs)
    hand.watch("one", shows_log=True)
    hand.run(120)
    hand.end("one")
    hand.run(31)
    assert hand.is_told("one")
    assert "CloudWatch Logs has not answered" in str(hand.troubles("one")[0])


def test_a_job_that_cannot_be_described_delays_no_other_and_costs_few_calls() -> None:
    hand = Hand()
    hand.watch(*_names(10))
    hand.account.refuses_to_describe = lambda name: name == "job-9"
    hand.run(100)
    hand.end("job-0")
    hand.run(HOUR)
    assert hand.is_told("job-0")
    assert hand.account.described.count("job-9") <= HOUR / LONGEST_REST_SECONDS + 10
    assert hand.troubles("job-9")
    assert not hand.troubles("job-1")


def test_when_nothing_can_be_described_ends_are_told_and_few_calls_made() -> None:
    hand = Hand()
    hand.watch(*_names(100))
    hand.account.refuses_to_describe = lambda _: True
    hand.run(100)
    hand.end("job-0")
    hand.run(10)
    assert hand.is_told("job-0")
    assert len(hand.account.described) < 40
    assert all(hand.troubles(name) for name in _names(100)[1:])


def test_where_the_list_is_refused_jobs_are_described() -> None:
    hand = Hand()
    hand.account.refuses_to_list = lambda: True
    hand.watch(*_names(30))
    hand.run(TROUBLE_AFTER_SECONDS + LONGEST_REST_SECONDS + 1)
    assert hand.troubles("job-1")
    hand.end("job-0")
    hand.run(2 * LONGEST_REST_SECONDS)
    assert hand.is_told("job-0")


def test_a_look_up_that_fails_delays_neither_windows_nor_descriptions() -> None:
    hand = Hand()
    hand.account.listed = _names(500)
    hand.watch(*_names(500), must_describe=False)
    whole = hand.account.pages

    def pages(*, modified_since: datetime | None = None) -> Iterator[tuple[Summary, ...]]:
        for number, page in enumerate(whole(modified_since=modified_since)):
            if modified_since is None and number == 3:
                raise TimeoutError("the fourth page does not come")
            yield page

    hand.account.pages = pages  # type: ignore[method-assign]
    hand.run(10)
    hand.watch("late")
    hand.end("job-1")
    hand.run(STEADY_SECONDS)
    assert hand.is_told("job-1")
    assert hand.reports["late"]
    assert hand.account.described == ["late"]
    hand.run(TROUBLE_AFTER_SECONDS + LONGEST_REST_SECONDS)
    assert set(hand.account.described) == {"late", *_names(500)[300:]}


def test_an_end_is_not_lost_when_a_job_is_registered_anew_during_a_look_up() -> None:
    hand = Hand()
    hand.account.listed = _names(300)
    watches = hand.watch(*_names(300), must_describe=False)
    whole = hand.account.pages

    def pages(*, modified_since: datetime | None = None) -> Iterator[tuple[Summary, ...]]:
        for page in whole(modified_since=modified_since):
            yield page
            if modified_since is None and "job-3" not in hand.account.over:
                hand.watcher.unwatch(watches[3])
                hand.account.over["job-3"] = BEGAN - timedelta(hours=1)  # before all windows
                hand.watch("job-3")

    hand.account.pages = pages  # type: ignore[method-assign]
    hand.run(2)
    assert hand.is_told("job-3")


def test_a_listener_that_cannot_be_told_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    hand = Hand()

    def tell(_: Report) -> None:
        raise RuntimeError("Event loop is closed")

    hand.watcher.watch("one", tell, interval_seconds=30)
    hand.watch("one", "two")
    hand.run(1)
    assert hand.reports["one"]
    assert hand.reports["two"]
    assert "A report on training job one was not delivered" in caplog.text


def test_a_report_to_an_event_loop_that_is_closed_is_dropped() -> None:
    loop = asyncio.new_event_loop()
    delivery = Delivery(loop)
    loop.close()
    delivery.send(object(), "late")  # type: ignore[arg-type]
    assert not delivery._items


# Credentials, threads, processes ----------------------------------------------------------------------


def test_a_client_whose_calls_fail_is_made_anew_at_most_once_a_minute() -> None:
    hand = Hand()
    hand.watch("one")
    hand.run(120)
    assert hand.made == 1
    hand.account.refuses_to_describe = lambda _: hand.made < 2  # the old credentials
    hand.run(90)
    assert hand.made == 2
    hand.end("one")
    hand.run(31)
    assert hand.is_told("one")
    hand.account.refuses_to_describe = lambda _: True
    hand.watch("another")
    hand.run(600)
    assert 2 < hand.made <= 12


def test_a_thread_that_could_not_start_is_started_with_the_next_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = Account(lambda: BEGAN)
    watcher = JobWatcher(lambda: account, rate_limit=RateLimit(1e6))  # type: ignore[arg-type, return-value]

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            watcher.watch("one", lambda _: None, interval_seconds=1)
    assert not watcher._watched.by_name
    told = threading.Event()
    watch = watcher.watch("two", lambda _: told.set(), interval_seconds=1)
    assert told.wait(20)
    watcher.unwatch(watch)


def test_a_thread_that_died_is_replaced() -> None:
    account = Account(lambda: BEGAN)
    watcher = JobWatcher(lambda: account, rate_limit=RateLimit(1e6))  # type: ignore[arg-type, return-value]
    dead = threading.Thread(target=lambda: None)
    dead.start()
    dead.join()
    watcher._thread = dead
    told = threading.Event()
    watch = watcher.watch("one", lambda _: told.set(), interval_seconds=1)
    assert told.wait(20)
    watcher.unwatch(watch)


# Calls ------------------------------------------------------------------------------------------------


def test_limits_of_jobs_that_are_over_are_forgotten_and_quicken_nothing() -> None:
    hand = Hand()
    hand.account.facts = {"max_wait_seconds": 86400}
    hand.watch(*_names(5))
    for n in range(600):
        (watch,) = hand.watch(f"short-{n}")
        hand.run(5)
        hand.watcher.unwatch(watch)
    assert len(hand.watcher._watched.limits) < 200
    hand.run(86400 - 3000 - 120)
    calls = len(hand.account.windows)
    hand.run(200)  # the limits of those that are over come and go
    hand.run(HOUR)
    assert (len(hand.account.windows) - calls) / (HOUR + 200) < 1.1 / STEADY_SECONDS


@pytest.mark.slow
def test_a_fourth_job_after_days_with_few_lists_no_days() -> None:
    hand = Hand()
    hand.watch(*_names(3))
    hand.run(3 * 86400)
    hand.watch("fourth")
    hand.run(20)
    assert hand.account.windows
    assert hand.service_time() - min(hand.account.windows) < timedelta(minutes=11)


def test_many_that_keep_coming_are_looked_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand()
    hand.account.listed = _names(200)
    to_come = [_names(200)[start : start + 50] for start in range(0, 200, 50)]

    def more_come_meanwhile(_: float) -> None:
        if to_come:
            hand.watch(*to_come.pop(), must_describe=False)

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", more_come_meanwhile)
        hand.watcher._gather()
    hand.watcher.look()
    assert hand.watcher.is_settled
    assert not to_come
    assert not hand.account.described


def test_an_urgent_job_is_described_before_those_that_came_earlier() -> None:
    hand = Hand()
    hand.account.listed = _names(100)
    for name in _names(100):
        due_in_seconds = {"job-90": 600.0, "job-95": -60.0}.get(name, 7200.0)
        hand.reports[name] = []
        listener = Watch(name=name, notify=hand.reports[name].append, interval_seconds=30)
        hand.watcher.add(listener, must_describe=True, due_in_seconds=due_in_seconds)
    hand.watcher.expect("job-50", 60)
    hand.watcher.look()
    assert hand.account.described[:4] == ["job-95", "job-50", "job-90", "job-0"]


# Live logs --------------------------------------------------------------------------------------------


def _hand_with_logs() -> Hand:
    hand = Hand(make_logs=lambda: Written(lambda: hand.now))
    return hand


def _lines(hand: Hand, name: str) -> list[str]:
    reports = [report for report in hand.reports[name] if isinstance(report, LogLines)]
    return [line for report in reports for line in report.lines]


def test_a_log_goes_on_where_it_was_when_its_listener_comes_back() -> None:
    """As who waits for a deadline does at each look."""
    hand = _hand_with_logs()
    (watch,) = hand.watch("one", shows_log=True)
    hand.run(20)
    hand.watcher.unwatch(watch)
    hand.now += 5
    (watch,) = hand.watch("one", shows_log=True)
    hand.run(20)
    lines = _lines(hand, "one")
    assert lines[0] == "one 1000"
    assert len(lines) == len(set(lines)) > 25
    hand.watcher.unwatch(watch)
    hand.now += REMEMBER_SECONDS + 1
    hand.watch("one", shows_log=True)
    hand.run(1)
    assert _lines(hand, "one").count("one 1000") == 2


def test_a_log_that_is_not_shown_any_more_leaves_its_place_to_the_next() -> None:
    hand = _hand_with_logs()
    names = _names(LIVE_LOGS_UP_TO + 1)
    first, *_ = hand.watch(*names, shows_log=True)
    hand.watch("job-0")
    hand.run(20)
    assert not _lines(hand, names[-1])
    hand.watcher.unwatch(first)
    hand.run(20)
    assert _lines(hand, names[-1])


def test_throttled_logs_do_not_slow_sagemakers_calls_down() -> None:
    limit = RateLimit(100.0)
    client = boto3.client(
        "logs",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - no call leaves this process
        config=Config(retries={"total_max_attempts": 1}),
    )
    calls = limit.calls
    TrainingLogs(client).listen(limit.ration)
    answer_before_sending(client, "logs", lambda **_: refusal(400, "ThrottlingException"))
    with pytest.raises(ClientError, match="Throttling"):
        TrainingLogs(client).since("one", 0)
    assert limit.calls == calls + 1
    assert limit.calls_per_second == 100.0


# Events -----------------------------------------------------------------------------------------------


def _with_events() -> tuple[Hand, StateChanges]:
    changes = StateChanges(lambda: None, region="us-east-1")  # type: ignore[arg-type, return-value]
    changes._thread = threading.current_thread()
    changes._answered_at = float("inf")
    return Hand(events=changes), changes


def test_a_job_that_is_stopping_is_not_described_but_for_a_guard() -> None:
    hand, _ = _with_events()
    hand.account.listed = _names(30)
    hand.watch(*_names(29), must_describe=False)
    hand.watch("job-29", must_describe=True)
    hand.run(5)
    hand.account.described.clear()
    for name in _names(30):
        hand.watcher.handle(_summary(name, hand.service_time(), TrainingStatus.STOPPING))
    hand.run(2)
    assert hand.account.described == ["job-29"]


def test_in_a_flood_only_guards_have_jobs_described_until_it_is_over() -> None:
    hand, changes = _with_events()
    hand.account.listed = _names(30)
    hand.watch(*_names(29), must_describe=False)
    hand.watch("job-29", must_describe=True)
    hand.run(5)
    hand.account.described.clear()
    changes._full_at = float("inf")
    for name in _names(30):
        hand.watcher._watched.update(
            _summary(name, hand.service_time(), TrainingStatus.IN_PROGRESS), is_event=False
        )
    hand.run(5)
    assert hand.account.described == ["job-29"]
    changes._full_at = float("-inf")
    hand.run(5)
    assert sorted(hand.account.described) == sorted(_names(30))


def test_who_comes_in_a_flood_hears_of_a_job_that_was_over_before() -> None:
    hand, changes = _with_events()
    hand.watch(*_names(8), must_describe=False)
    hand.run(5)
    changes._full_at = float("inf")
    hand.account.over["late"] = BEGAN - timedelta(hours=1)
    hand.watch("late", must_describe=False)
    hand.run(5)
    assert hand.is_told("late")


def test_after_a_flood_the_list_is_asked_on_for_a_few_seconds() -> None:
    """Also when no event comes any more, and ends are all that was told."""
    hand, changes = _with_events()
    hand.watch(*_names(8), must_describe=False)
    hand.run(200)  # long quiet
    changes._full_at = float("inf")
    hand.account.windows.clear()
    hand.watcher.handle(_summary("job-0", hand.service_time()))
    hand.run(2)
    hand.end("job-1")
    hand.run(2)
    assert hand.is_told("job-1")
    changes._full_at = float("-inf")
    hand.run(50)
    assert 4 <= len(hand.account.windows) <= 8


def test_an_event_that_comes_during_a_look_brings_the_next_one_forward() -> None:
    hand, changes = _with_events()
    hand.watch(*_names(8), must_describe=False)
    hand.run(200)
    whole = hand.account.pages

    def pages(**filters: Any) -> Iterator[tuple[Summary, ...]]:
        yield from whole(**filters)
        changes._full_at = float("inf")
        hand.watcher.handle(_summary("job-0", hand.service_time()))

    hand.account.pages = pages  # type: ignore[method-assign]
    hand.watcher._changes._look_at = hand.now
    hand.watcher.look()
    assert hand.watcher._changes.next_at() == hand.now + FLOOD_SECONDS


def test_an_end_that_is_told_while_the_job_is_described_stays_the_end() -> None:
    hand, _ = _with_events()
    hand.watch("one")
    original = hand.account.snapshot

    def snapshot(name: str) -> JobSnapshot:
        fetched = original(name)
        hand.watcher.handle(_summary(name, hand.service_time()))
        return fetched

    hand.account.snapshot = snapshot  # type: ignore[method-assign]
    hand.watcher.look()
    assert [type(report) for report in hand.reports["one"]] == [Over]
    assert hand.watcher._watched.by_name["one"].is_over


def test_how_late_events_are_is_measured_in_this_machines_seconds() -> None:
    """The local SageMaker's twenty seconds may be a third of one here."""
    hand, _ = _with_events()
    hand.watcher.clock.real_seconds = lambda seconds: seconds / 60  # type: ignore[method-assign]
    hand.watch(*_names(8))
    hand.run(2)
    hand.watcher._watched.update(
        _summary("job-0", hand.service_time() - timedelta(minutes=10)), is_event=False
    )
    assert hand.watcher._feed.is_reliable
    hand.watcher._watched.update(
        _summary("job-1", hand.service_time() - timedelta(minutes=30)), is_event=False
    )
    assert not hand.watcher._feed.is_reliable


def test_a_flood_of_other_peoples_events_moves_no_look() -> None:
    hand, changes = _with_events()
    hand.watch(*_names(5))
    hand.run(5)
    due_at = hand.watcher._changes.next_at()
    changes._full_at = float("inf")
    assert not hand.watcher.handle(_summary("theirs", hand.service_time()))
    assert hand.watcher._changes.next_at() == due_at
    assert hand.watcher.handle(_summary("job-0", hand.service_time()))
    assert hand.watcher._changes.next_at() < due_at


def test_an_event_about_a_job_that_just_ended_is_nobody_elses() -> None:
    hand, _ = _with_events()
    (watch,) = hand.watch("one")
    hand.run(1)
    hand.watcher.unwatch(watch)
    assert hand.watcher.handle(_summary("one", hand.service_time()))
    hand.now += event_feed.REMEMBER_SECONDS + 1
    assert not hand.watcher.handle(_summary("one", hand.service_time()))


def test_events_of_another_region_are_not_waited_for() -> None:
    changes = StateChanges(lambda: None, region="eu-west-1")  # type: ignore[arg-type, return-value]
    changes._answered_at = float("inf")
    hand = Hand(events=changes)
    hand.watch(*_names(5))
    hand.run(300)
    assert not changes._subscribers
    hand.end("job-0")
    hand.run(STEADY_SECONDS + 1)
    assert hand.is_told("job-0")


def test_ends_that_no_event_tells_make_it_look_as_often_as_without() -> None:
    """A rule that is disabled, or of another account: the queue answers all the same."""
    hand, _ = _with_events()
    hand.watch(*_names(8))
    hand.run(200)
    hand.end("job-0")
    hand.run(121)
    assert hand.is_told("job-0")
    if not hand.watcher._feed._are_missed:  # the look came just after the end
        hand.end("job-1")
        hand.now += 25
        hand.run(61)
    hand.end("job-2")
    hand.run(STEADY_SECONDS + 1)
    assert hand.is_told("job-2")
    hand.watcher.handle(_summary("job-3", hand.service_time()))
    assert hand.watcher._feed.is_reliable


def test_trouble_says_since_when_in_words_because_a_line_has_its_own_time() -> None:
    now = datetime.now(UTC)
    said = str(Trouble(since=now, error="no route"))
    assert said == f"SageMaker has not answered since {now:%H:%M} UTC, still asking: no route"
