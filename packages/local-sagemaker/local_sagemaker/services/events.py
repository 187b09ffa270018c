"""EventBridge: a "SageMaker Training Job State Change" event for each change of a job's status.

Events go to moto's default bus, and its rules deliver them (to SQS, logs and other buses). Without a rule no
event is made or kept. A separate thread delivers them, because the engine reports changes under its lock.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

from local_sagemaker.account import ACCOUNT, REGION
from local_sagemaker.jobs.description import description_of

from .queues import quicken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_sagemaker.jobs.job import TrainingJob
    from local_sagemaker.jobs.store import Store

log = logging.getLogger(__name__)

SOURCE = "aws.sagemaker"
DETAIL_TYPE = "SageMaker Training Job State Change"

#: The members of the documented event, in its order. It has no seconds, no spot flag and no CheckpointConfig:
#: describe the job for those.
_MEMBERS = (
    "TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus", "FailureReason",
    "HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig",
    "ResourceConfig", "VpcConfig", "StoppingCondition", "CreationTime", "TrainingStartTime",
    "TrainingEndTime", "LastModifiedTime", "SecondaryStatusTransitions",
)  # fmt: skip


class StateChangeEvents:
    """A listener of the engine. `forget` drops the events that are not delivered yet."""

    def __init__(self, store: Store, region: str = REGION) -> None:
        self._store = store
        self._region = region
        self._published: dict[str, tuple[str, int]] = {}
        self._waiting: deque[tuple[TrainingJob, dict[str, str]]] = deque()
        self._lock = threading.Lock()
        self._is_delivering = False

    def publish(self, job: TrainingJob) -> None:
        """Note a change of a job; called under the engine's lock."""
        if not _has_rules(self._region) or job.is_over != (job.transitions[-1].ended_at is not None):
            return  # there is no rule, or the last transition is still to be closed
        look = (str(job.status), len(job.transitions))
        if self._published.get(job.name) == look:
            return  # only the message changed
        self._published[job.name] = look
        if job.is_over:
            del self._published[job.name]
        with self._lock:
            self._waiting.append((job, dict(self._store.tags(job.arn))))
            if self._is_delivering:
                return
            self._is_delivering = True
        threading.Thread(target=self._deliver, name="events", daemon=True).start()

    def forget(self) -> None:
        with self._lock:
            self._waiting.clear()
        self._published.clear()

    def _deliver(self) -> None:
        """Deliver until nothing waits. There is one thread at a time, so events arrive in order."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_delivering = False
                    return
                job, tags = self._waiting.popleft()
            try:
                _put(event_of(job, tags), self._region)
            except Exception as exc:  # noqa: BLE001  (a target that was deleted must not stop all events)
                log.warning("%s: a state change event was not delivered: %r", job.name, exc)


def event_of(job: TrainingJob, tags: Mapping[str, str]) -> dict[str, Any]:
    """The entry for PutEvents. Times are epoch milliseconds, tags are a map, and what is not set is null."""
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


def _bus(region: str) -> Any:
    """moto's default bus of a region; None before the first call of EventBridge."""
    models = sys.modules.get("moto.events.models")
    backends = getattr(models, "events_backends", None)
    return None if backends is None else backends[ACCOUNT][region].event_buses.get("default")


def _has_rules(region: str) -> bool:
    bus = _bus(region)
    return bool(bus and bus.rules)


def _put(event: dict[str, Any], region: str) -> None:
    from moto.events.models import events_backends

    if (queues := sys.modules.get("moto.sqs.models")) is not None:
        quicken(queues)
    events_backends[ACCOUNT][region].put_events([event])
