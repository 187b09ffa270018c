"""State changes of training jobs as they happen: EventBridge's events, received from an SQS queue.

An event says that something changed, as an entry of ListTrainingJobs does, and is taken in the same way:
twice, late, in any order, or never, it does no harm. One thread a queue, however many watchers listen.

Several processes may share a queue. A message about a job that nobody here waits for is given back, to be
received by somebody else, and dropped once everybody had the chance. With a queue for each triggerer nothing
is given back: see docs/scale.md.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .jobs import Summary, summary_of

if TYPE_CHECKING:
    from botocore.client import BaseClient

log = logging.getLogger(__name__)

SOURCE = "aws.sagemaker"
DETAIL_TYPE = "SageMaker Training Job State Change"

#: What SQS takes at most, for the wait and for a batch.
LONG_POLL_SECONDS = 20
BATCH = 10
#: A message is out of the others' sight while it is looked at, and for so long after it was given back.
GIVEN_BACK_FOR_SECONDS = 1
#: Received so often, by whomever: nobody waits for its job any more.
DROP_AFTER_RECEIVES = 5
#: Without an answer for so long, the queue does not count as working.
UNHEALTHY_AFTER_SECONDS = 90.0
AGAIN_AFTER_FAILURE_SECONDS = 5.0

#: Whoever is told of a change; says whether it waits for the job.
Hear = Callable[[Summary], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One received message. `change` is None when it holds no state change of a training job."""

    handle: str
    receives: int
    change: Summary | None


class EventQueue:
    """An SQS queue that an EventBridge rule fills, over a boto3 SQS client."""

    def __init__(self, client: BaseClient, url: str) -> None:
        self._client: Any = client
        self._url = url

    def receive(self) -> list[Message]:
        """Up to ten messages; waits for the first one for twenty seconds."""
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=LONG_POLL_SECONDS,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [
            Message(
                handle=message["ReceiptHandle"],
                receives=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
                change=change_of(message["Body"]),
            )
            for message in answer.get("Messages", ())
        ]

    def delete(self, messages: Sequence[Message]) -> None:
        """Have done with messages. One that SQS does not delete comes again."""
        if messages:
            self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(n), "ReceiptHandle": m.handle} for n, m in enumerate(messages)],
            )

    def give_back(self, messages: Sequence[Message]) -> None:
        """Let others receive messages, after a moment."""
        if messages:
            self._client.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(n),
                        "ReceiptHandle": message.handle,
                        "VisibilityTimeout": GIVEN_BACK_FOR_SECONDS,
                    }
                    for n, message in enumerate(messages)
                ],
            )


def change_of(body: str) -> Summary | None:
    """Parse an EventBridge event; None for anything else, whatever it is.

    Times in the event's detail are epoch milliseconds, as numbers or as text.
    """
    try:
        event = json.loads(body)
        if event["source"] != SOURCE or event["detail-type"] != DETAIL_TYPE:
            return None
        detail: Mapping[str, Any] = event["detail"]
        changed = detail.get("LastModifiedTime") or detail["CreationTime"]
        moment = datetime.fromtimestamp(float(changed) / 1000, UTC)
        return summary_of({**detail, "LastModifiedTime": moment})
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


class StateChanges:
    """Receives a queue's events for whoever subscribes, in a thread that lives as long as somebody does.

    `is_behind` says that more events are there than fit into a batch: then the list, with a hundred jobs a
    call, tells more quickly what changed.
    """

    def __init__(self, make_queue: Callable[[], EventQueue]) -> None:
        self._make_queue = make_queue
        self._queue: EventQueue | None = None
        self._hearers: tuple[Hear, ...] = ()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._answered_at = float("-inf")
        self.is_behind = False

    @property
    def is_healthy(self) -> bool:
        """Whether the queue has answered lately."""
        return time.monotonic() - self._answered_at < UNHEALTHY_AFTER_SECONDS

    def subscribe(self, hear: Hear) -> None:
        with self._lock:
            self._hearers = (*self._hearers, hear)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spot-training-events", daemon=True)
                self._thread.start()

    def unsubscribe(self, hear: Hear) -> None:
        """The thread ends after its present long poll when nobody is left."""
        with self._lock:
            self._hearers = tuple(other for other in self._hearers if other != hear)

    def receive_once(self) -> None:
        """Receive what is there, or wait for it, and tell the subscribers."""
        self._queue = self._queue or self._make_queue()
        messages = self._queue.receive()
        self._answered_at = time.monotonic()
        self.is_behind = len(messages) == BATCH
        ours = [m for m in messages if m.change is None or self._tell(m.change)]
        done = [m for m in messages if m in ours or m.receives >= DROP_AFTER_RECEIVES]
        self._queue.delete(done)
        self._queue.give_back([m for m in messages if m not in done])

    def _tell(self, change: Summary) -> bool:
        heard = [hear(change) for hear in self._hearers]
        return any(heard)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._hearers:
                    self._thread = None
                    return
            try:
                self.receive_once()
            except Exception as error:  # noqa: BLE001 - polling goes on meanwhile, as often as without events
                log.warning("State change events cannot be received: %s", error)
                self._answered_at = float("-inf")
                time.sleep(AGAIN_AFTER_FAILURE_SECONDS)


_shared: dict[str, StateChanges] = {}
_shared_lock = threading.Lock()


def shared_state_changes(url: str, make_queue: Callable[[], EventQueue]) -> StateChanges:
    """The process's one receiver of a queue, whichever connections its jobs belong to."""
    with _shared_lock:
        if url not in _shared:
            _shared[url] = StateChanges(make_queue)
        return _shared[url]
