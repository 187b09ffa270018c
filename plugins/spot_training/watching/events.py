"""State changes of training jobs as they happen: EventBridge's events, received from an SQS queue.

An event says that something changed, as an entry of ListTrainingJobs does, and is handled in the same way:
twice, late, in any order, or never, it does no harm. One thread a queue, however many watchers subscribe.

Usually each triggerer has its own queue (docs/scale.md): whatever is received is deleted. Where several
processes share a queue, a message about a job that nobody here waits for is returned to it for the others,
and deleted once each of them had the chance.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spot_training.process import PerProcess
from spot_training.sagemaker.descriptions import Summary, summary_of

from .periodic import Failing, Renewed, after_failure

if TYPE_CHECKING:
    from botocore.client import BaseClient

log = logging.getLogger(__name__)

SOURCE = "aws.sagemaker"
DETAIL_TYPE = "SageMaker Training Job State Change"

#: What SQS takes at most, for the wait and for a batch.
LONG_POLL_SECONDS = 20
BATCH = 10
#: After a full batch there are probably more messages: no long wait for them, and several threads receive.
SHORT_POLL_SECONDS = 1
HELPERS = 3
#: A short poll may miss what SQS has: a helper ends after so many batches in a row that were not full.
SHORT_BATCHES = 2
#: And the storm goes on for so long after the last full batch: EventBridge delivers in spurts.
STORM_LASTS_SECONDS = 5.0
#: A message is invisible to the others while it is handled, and for so long after it was returned.
GIVEN_BACK_FOR_SECONDS = 1
#: Received so often, by any process: nobody waits for its job any more.
DROP_AFTER_RECEIVES = 5
#: Without an answer for so long, the queue does not count as working.
UNHEALTHY_AFTER_SECONDS = 90.0

#: The region in a queue's URL: today's form, a VPC endpoint's, and an old one; the oldest has none.
_REGION = re.compile(r"https?://(?:(?:[^/]*\.)?sqs(?:-fips)?\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.")
_OLDEST_URL = "://queue.amazonaws.com/"

#: Handles a change. Returns whether somebody waits for the job.
Handle = Callable[[Summary], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One received message. `change` is None when it holds no state change of a training job."""

    handle: str
    receives: int
    change: Summary | None
    region: str | None = None


class EventQueue:
    """An SQS queue that an EventBridge rule fills, over a boto3 SQS client."""

    def __init__(self, client: BaseClient, url: str) -> None:
        self._client: Any = client
        self._url = url

    def receive(self, wait_seconds: int = LONG_POLL_SECONDS) -> list[Message]:
        """Up to ten messages; waits for the first one, for twenty seconds at most."""
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=wait_seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [_message_of(received) for received in answer.get("Messages", ())]

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete handled messages. One that SQS does not delete comes again."""
        if messages:
            self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(n), "ReceiptHandle": m.handle} for n, m in enumerate(messages)],
            )

    def give_back(self, messages: Sequence[Message]) -> None:
        """Return messages to the queue: others receive them, after a moment."""
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


def _message_of(received: Mapping[str, Any]) -> Message:
    event = _event_of(received["Body"])
    region = event.get("region")
    return Message(
        handle=received["ReceiptHandle"],
        receives=int(received.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
        change=_change_in(event),
        region=region if isinstance(region, str) else None,
    )


def _event_of(body: str) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def change_of(body: str) -> Summary | None:
    """Parse an EventBridge event; None for anything else, whatever it is.

    Times in the event's detail are epoch milliseconds, as numbers or as text.
    """
    return _change_in(_event_of(body))


def _change_in(event: Mapping[str, Any]) -> Summary | None:
    try:
        if event["source"] != SOURCE or event["detail-type"] != DETAIL_TYPE:
            return None
        detail: Mapping[str, Any] = event["detail"]
        changed = detail.get("LastModifiedTime") or detail["CreationTime"]
        moment = datetime.fromtimestamp(float(changed) / 1000, UTC)
        return summary_of({**detail, "LastModifiedTime": moment})
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def region_of_queue(url: str) -> str | None:
    """The region a queue is in, from its URL; None where that does not say (a local cloud's)."""
    if _OLDEST_URL in url:
        return "us-east-1"
    found = _REGION.match(url)
    return None if found is None else found[1] or found[2]


@dataclass(frozen=True, slots=True)
class _Subscriber:
    handle: Handle
    region: str | None


class StateChanges:
    """Receives a queue's events for its subscribers, in a thread that runs as long as there are any.

    `region` is the queue's own: it has no events of another. `is_shared`: other processes receive from it.
    `is_behind` says that more events are there, or were lately, than fit into a batch: then the list, with a
    hundred jobs a call, shows more quickly what changed. Several threads receive meanwhile.
    """

    def __init__(
        self,
        make_queue: Callable[[], EventQueue],
        *,
        region: str | None = None,
        is_shared: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._region = region
        self._is_shared = is_shared
        self._monotonic = monotonic
        self._queue = Renewed(make_queue, monotonic=monotonic)
        self._subscribers: tuple[_Subscriber, ...] = ()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._helpers: tuple[threading.Thread, ...] = ()
        self._answered_at = float("-inf")
        self._failing: Failing | None = None
        self._full_at = float("-inf")

    @property
    def is_behind(self) -> bool:
        return self._monotonic() - self._full_at < STORM_LASTS_SECONDS

    @property
    def is_healthy(self) -> bool:
        """Whether the queue has answered lately."""
        return self._monotonic() - self._answered_at < UNHEALTHY_AFTER_SECONDS

    def subscribe(self, handle: Handle, *, region: str | None = None) -> bool:
        """Have `handle` called with the changes in a region (None: all). False when they do not come here."""
        if None not in (region, self._region) and region != self._region:
            return False
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="spot-training-events", daemon=True)
                thread.start()
                self._thread = thread
            self._subscribers = (*self._subscribers, _Subscriber(handle, region))
        return True

    def unsubscribe(self, handle: Handle) -> None:
        """The thread ends after its present long poll when no subscriber is left."""
        with self._lock:
            self._subscribers = tuple(other for other in self._subscribers if other.handle != handle)

    def receive_once(self, wait_seconds: int = LONG_POLL_SECONDS) -> bool:
        """Receive what is there, or wait for it, and call the subscribers. Whether the batch was full."""
        queue = self._queue.get()
        messages = queue.receive(wait_seconds)
        self._queue.answered()
        now = self._answered_at = self._monotonic()
        is_full = len(messages) == BATCH
        if is_full:
            self._full_at = now
        ours = {m.handle for m in messages if m.change is None or self._handle(m.change, m.region)}
        others = [m for m in messages if m.handle not in ours and m.receives < DROP_AFTER_RECEIVES]
        given_back = others if self._is_shared else []
        queue.delete([m for m in messages if m not in given_back])
        queue.give_back(given_back)
        return is_full

    def _handle(self, change: Summary, region: str | None) -> bool:
        is_ours = [
            subscriber.handle(change)
            for subscriber in self._subscribers
            if None in (region, subscriber.region) or region == subscriber.region
        ]
        return any(is_ours)

    def _run(self) -> None:
        is_full = False
        while True:
            with self._lock:
                if not self._subscribers:
                    self._thread = None
                    return
            try:
                is_full = self.receive_once(SHORT_POLL_SECONDS if is_full else LONG_POLL_SECONDS)
                if is_full:
                    self._get_help()
            except Exception as error:  # noqa: BLE001 - polling continues, as often as without events
                is_full = False
                self._note_failure(error)
                time.sleep(max(0.0, self._failing.again_at - self._monotonic()) if self._failing else 0.0)
            else:
                self._failing = None

    def _note_failure(self, error: Exception) -> None:
        now = self._monotonic()
        self._queue.failed()
        self._answered_at = self._full_at = float("-inf")
        is_first = self._failing is None
        self._failing = after_failure(self._failing, now)
        if self._failing.must_report(now) or is_first:
            log.warning("State change events cannot be received, so jobs are polled meanwhile: %s", error)

    def _get_help(self) -> None:
        """One receiver is too slow for a storm: a batch is two calls, one after the other."""
        working = [helper for helper in self._helpers if helper.is_alive()]
        with suppress(RuntimeError):  # no thread available: fewer receive
            for _ in range(HELPERS - len(working)):
                helper = threading.Thread(target=self._help, name="spot-training-events-helper", daemon=True)
                helper.start()
                working.append(helper)
        self._helpers = tuple(working)

    def _help(self) -> None:
        short_batches = 0
        try:
            while self._subscribers and short_batches < SHORT_BATCHES:
                is_full = self.receive_once(SHORT_POLL_SECONDS)
                short_batches = 0 if is_full else short_batches + 1
        except Exception as error:
            log.debug("A second receiver of state change events has ended", exc_info=error)


_shared: PerProcess[StateChanges] = PerProcess()


def shared_state_changes(
    url: str, make_queue: Callable[[], EventQueue], *, is_shared: bool = False
) -> StateChanges:
    """The process's one receiver of a queue, whichever connections its jobs belong to."""
    return _shared.get(
        lambda: StateChanges(make_queue, region=region_of_queue(url), is_shared=is_shared), key=url
    )
