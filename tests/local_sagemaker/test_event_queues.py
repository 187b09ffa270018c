"""moto's SQS under a storm of events: what is counted, and that it behaves as before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from include.local_sagemaker.events import _quicken

models = pytest.importorskip("moto.sqs.models")
ACCOUNT, REGION = "123456789012", "us-east-1"


class _Counting:
    """The queue under test, and how often its messages were counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, **attributes: str) -> None:
        _quicken(models)
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
    told = queue.backend.get_queue_attributes(queue.name, ["All"])
    assert told["ApproximateNumberOfMessages"] == 2


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
