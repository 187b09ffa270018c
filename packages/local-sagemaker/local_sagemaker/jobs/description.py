"""A training job as DescribeTrainingJob and ListTrainingJobs show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from .job import TrainingJob
    from .lifecycle import Transition

#: Members of the request that the description repeats unchanged.
_ECHOED = (
    "HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig",
    "ResourceConfig", "VpcConfig", "CheckpointConfig", "DebugHookConfig", "ExperimentConfig",
    "DebugRuleConfigurations", "TensorBoardOutputConfig", "ProfilerConfig", "ProfilerRuleConfigurations",
    "Environment", "RetryStrategy", "RemoteDebugConfig", "InfraCheckConfig",
)  # fmt: skip


def description_of(job: TrainingJob, now: datetime) -> dict[str, Any]:
    """The response of DescribeTrainingJob. Members without a value are omitted."""
    described: dict[str, Any] = {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        "ModelArtifacts": {"S3ModelArtifacts": job.model_uri},
        "TrainingJobStatus": str(job.status),
        "SecondaryStatus": str(job.secondary_status),
        "FailureReason": job.failure_reason,
        **{key: job.request.get(key) for key in _ECHOED},
        "AlgorithmSpecification": {"EnableSageMakerMetricsTimeSeries": False}
        | job.request["AlgorithmSpecification"],
        "InputDataConfig": _channels(job),
        "OutputDataConfig": {"KmsKeyId": ""} | job.request["OutputDataConfig"],
        "ResourceConfig": _resources(job),
        "StoppingCondition": {"MaxRuntimeInSeconds": job.max_runtime_seconds}
        | (job.request.get("StoppingCondition") or {}),
        "CreationTime": job.created_at,
        "TrainingStartTime": job.started_at,
        "TrainingEndTime": job.ended_at,
        "LastModifiedTime": job.last_modified_at,
        "SecondaryStatusTransitions": [_transition(t) for t in job.transitions],
        "EnableNetworkIsolation": bool(job.request.get("EnableNetworkIsolation")),
        "EnableInterContainerTrafficEncryption": bool(
            job.request.get("EnableInterContainerTrafficEncryption")
        ),
        "EnableManagedSpotTraining": job.is_spot,
        "FinalMetricDataList": _final_metrics(job) or None,
        "TrainingTimeInSeconds": job.training_seconds_at(now),
        "BillableTimeInSeconds": job.billed_seconds,
    }
    return {key: value for key, value in described.items() if value is not None}


def summary_of(job: TrainingJob) -> dict[str, Any]:
    summary = {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        "CreationTime": job.created_at,
        "TrainingEndTime": job.ended_at,
        "LastModifiedTime": job.last_modified_at,
        "TrainingJobStatus": str(job.status),
        "SecondaryStatus": str(job.secondary_status),
    }
    return {key: value for key, value in summary.items() if value is not None}


def _channels(job: TrainingJob) -> list[dict[str, Any]] | None:
    channels = job.request.get("InputDataConfig")
    return channels and [
        {"CompressionType": "None", "RecordWrapperType": "None"} | channel for channel in channels
    ]


def _resources(job: TrainingJob) -> dict[str, Any]:
    resources = dict(job.resources)
    if job.selected_type:
        resources |= {"SelectedInstanceType": job.selected_type, "SelectedInstanceCount": job.instance_count}
    return resources


def _final_metrics(job: TrainingJob) -> list[dict[str, Any]]:
    metrics = dict(job.final_metrics)  # a copy, because a thread that reads the log may add to it
    return [{"MetricName": name, "Value": m.value, "Timestamp": m.at} for name, m in metrics.items()]


def _transition(transition: Transition) -> dict[str, Any]:
    entry: dict[str, Any] = {"Status": str(transition.status), "StartTime": transition.started_at}
    if transition.ended_at is not None:
        entry["EndTime"] = transition.ended_at
    return entry | {"StatusMessage": transition.message}
