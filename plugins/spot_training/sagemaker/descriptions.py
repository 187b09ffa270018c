"""SageMaker's answers about a training job, as this package's own values.

An unknown status is a value, too: AWS may add some at any time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spot_training.domain.lifecycle import (
    TERMINAL_STATUSES,
    JobSnapshot,
    SecondaryStatus,
    TrainingStatus,
    Transition,
)
from spot_training.domain.text import whole_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A job in `ListTrainingJobs` or in an event: enough to see whether it has changed."""

    name: str
    status: TrainingStatus
    secondary_status: SecondaryStatus
    last_modified_at: datetime

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES


def account_of(arn: str) -> str:
    """The account in an ARN, `arn:partition:service:region:account:resource`; empty for what is no ARN."""
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 else ""


def summary_of(listed: Mapping[str, Any]) -> Summary:
    """Parse an entry of `ListTrainingJobs`."""
    return Summary(
        name=listed["TrainingJobName"],
        status=TrainingStatus(listed["TrainingJobStatus"]),
        secondary_status=_secondary(listed.get("SecondaryStatus", ""), listed["TrainingJobStatus"]),
        last_modified_at=_utc(listed.get("LastModifiedTime") or listed["CreationTime"]),
    )


def snapshot_of(description: Mapping[str, Any]) -> JobSnapshot:
    """Parse what `DescribeTrainingJob` returns."""
    stopping = description.get("StoppingCondition") or {}
    resources = description.get("ResourceConfig") or {}
    return JobSnapshot(
        name=description["TrainingJobName"],
        arn=description["TrainingJobArn"],
        status=TrainingStatus(description["TrainingJobStatus"]),
        secondary_status=_secondary(description["SecondaryStatus"], description["TrainingJobStatus"]),
        created_at=_utc(description["CreationTime"]),
        last_modified_at=_utc(description.get("LastModifiedTime") or description["CreationTime"]),
        training_started_at=_utc_or_none(description.get("TrainingStartTime")),
        training_ended_at=_utc_or_none(description.get("TrainingEndTime")),
        training_seconds=description.get("TrainingTimeInSeconds"),
        billable_seconds=description.get("BillableTimeInSeconds"),
        failure_reason=whole_text(description.get("FailureReason") or "") or None,
        is_spot=bool(description.get("EnableManagedSpotTraining")),
        instance_type=resources.get("SelectedInstanceType") or resources.get("InstanceType"),
        instance_count=_instance_count(resources),
        max_runtime_seconds=stopping.get("MaxRuntimeInSeconds"),
        max_wait_seconds=stopping.get("MaxWaitTimeInSeconds"),
        checkpoint_uri=(description.get("CheckpointConfig") or {}).get("S3Uri"),
        model_uri=(description.get("ModelArtifacts") or {}).get("S3ModelArtifacts"),
        transitions=tuple(_transition_of(t) for t in description.get("SecondaryStatusTransitions") or ()),
        metrics=metrics_of(description),
    )


def metrics_of(description: Mapping[str, Any]) -> dict[str, float]:
    """The last value of each metric in `FinalMetricDataList`. Without NaN and infinity, which JSON lacks."""
    found = {
        whole_text(metric["MetricName"]): float(metric["Value"])
        for metric in description.get("FinalMetricDataList") or ()
        if metric.get("MetricName") and metric.get("Value") is not None
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


#: Replaces a secondary status that is newer than this code.
_UNKNOWN_AS = {
    TrainingStatus.COMPLETED: SecondaryStatus.COMPLETED,
    TrainingStatus.FAILED: SecondaryStatus.FAILED,
    TrainingStatus.STOPPED: SecondaryStatus.STOPPED,
    TrainingStatus.STOPPING: SecondaryStatus.STOPPING,
}


def _secondary(text: str, status: str) -> SecondaryStatus:
    try:
        return SecondaryStatus(text)
    except ValueError:
        return _UNKNOWN_AS.get(TrainingStatus(status), SecondaryStatus.UPDATING)


def _instance_count(resources: Mapping[str, Any]) -> int:
    groups = resources.get("InstanceGroups") or ()
    if groups:
        return sum(int(group.get("InstanceCount", 1)) for group in groups)
    return int(resources.get("SelectedInstanceCount") or resources.get("InstanceCount") or 1)


def _transition_of(entry: Mapping[str, Any]) -> Transition:
    return Transition(
        status=_secondary(entry["Status"], TrainingStatus.IN_PROGRESS),
        started_at=_utc(entry["StartTime"]),
        ended_at=_utc_or_none(entry.get("EndTime")),
        message=whole_text(entry.get("StatusMessage", "")),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _utc_or_none(moment: datetime | None) -> datetime | None:
    return None if moment is None else _utc(moment)
