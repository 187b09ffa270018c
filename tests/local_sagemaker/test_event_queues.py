"""moto's SQS under a storm of events: what is counted, and that it behaves as before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from local_sagemaker.services.queues import quicken

models = pytest.importorskip("moto.sqs.models")
ACCOUNT, REGION = "123456789012", "us-east-1"


class _Counting:
    """The queue under test, and how often its messages were counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, **attributes: str) -> None:
        quicken(models)
        self.backend = models.sqs_backends[ACCOUNT][REGION]
        self.name = name
        self.queue = self.backend.create_queue(name=name, tags={}, region=REGION, **attributes)
        self.counts = 0
        count = models.Queue.approximate_number_of_messages.fget

        def counted(queue: Any) -> Any:
            self.counts += 1
            return count(queue)

        monkeypatch.setattr(models.Queue, "approximate_number_of_messages", property(counted))

    def send(self, *bodies: str, **how: str) -> None:
        for body in bodies:
            self.backend.send_message(self.name, body, **how)

    def receive(self) -> list[str]:
        received = self.backend.receive_message(self.name, 10, 0, 30)
        return [message.body for message in received]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Counting]:
    made = _Counting(monkeypatch, f"events-{uuid4()}")
    yield made
    made.backend.delete_queue(made.name)


def test_neither_sending_nor_receiving_counts_the_messages(queue: _Counting) -> None:
    queue.send(*(f"event-{n}" for n in range(20)))
    assert len(queue.receive()) == 10
    assert queue.counts == 0


def test_who_asks_for_the_number_of_messages_gets_it(queue: _Counting) -> None:
    queue.send("one", "two")
    reported = queue.backend.get_queue_attributes(queue.name, ["All"])
    assert reported["ApproximateNumberOfMessages"] == 2


def test_a_message_that_was_kept_for_too_long_is_not_received(queue: _Counting) -> None:
    queue.send("old")
    queue.queue._messages[0].sent_timestamp -= 1000 * (queue.queue.message_retention_period + 1)
    assert queue.receive() == []


def test_a_fifo_queue_still_drops_what_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    made = _Counting(monkeypatch, f"events-{uuid4()}.fifo", **fifo)
    made.send("same", "same", group_id="g")
    assert made.receive() == ["same"]
    made.backend.delete_queue(made.name)


def _meanwhile(monkeypatch: pytest.MonkeyPatch, method: str, call: int, do: Callable[[], object]) -> None:
    """Have another thread do something in the middle of what this one does: it may have to wait for it."""
    original, here = getattr(models.Message, method), threading.get_ident()
    calls, threads = 0, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if threading.get_ident() == here:
            calls += 1
            if calls == call:
                threads.append(threading.Thread(target=do))
                threads[0].start()
                threads[0].join(0.5)
        return original(*args, **kwargs)

    monkeypatch.setattr(models.Message, method, interrupted)


def test_a_deleted_message_does_not_come_back_when_another_is_deleted_at_once(
    queue: _Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.send("one", "two")
    handles = [m.receipt_handle for m in queue.backend.receive_message(queue.name, 10, 0, 30)]
    is_done = threading.Event()

    def delete_the_other() -> None:
        queue.backend.delete_message(queue.name, handles[1])
        is_done.set()

    _meanwhile(monkeypatch, "had_receipt_handle", 2, delete_the_other)
    queue.backend.delete_message(queue.name, handles[0])
    assert is_done.wait(30)
    assert queue.queue._messages == []


def test_two_who_receive_at_once_get_different_messages(
    queue: _Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.send(*(f"event-{n}" for n in range(20)))
    is_done = threading.Event()
    theirs: list[str] = []

    def receive_too() -> None:
        theirs.extend(queue.receive())
        is_done.set()

    _meanwhile(monkeypatch, "mark_received", 1, receive_too)
    ours = queue.receive()
    assert is_done.wait(30)
    assert sorted(ours + theirs) == sorted(f"event-{n}" for n in range(20))


def test_who_waits_for_a_message_keeps_nobody_from_sending_one(queue: _Counting) -> None:
    received: list[Any] = []
    waiter = threading.Thread(
        target=lambda: received.extend(queue.backend.receive_message(queue.name, 10, 20, 30))
    )
    waiter.start()
    queue.send("late")
    waiter.join(30)
    assert [message.body for message in received] == ["late"]
