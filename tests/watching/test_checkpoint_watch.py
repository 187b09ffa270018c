"""Looks at a checkpoint prefix: how many calls they take, what they find, and who is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from spot_training.domain.checkpoint_looks import SeenObject
from spot_training.domain.checkpoints_seen import CheckpointsToWatch, SeenCheckpoints
from spot_training.domain.errors import RequestRefused, ServiceFailed
from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, Transition
from spot_training.sagemaker.checkpoints import CheckpointPrefix, Page
from spot_training.watching.checkpoint_looks import CheckpointLooks
from spot_training.watching.checkpoint_watch import CheckpointWatch
from spot_training.watching.periodic import Renewed
from spot_training.watching.reports import CheckpointNews
from tests.cloud import Cloud, answer_before_sending

from .support import BEGAN, make_snapshot

HOUR = 3600
WHAT = CheckpointsToWatch(uri="s3://bucket/run", given_seconds=600)


class FakeClock:
    """AWS's clock, as fast as a test moves it."""

    def __init__(self) -> None:
        self.moment = BEGAN

    def now(self) -> datetime:
        return self.moment

    def real_seconds(self, seconds: float) -> float:
        return seconds


@dataclass
class FakePrefix:
    """A prefix with so many objects on a page. `calls` has what each call listed."""

    page_size: int = 1000
    objects: dict[str, SeenObject] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    error: Exception | None = None

    def put(self, key: str, at: datetime) -> None:
        self.objects[key] = SeenObject(key, 1000, f"{at}", at)

    def pages(self, folder: str = "", *, only_top: bool = False) -> Iterator[Page]:
        below = [item for key, item in sorted(self.objects.items()) if key.startswith(folder)]
        folders = sorted({f"{item.key.split('/')[0]}/" for item in below if "/" in item.key})
        if only_top:
            below = [item for item in below if "/" not in item.key]
        starts = range(0, max(1, len(below)), self.page_size)
        for start in starts:
            self.calls.append("top" if only_top else folder or "all")
            if self.error is not None:
                raise self.error
            page = tuple(below[start : start + self.page_size])
            yield Page(page, tuple(folders) if only_top else (), is_last=start == starts[-1])


def _job(began: datetime = BEGAN, ended: datetime | None = None) -> JobSnapshot:
    visits: tuple[Transition, ...] = (
        Transition(status=SecondaryStatus.TRAINING, started_at=began, ended_at=ended),
    )
    status = SecondaryStatus.TRAINING
    if ended is not None:
        status = SecondaryStatus.INTERRUPTED
        visits = (*visits, Transition(status=status, started_at=ended))
    return make_snapshot("job", secondary_status=status, transitions=visits)


class Lab:
    """A watch on a clock that jumps from look to look."""

    def __init__(self, prefix: FakePrefix, what: CheckpointsToWatch = WHAT) -> None:
        self.clock, self.prefix = FakeClock(), prefix
        clock: Any = self.clock
        listed: Any = prefix
        self.watch = CheckpointWatch(what, lambda: clock, listed)
        self.watch.update(_job())
        self.looks: list[datetime] = []

    def run(self, seconds: float, happens: Callable[[datetime, datetime], None]) -> list[CheckpointNews]:
        """Let time pass. `happens` puts objects between two moments. Returns the news."""
        until, news = self.clock.moment + timedelta(seconds=seconds), []
        while (left := self.watch.seconds_until_due()) is not None:
            before = self.clock.moment
            self.clock.moment = before + timedelta(seconds=max(1.0, left))
            if self.clock.moment > until:
                self.clock.moment = until
                break
            happens(before, self.clock.moment)
            self.looks.append(self.clock.moment)
            if (found := self.watch.look()) is not None:
                news.append(found)
        return news


def _saves(prefix: FakePrefix, every: float, *, until: float = 1e9, files: int = 1) -> Any:
    def happens(after: datetime, now: datetime) -> None:
        first = int((after - BEGAN).total_seconds() // every) + 1
        last = int(min(until, (now - BEGAN).total_seconds()) // every)
        for number in range(first, last + 1):
            for file in range(files):
                prefix.put(f"step-{number}/{file}", BEGAN + timedelta(seconds=every * number))

    return happens


def test_a_training_that_saves_every_ten_minutes_costs_thirty_calls_an_hour() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix)
    lab.run(10 * HOUR, _saves(prefix, 600))
    assert len(prefix.calls) / 10 <= 36
    assert lab.watch.saved_training_seconds(lost_per_launch=0) > 10 * HOUR - 600 - 150 - 60 - 60


@pytest.mark.parametrize("every", [10, 60, 600, 7200])
def test_there_are_never_more_than_sixty_looks_an_hour(every: float) -> None:
    prefix = FakePrefix()
    lab = Lab(prefix, replace(WHAT, given_seconds=every))
    lab.run(max(HOUR, 6 * every), _saves(prefix, every))
    gaps = [(b - a).total_seconds() for a, b in zip(lab.looks, lab.looks[1:], strict=False)]
    assert min(gaps) >= 60
    assert max(gaps) <= 900


def test_many_objects_are_all_listed_once_in_an_expected_interval_at_most() -> None:
    """In between, only the top, and new folders."""
    prefix = FakePrefix(page_size=50)
    lab = Lab(prefix)
    lab.run(4 * HOUR, _saves(prefix, 600, files=60))
    full = [call for call in prefix.calls if call == "all"]
    pages = -(-len(prefix.objects) // 50)
    fulls_at_the_end = 4 * HOUR / 600 + 2
    assert pages > 20
    assert len(full) <= sum(n * 60 / 50 + 1 for n in range(round(fulls_at_the_end)))
    light = [call for call in prefix.calls[-100:] if call not in {"all", "top"}]
    assert set(light) <= {f"step-{n}/" for n in range(1, 25)}
    assert lab.watch.newest_saved_at is not None
    assert lab.watch.newest_saved_at >= lab.clock.moment - timedelta(seconds=600 + 150 + 60 + 60)


def test_a_new_folder_is_found_between_two_full_listings() -> None:
    prefix = FakePrefix(page_size=10)
    for number in range(30):
        prefix.put(f"old-{number}/x", BEGAN - timedelta(hours=1))
    lab = Lab(prefix, replace(WHAT, given_seconds=4 * HOUR))
    lab.run(1000, lambda *_: None)
    assert prefix.calls == ["all"] * 3
    lab.run(2000, lambda *_: prefix.put("step-1/x", BEGAN + timedelta(seconds=1200)))
    assert set(prefix.calls[3:]) == {"top", "step-1/"}
    assert lab.watch.is_saved_since(BEGAN + timedelta(seconds=1199))


def test_stalled_uploads_are_found_within_three_and_a_half_intervals_and_a_look() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix)
    last = 10 * 600
    news = lab.run(6 * HOUR, _saves(prefix, 600, until=last))
    stalled = [each for each in news if each.must_wake]
    assert len(stalled) == 1
    found_at = stalled[0].seen.stalled_at
    assert found_at is not None
    assert 3.5 * 600 < (found_at - BEGAN).total_seconds() - last <= 3.5 * 600 + 150


def test_a_report_of_a_stall_is_not_repeated() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix)
    lab.run(6 * HOUR, _saves(prefix, 600, until=6000))
    seen = lab.watch.seen.reported(lab.clock.moment)
    again = Lab(prefix, replace(WHAT, seen=seen))
    again.clock.moment = lab.clock.moment
    assert not any(news.must_wake for news in again.run(HOUR, lambda *_: None))


def test_a_resumed_process_goes_on_where_the_other_one_stopped() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix)
    lab.run(2 * HOUR, _saves(prefix, 600))
    seen = SeenCheckpoints.from_json(lab.watch.seen.to_json())
    assert seen == lab.watch.seen
    assert seen is not None
    calls = len(prefix.calls)
    again = Lab(prefix, replace(WHAT, seen=seen))
    again.clock.moment = lab.clock.moment
    assert again.watch.seconds_until_due() is not None
    again.run(30, lambda *_: None)
    assert len(prefix.calls) == calls or again.looks[0] - lab.looks[-1] >= timedelta(seconds=60)
    again.run(2 * HOUR, _saves(prefix, 600))
    assert again.watch.saved_training_seconds(lost_per_launch=0) > 4 * HOUR - 870


def test_whoever_waits_for_a_checkpoint_is_woken_when_it_is_saved() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix, replace(WHAT, wake_after=BEGAN + timedelta(seconds=700)))
    news = lab.run(HOUR, _saves(prefix, 600))
    first = next(each for each in news if each.must_wake)
    assert first.seen.newest is not None
    assert first.seen.newest.name == "step-2"


def test_shortly_before_the_job_would_be_stopped_looks_come_closer() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix, replace(WHAT, given_seconds=7200))
    lab.run(310, lambda *_: None)
    lab.watch.expect_stop(BEGAN + timedelta(seconds=700))
    prefix.put("step-1/0", BEGAN + timedelta(seconds=630))
    lab.run(390, lambda *_: None)
    after = [round((look - BEGAN).total_seconds()) for look in lab.looks]
    assert after[-5:] == [610, 630, 650, 670, 690]
    assert lab.watch.is_saved_since(BEGAN + timedelta(seconds=629))


@pytest.mark.parametrize(("given", "first"), [(7200, 300), (None, 150), (120, 60), (4 * 3600, 300)])
def test_the_first_look_of_a_launch_comes_before_any_of_it_is_assumed_saved(
    given: float | None, first: float
) -> None:
    lab = Lab(FakePrefix(), replace(WHAT, given_seconds=given))
    assert lab.watch.next_look_at == BEGAN + timedelta(seconds=first)
    lab.run(first + 1, lambda *_: None)
    assert lab.looks == [BEGAN + timedelta(seconds=first)]


def test_after_a_launch_there_is_one_look_and_then_none() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix)
    lab.run(1500, _saves(prefix, 600))
    calls = len(prefix.calls)
    lab.watch.update(_job(ended=BEGAN + timedelta(seconds=1500)))
    prefix.put("step-3/0", BEGAN + timedelta(seconds=1490))
    news = lab.run(10 * HOUR, lambda *_: None)
    assert len(prefix.calls) == calls + 1
    assert news[-1].seen.launches[0].saved_seconds == 1430
    assert lab.watch.next_look_at is None


def test_before_a_job_trains_nobody_looks() -> None:
    prefix = FakePrefix()
    lab = Lab(prefix)
    lab.watch.update(make_snapshot("job", secondary_status=SecondaryStatus.STARTING, transitions=()))
    assert lab.watch.next_look_at is None
    assert prefix.calls == []


def test_without_the_permission_the_log_says_so_once_and_nobody_looks_again() -> None:
    prefix = FakePrefix(error=RequestRefused("AWS denied ListObjectsV2"))
    lab = Lab(prefix)
    news = lab.run(10 * HOUR, lambda *_: None)
    assert [each.warning.split(":")[0] for each in news] == ["Checkpoints cannot be seen"]
    assert "s3:ListBucket" in news[0].warning
    assert len(prefix.calls) == 1
    assert lab.watch.seen == SeenCheckpoints(), "so today's assumption stays"


# --- the thread ------------------------------------------------------------------------------------------


@dataclass
class Stub:
    """A watch that is due at once, so often."""

    times: int = 1
    error: Exception | None = None
    looked: int = 0
    threads: set[str] = field(default_factory=set)

    def seconds_until_due(self) -> float | None:
        return 0.0 if self.looked < self.times else None

    def look(self) -> CheckpointNews | None:
        self.looked += 1
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return CheckpointNews(name="job", seen=SeenCheckpoints())

    def age(self) -> None:
        return None


def _wait(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_one_thread_makes_the_looks_of_all_jobs_and_ends_with_the_last() -> None:
    news: list[CheckpointNews] = []
    looks = CheckpointLooks()
    stubs = [Stub(times=3) for _ in range(5)]
    for stub in stubs:
        looks.add(stub, news.append)
    _wait(lambda: len(news) == 15)
    assert {name for stub in stubs for name in stub.threads} == {"spot-training-checkpoints"}
    for stub in stubs:
        looks.remove(stub)
    _wait(lambda: looks._thread is None)
    late = Stub()
    looks.add(late, news.append)
    _wait(lambda: len(news) == 16)
    looks.remove(late)


def test_a_look_that_fails_rests_and_delays_no_other() -> None:
    news: list[CheckpointNews] = []
    looks = CheckpointLooks()
    failing, fine = Stub(times=100, error=ServiceFailed("no answer")), Stub(times=5)
    looks.add(failing, news.append)
    looks.add(fine, news.append)
    _wait(lambda: len(news) == 5)
    assert failing.looked == 1
    looks.remove(failing)
    looks.remove(fine)


def test_a_job_that_is_no_longer_waited_for_gets_no_news() -> None:
    news: list[CheckpointNews] = []
    looks = CheckpointLooks()
    go_on = threading.Event()

    class Slow(Stub):
        def look(self) -> CheckpointNews | None:
            self.looked += 1
            go_on.wait(10)
            return CheckpointNews(name="job", seen=SeenCheckpoints())

    slow = Slow()
    looks.add(slow, news.append)
    _wait(lambda: slow.looked == 1)
    looks.remove(slow)
    go_on.set()
    _wait(lambda: looks._thread is None)
    assert news == []


# --- real listings ---------------------------------------------------------------------------------------


def _prefix(client: Any, uri: str = "s3://bucket/runs/1") -> CheckpointPrefix:
    return CheckpointPrefix(Renewed(lambda: client), uri)


def test_all_pages_are_read_and_keys_begin_at_the_prefix(cloud: Cloud) -> None:
    client = cloud.client("s3")
    for key in ("runs/1/a.pt", "runs/1/deep/b.pt", "runs/1/deep/c.pt", "runs/1/later/d.pt", "runs/10/x.pt"):
        client.put_object(Bucket="bucket", Key=key, Body=b"content")
    client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 2}
    )
    for uri in ("s3://bucket/runs/1", "s3://bucket/runs/1/"):
        pages = list(_prefix(client, uri).pages())
        assert [page.is_last for page in pages] == [False, True]
        keys = [item.key for page in pages for item in page.objects]
        assert keys == ["a.pt", "deep/b.pt", "deep/c.pt", "later/d.pt"]
    top = list(_prefix(client).pages(only_top=True))
    assert [item.key for page in top for item in page.objects] == ["a.pt"]
    assert [name for page in top for name in page.folders] == ["deep/", "later/"]
    (deep,) = _prefix(client).pages("deep/")
    assert [(item.key, item.size) for item in deep.objects] == [("deep/b.pt", 7), ("deep/c.pt", 7)]
    assert deep.objects[0].modified_at.tzinfo is not None


@pytest.mark.parametrize("uri", ["s3://bucket/empty", "s3://bucket"])
def test_a_prefix_without_objects_is_no_error(cloud: Cloud, uri: str) -> None:
    (page,) = _prefix(cloud.client("s3"), uri).pages("nothing/")
    assert (page.objects, page.is_last) == ((), True)


def _refusal(status: int, code: str) -> AWSResponse:
    """As S3 answers it."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return AWSResponse(
        "http://s3", status, HTTPHeaders(), SimpleNamespace(stream=lambda *_, **__: iter([body]))
    )


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(403, "AccessDenied", RequestRefused), (503, "SlowDown", ServiceFailed)],
)
def test_refusals_are_told_from_failures(
    cloud: Cloud, status: int, code: str, error: type[Exception]
) -> None:
    client = cloud.client("s3", retries={"total_max_attempts": 1})
    answer_before_sending(client, "s3.ListObjectsV2", lambda **_: _refusal(status, code))
    with pytest.raises(error):
        list(_prefix(client).pages())


def test_a_bucket_that_does_not_exist_is_refused(cloud: Cloud) -> None:
    with pytest.raises(RequestRefused, match="S3 refused"):
        list(_prefix(cloud.client("s3"), "s3://no-such-bucket/x").pages())
