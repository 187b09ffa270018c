"""State changes through EventBridge and SQS, on the local cloud's real queue."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from spot_training.domain.lifecycle import SecondaryStatus, TrainingStatus
from spot_training.sagemaker.descriptions import Summary
from spot_training.watching.events import (
    BATCH,
    DETAIL_TYPE,
    DROP_AFTER_RECEIVES,
    HELPERS,
    SHORT_POLL_SECONDS,
    STORM_LASTS_SECONDS,
    EventQueue,
    Handle,
    Message,
    StateChanges,
    change_of,
    region_of_queue,
)
from spot_training.watching.periodic import Renewed
from spot_training.watching.rate_limit import RateLimit
from spot_training.watching.watcher import JobWatcher, Over, follow
from tests.cloud import Cloud

from .support import create_jobs, wait_until_over


def _queue(cloud: Cloud, url: str) -> EventQueue:
    return EventQueue(cloud.client("sqs"), url)


def _hand_over(changes: StateChanges, handle: Handle) -> None:
    """Subscribe without a thread: the test receives."""
    changes._thread = threading.current_thread()
    changes.subscribe(handle)


def _hear(names: list[str], change: Summary) -> bool:
    names.append(change.name)
    return True


def _put(cloud: Cloud, url: str, body: Any) -> None:
    cloud.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(body))


def _event(**detail: Any) -> dict[str, Any]:
    return {
        "source": "aws.sagemaker",
        "detail-type": DETAIL_TYPE,
        "detail": {
            "TrainingJobName": "one",
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "LastModifiedTime": 1_700_000_000_000,
            **detail,
        },
    }


def test_every_change_arrives_in_the_queue(cloud: Cloud, queue_url: str) -> None:
    heard: list[Summary] = []

    def hear(change: Summary) -> bool:
        heard.append(change)
        return True

    changes = StateChanges(lambda: _queue(cloud, queue_url))
    _hand_over(changes, hear)
    create_jobs(cloud, "one")
    while not heard or not heard[-1].is_terminal:
        changes.receive_once()
    assert heard[-1].name == "one"
    seen = [change.secondary_status for change in heard]
    assert seen[0] is SecondaryStatus.STARTING
    assert SecondaryStatus.TRAINING in seen
    assert changes.is_healthy


def test_a_watcher_with_events_hears_of_the_end_without_looking(cloud: Cloud, queue_url: str) -> None:
    cloud.set_capacity(available=False)
    create_jobs(cloud, *(f"job-{n}" for n in range(5)))
    changes = StateChanges(lambda: _queue(cloud, queue_url))
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000), events=changes)
    watches = [watcher.watch(f"job-{n}", lambda _: None, interval_seconds=3600) for n in range(1, 5)]
    reports = follow(watcher, "job-0", interval_seconds=3600)
    next(reports)
    cloud.client("sagemaker").stop_training_job(TrainingJobName="job-0")
    *_, last = reports
    assert isinstance(last, Over)
    assert last.status is TrainingStatus.STOPPED
    for watch in watches:
        watcher.unwatch(watch)


def test_duplicates_and_disorder_change_nothing(cloud: Cloud) -> None:
    cloud.set_capacity(available=True)
    names = [f"job-{n}" for n in range(4)]
    create_jobs(cloud, *names)
    for name in names:
        wait_until_over(cloud, name)
    told: list[Any] = []
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000))
    watcher._thread = threading.current_thread()
    watcher.watch("job-0", told.append, interval_seconds=30)

    def hear(status: str, secondary: str, at: int) -> None:
        change = change_of(
            json.dumps(
                _event(
                    TrainingJobName="job-0",
                    TrainingJobStatus=status,
                    SecondaryStatus=secondary,
                    LastModifiedTime=at,
                )
            )
        )
        assert change is not None
        assert watcher._watched.update(change, is_event=False)

    hear("Completed", "Completed", 3000)
    hear("Completed", "Completed", 3000)
    hear("InProgress", "Training", 2000)
    assert [type(report) for report in told] == [Over]
    assert not list(watcher._watched.to_describe)


def test_an_event_that_gets_lost_is_made_up_for_by_the_list(cloud: Cloud, queue_url: str) -> None:
    cloud.set_capacity(available=False)
    names = [f"job-{n}" for n in range(5)]
    create_jobs(cloud, *names)
    now = [0.0]
    changes = StateChanges(lambda: _queue(cloud, queue_url))
    changes._answered_at = float("inf")  # healthy, and silent
    changes._thread = threading.current_thread()
    told: list[Any] = []
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000), events=changes, monotonic=lambda: now[0])
    watcher._thread = threading.current_thread()
    for name in names:
        watcher.watch(name, told.append, interval_seconds=30)
    watcher.look()
    cloud.client("sagemaker").stop_training_job(TrainingJobName="job-0")
    wait_until_over(cloud, "job-0")
    now[0] += 59
    watcher.look()
    assert not any(isinstance(report, Over) for report in told)
    now[0] += 2
    watcher.look()
    assert any(isinstance(report, Over) for report in told)


def test_a_flood_of_events_is_listed(cloud: Cloud, queue_url: str) -> None:
    """A hundred jobs a call, where the queue gives ten."""
    cloud.set_capacity(available=False)
    names = [f"job-{n}" for n in range(40)]
    create_jobs(cloud, *names)
    now = [0.0]
    changes = StateChanges(lambda: _queue(cloud, queue_url))
    changes._answered_at = float("inf")
    told: list[Any] = []
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000), events=changes, monotonic=lambda: now[0])
    watcher._thread = changes._thread = threading.current_thread()
    for name in names:
        watcher.watch(name, told.append, interval_seconds=30, must_describe=False)
    watcher.look()
    for name in names:
        cloud.client("sagemaker").stop_training_job(TrainingJobName=name)
    for name in names:
        wait_until_over(cloud, name)
    while not changes.is_behind:
        changes.receive_once()
    now[0] += 4
    watcher.look()
    assert sum(isinstance(report, Over) for report in told) == len(names)


def test_a_message_about_somebody_elses_job_is_given_back_and_dropped_in_the_end(
    cloud: Cloud, queue_url: str
) -> None:
    theirs: list[str] = []
    ours = StateChanges(lambda: _queue(cloud, queue_url), is_shared=True)
    _hand_over(ours, lambda _: False)
    other = StateChanges(lambda: _queue(cloud, queue_url), is_shared=True)
    _hand_over(other, partial(_hear, theirs))
    _put(cloud, queue_url, _event(TrainingJobName="theirs"))
    ours.receive_once()
    other.receive_once()
    assert theirs == ["theirs"]
    _put(cloud, queue_url, _event(TrainingJobName="nobodys"))
    for _ in range(DROP_AFTER_RECEIVES):
        ours.receive_once()
    counts = cloud.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])[
        "Attributes"
    ]
    assert counts["ApproximateNumberOfMessages"] == "0"
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "0"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "null",
        '{"source": "aws.sagemaker"}',
        json.dumps(_event() | {"source": "mine"}),
        json.dumps(_event() | {"detail-type": "SageMaker Endpoint State Change"}),
        json.dumps(_event(TrainingJobName=None) | {"detail": None}),
        json.dumps(_event(TrainingJobStatus=7)),
        json.dumps(_event(LastModifiedTime="yesterday")),
        json.dumps(_event(LastModifiedTime=1e300)),
        "[" * 100_000,
    ],
)
def test_whatever_else_is_in_the_queue_is_no_change(body: str) -> None:
    assert change_of(body) is None


def test_times_may_come_as_numbers_or_as_text() -> None:
    as_number, as_text = (change_of(json.dumps(_event(LastModifiedTime=at))) for at in (1000, "1000"))
    assert as_number == as_text
    assert as_number is not None
    assert as_number.last_modified_at.timestamp() == 1


def test_a_secondary_status_newer_than_this_code_is_a_change_all_the_same() -> None:
    change = change_of(json.dumps(_event(SecondaryStatus="Teleporting")))
    assert change is not None
    assert change.status is TrainingStatus.IN_PROGRESS


def test_a_queue_that_does_not_answer_is_not_healthy(cloud: Cloud) -> None:
    changes = StateChanges(lambda: _queue(cloud, f"{cloud.url}/123456789012/nowhere"))
    with pytest.raises(Exception, match="does not exist"):
        changes.receive_once()
    assert not changes.is_healthy


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/events", "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/events", "us-gov-west-1"),
        ("https://vpce-1-2.sqs.us-east-2.vpce.amazonaws.com/123456789012/events", "us-east-2"),
        ("https://us-west-2.queue.amazonaws.com/123456789012/events", "us-west-2"),
        ("https://queue.amazonaws.com/123456789012/events", "us-east-1"),
        ("http://127.0.0.1:4566/123456789012/events", None),
    ],
)
def test_a_queues_url_says_its_region(url: str, region: str | None) -> None:
    assert region_of_queue(url) == region


def test_an_event_goes_to_those_who_wait_in_its_region(cloud: Cloud, queue_url: str) -> None:
    heard: dict[str, list[str]] = {"us-east-1": [], "eu-west-1": []}
    changes = StateChanges(lambda: _queue(cloud, queue_url))
    changes._thread = threading.current_thread()
    for region, names in heard.items():
        changes.subscribe(partial(_hear, names), region=region)
    _put(cloud, queue_url, _event(TrainingJobName="here") | {"region": "us-east-1"})
    _put(cloud, queue_url, _event(TrainingJobName="anywhere"))
    while not heard["eu-west-1"]:
        changes.receive_once()
    assert heard == {"us-east-1": ["here", "anywhere"], "eu-west-1": ["anywhere"]}


def test_in_a_queue_of_ones_own_nothing_is_left(cloud: Cloud, queue_url: str) -> None:
    changes = StateChanges(lambda: _queue(cloud, queue_url))
    _hand_over(changes, lambda _: False)
    _put(cloud, queue_url, _event(TrainingJobName="nobodys"))
    changes.receive_once()
    counts = cloud.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    assert counts["Attributes"]["ApproximateNumberOfMessages"] == "0"
    assert counts["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_a_storm_is_received_by_several_threads(cloud: Cloud, queue_url: str) -> None:
    threads: set[int] = set()
    heard: list[str] = []
    all_are_here = threading.Barrier(HELPERS + 1)

    def hear(change: Summary) -> bool:
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            all_are_here.wait(30)
        heard.append(change.name)
        return True

    changes = StateChanges(lambda: _queue(cloud, queue_url))
    _hand_over(changes, lambda _: True)
    client = cloud.client("sqs")
    for batch in range(20):
        entries = [
            {"Id": str(n), "MessageBody": json.dumps(_event(TrainingJobName=f"job-{batch}-{n}"))}
            for n in range(10)
        ]
        client.send_message_batch(QueueUrl=queue_url, Entries=entries)
    assert changes.receive_once()
    _hand_over(changes, hear)
    changes._get_help()
    all_are_here.wait(30)
    for helper in changes._helpers:
        helper.join(60)
    assert len(heard) == len(set(heard)) == 190


def _queue_of(*batches: int) -> tuple[SimpleNamespace, list[int]]:
    """A queue with batches of so many messages, then none; and how long each receiver waited."""
    message, left, waits = Message(handle="", receives=1, change=None), list(batches), []

    def receive(wait_seconds: int) -> list[Message]:
        waits.append(wait_seconds)
        return [message] * (left.pop(0) if left else 0)

    return SimpleNamespace(receive=receive, delete=lambda _: None, give_back=lambda _: None), waits


def test_a_helper_goes_on_after_one_short_batch_and_never_waits_long() -> None:
    queue, waits = _queue_of(BATCH, 3, BATCH, 3, 0, BATCH)
    changes = StateChanges(lambda: queue)  # type: ignore[arg-type, return-value]
    _hand_over(changes, lambda _: True)
    changes._help()
    assert waits == [SHORT_POLL_SECONDS] * 5


def test_a_helper_ends_when_nobody_listens_any_more() -> None:
    queue, waits = _queue_of(*[BATCH] * 100)
    changes = StateChanges(lambda: queue)  # type: ignore[arg-type, return-value]
    changes._help()
    assert not waits


def test_a_storm_is_received_by_fewer_where_no_thread_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    queue, _ = _queue_of(BATCH)
    changes = StateChanges(lambda: queue)  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    changes._get_help()
    assert not changes._helpers


def test_threads_that_need_a_client_at_once_share_one() -> None:
    made, is_making, go_on = [0], threading.Event(), threading.Event()

    def make() -> int:
        made[0] += 1
        is_making.set()
        assert go_on.wait(30)
        return made[0]

    client, got = Renewed(make), []
    threads = [threading.Thread(target=lambda: got.append(client.get())) for _ in range(3)]
    threads[0].start()
    assert is_making.wait(30)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert got == [1, 1, 1]


class _Silent:
    """A queue that does not answer, behind credentials that are out of date or not."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers

    def receive(self, _: int) -> list[Message]:
        if not self._answers:
            raise PermissionError("The security token included in the request is expired")
        return []

    def delete(self, _: Sequence[Message]) -> None:
        pass

    give_back = delete


def test_a_queue_whose_calls_fail_is_opened_anew_and_complained_of_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now, opened = [1000.0], [0]

    def open_queue() -> _Silent:
        opened[0] += 1
        return _Silent(answers=opened[0] > 1)

    changes = StateChanges(open_queue, monotonic=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(30):
        try:
            changes.receive_once()
        except PermissionError as error:
            changes._note_failure(error)
        now[0] += 5
    assert changes.is_healthy
    assert opened[0] == 2
    assert 1 <= caplog.text.count("cannot be received") <= 2


def test_a_storm_lasts_a_little_longer_than_its_last_full_batch() -> None:
    now = [1000.0]
    queue, _ = _queue_of(BATCH, 3)
    changes = StateChanges(lambda: queue, monotonic=lambda: now[0])  # type: ignore[arg-type, return-value]
    changes.receive_once()
    changes.receive_once()
    assert changes.is_behind
    now[0] += STORM_LASTS_SECONDS
    assert not changes.is_behind
