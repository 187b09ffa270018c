"""The watchers of a process: one for each access, for as long as somebody waits."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from include.local_stack import wait_until
from spot_training.connections import AwsAccess
from spot_training.process import PerProcess
from spot_training.watching import shared
from spot_training.watching.shared import shared_watcher, shared_watchers
from spot_training.watching.watcher import JobWatcher, Report
from tests.cloud import Cloud

NAME = "spot-training-watcher"


@pytest.fixture(autouse=True)
def aws(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(shared, "_kept", PerProcess())
    yield
    wait_until(lambda: not _threads(), "the end of all watchers", timeout_seconds=30, poll_seconds=0.02)


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def _access(number: int) -> AwsAccess:
    """As a templated `user_agent_extra` makes it: another one for each run."""
    return AwsAccess(
        aws_conn_id=None, region_name="us-east-1", botocore_config={"user_agent_extra": f"run-{number}"}
    )


def _use(watcher: JobWatcher) -> None:
    told: list[Report] = []
    heard = threading.Event()

    def tell(report: Report) -> None:
        told.append(report)
        heard.set()

    watch = watcher.watch("no-such-job", tell, interval_seconds=0.1)
    assert heard.wait(30)
    watcher.unwatch(watch)


def test_fifty_accesses_leave_no_thread_no_entry_and_no_watcher_behind() -> None:
    left = []
    for number in range(50):
        watcher = _access(number).watcher()
        _use(watcher)
        left.append(weakref.ref(watcher))
    del watcher
    wait_until(lambda: not _threads(), "the end of all watchers", timeout_seconds=30, poll_seconds=0.02)
    wait_until(lambda: not shared_watchers().entries, "no entry", timeout_seconds=30, poll_seconds=0.02)
    gc.collect()
    assert [found for reference in left if (found := reference())] == []


def test_who_waits_for_the_same_access_shares_its_watcher() -> None:
    one = _access(1).watcher()
    watch = one.watch("no-such-job", lambda _report: None, interval_seconds=0.1)
    try:
        assert _access(1).watcher() is one
        assert _access(2).watcher() is not one
        assert len(_threads()) == 1
    finally:
        one.unwatch(watch)


def test_a_watcher_that_nobody_used_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    unused = shared_watcher("a", lambda: pytest.fail("nobody asked for it"))
    assert shared_watcher("a", lambda: pytest.fail("nobody asked for it")) is unused
    monkeypatch.setattr(shared, "UNUSED_SECONDS", -1.0)
    shared_watcher("b", lambda: pytest.fail("nobody asked for it"))
    assert list(shared_watchers().entries) == ["b"]


def test_a_watcher_that_was_forgotten_before_it_is_used_is_the_shared_one_again() -> None:
    watcher = _access(1).watcher()
    shared_watchers().entries.clear()
    watch = watcher.watch("no-such-job", lambda _report: None, interval_seconds=0.1)
    try:
        assert _access(1).watcher() is watcher
    finally:
        watcher.unwatch(watch)


def test_watchers_that_come_and_go_at_once_stay_few() -> None:
    """Somebody comes just when the last one goes: nobody waits in vain, and nothing stays."""

    def come_and_go(number: int) -> None:
        for _ in range(20):
            _use(_access(number % 2).watcher())

    comers = [threading.Thread(target=come_and_go, args=(number,)) for number in range(6)]
    for comer in comers:
        comer.start()
    for comer in comers:
        comer.join(120)
    assert not any(comer.is_alive() for comer in comers)
    wait_until(
        lambda: not _threads() and not shared_watchers().entries,
        "quiet",
        timeout_seconds=30,
        poll_seconds=0.02,
    )
