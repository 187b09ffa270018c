"""EventBridge: a "SageMaker Training Job State Change" event for each change of a job's status.

Events are put into moto's default bus, and its rules deliver them (to SQS, logs and other buses). Without a
rule nothing is made and nothing is kept. A thread of its own delivers: the engine reports changes under its
lock.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import deque
from contextlib import nullcontext
from datetime import datetime
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

from .operations import description_of
from .store import ACCOUNT, REGION, Store, TrainingJob

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

SOURCE = "aws.sagemaker"
DETAIL_TYPE = "SageMaker Training Job State Change"

#: The members of the documented event, in its order. There are no seconds, no spot flag and no
#: CheckpointConfig among them: describe the job for those.
_MEMBERS = (
    "TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus", "FailureReason",
    "HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig",
    "ResourceConfig", "VpcConfig", "StoppingCondition", "CreationTime", "TrainingStartTime",
    "TrainingEndTime", "LastModifiedTime", "SecondaryStatusTransitions",
)  # fmt: skip


class StateChangeEvents:
    """A listener of the engine. `forget` drops what is not delivered yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told: dict[str, tuple[str, int]] = {}
        self._waiting: deque[tuple[TrainingJob, dict[str, str]]] = deque()
        self._lock = threading.Lock()
        self._is_delivering = False

    def tell(self, job: TrainingJob) -> None:
        """Note a change of a job; called under the engine's lock."""
        if not _has_rules() or job.is_over != (job.transitions[-1].ended_at is not None):
            return  # nobody listens, or half of the terminal move
        look = (str(job.status), len(job.transitions))
        if self._told.get(job.name) == look:
            return  # only the message is another
        self._told[job.name] = look
        if job.is_over:
            del self._told[job.name]
        with self._lock:
            self._waiting.append((job, dict(self._store.tags(job.arn))))
            if self._is_delivering:
                return
            self._is_delivering = True
        threading.Thread(target=self._deliver, name="events", daemon=True).start()

    def forget(self) -> None:
        with self._lock:
            self._waiting.clear()
        self._told.clear()

    def _deliver(self) -> None:
        """Until nothing waits: one thread at a time, so events arrive in their order."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_delivering = False
                    return
                job, tags = self._waiting.popleft()
            try:
                _put(event_of(job, tags))
            except Exception as exc:  # noqa: BLE001  (a target that is gone must not end the events)
                log.warning("%s: a state change event was not delivered: %r", job.name, exc)


def event_of(job: TrainingJob, tags: Mapping[str, str]) -> dict[str, Any]:
    """The entry for PutEvents: times are epoch milliseconds, tags a map, what is not set is null."""
    described = description_of(job, job.last_modified_at)
    detail = {name: described.get(name) for name in _MEMBERS} | {"Tags": dict(tags)}
    return {
        "Source": SOURCE,
        "DetailType": DETAIL_TYPE,
        "Time": job.last_modified_at.timestamp(),
        "Resources": [job.arn],
        "Detail": json.dumps(detail, default=_milliseconds),
    }


def _milliseconds(value: object) -> int:
    assert isinstance(value, datetime)  # noqa: S101
    return round(value.timestamp() * 1000)


def _bus() -> Any:
    """moto's default bus; None as long as nobody ever called EventBridge."""
    models = sys.modules.get("moto.events.models")
    backends = getattr(models, "events_backends", None)
    return None if backends is None else backends[ACCOUNT][REGION].event_buses.get("default")


def _has_rules() -> bool:
    bus = _bus()
    return bool(bus and bus.rules)


def _put(event: dict[str, Any]) -> None:
    from moto.events.models import events_backends

    if (queues := sys.modules.get("moto.sqs.models")) is not None:
        _quicken(queues)
    events_backends[ACCOUNT][REGION].put_events([event])


@cache
def _quicken(queues: Any) -> None:
    """Have moto's SQS be quick, and lose nothing, under a storm of events.

    moto 5 computes all attributes of a queue, which counts its messages three times over, to look up one
    setting: for each message that is sent, and for each one that is received. With 1,500 messages in a queue
    a ReceiveMessage so takes 0.7 s of CPU instead of 16 ms, and a storm of events waits for nothing but that.
    They are counted when somebody asks for their number.

    It also deletes a message by writing the list of all others anew, and looks for messages to hand out,
    without the lock that its senders hold: of two threads one brings back what the other deleted, or drops
    what was sent meanwhile, or both receive the same. Here both hold the lock; who waits lets it go.
    """
    backend, queue = queues.SQSBackend, queues.Queue
    send, count_all = backend.send_message, queue.attributes.fget
    receive, delete = backend.receive_message, queue.delete_message
    sending = threading.local()

    def is_message_valid(self: Any, queue_name: str, message: Any) -> bool:
        keeps_seconds = self.get_queue(queue_name).message_retention_period
        return bool(keeps_seconds + message.sent_timestamp / 1000 > queues.unix_time())

    @wraps(send)
    def send_message(*args: Any, **kwargs: Any) -> Any:
        sending.is_on = True
        try:
            return send(*args, **kwargs)
        finally:
            sending.is_on = False

    def attributes(self: Any) -> dict[str, Any]:
        # All that is looked up on the way into a standard queue is a setting that only FIFO queues have.
        is_counted = self.fifo_queue or not getattr(sending, "is_on", False)
        return count_all(self) if is_counted else {}

    @wraps(receive)
    def receive_message(self: Any, queue_name: str, *args: Any, **kwargs: Any) -> Any:
        asked = self.get_queue(queue_name)
        # A FIFO queue's messages may be held back by one that is to be deleted: nobody waits for that there.
        with nullcontext() if asked.fifo_queue else asked._messages_lock:  # noqa: SLF001
            return receive(self, queue_name, *args, **kwargs)

    @wraps(delete)
    def delete_message(self: Any, receipt_handle: str) -> None:
        with self._messages_lock:
            delete(self, receipt_handle)

    backend.is_message_valid_based_on_retention_period = is_message_valid
    backend.send_message = send_message
    backend.receive_message = receive_message
    queue.attributes = property(attributes)
    queue.delete_message = delete_message
