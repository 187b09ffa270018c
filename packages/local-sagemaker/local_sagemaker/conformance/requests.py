"""The CreateTrainingJob requests of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .jobs import MAX_RUNTIME_SECONDS, SCARCE_TYPE, job_name

if TYPE_CHECKING:
    from .evidence import Run
    from .jobs import JobPlan

#: How long a spot job may wait for capacity, which costs nothing.
_WAIT_SECONDS = 1800
#: Runs the script without AWS's toolkit, as the container's first process.
_ENTRYPOINT = [
    "sh",
    "-c",
    (
        'exec "$(command -v python3 || command -v python)" '
        '"${SAGEMAKER_BASE_DIR:-/opt/ml}/input/data/code/probe.py"'
    ),
]


def checkpoint_key(run: Run, plan: JobPlan) -> str:
    return f"{run.id}/checkpoints/{plan.after or plan.name}"


def base_request(run: Run, name: str, *, is_spot: bool, max_runtime_seconds: int) -> dict[str, Any]:
    """The smallest job there is, without a script."""
    target = run.target
    request: dict[str, Any] = {
        "TrainingJobName": job_name(run.id, name),
        "RoleArn": target.role,
        "AlgorithmSpecification": {"TrainingImage": target.image, "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": f"{run.s3_uri}/output"},
        "ResourceConfig": {"InstanceType": target.instance_type, "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": max_runtime_seconds},
        "HyperParameters": {
            "sagemaker_program": "probe.py",
            "sagemaker_submit_directory": f"{run.s3_uri}/source.tar.gz",
            "sagemaker_region": target.region,
            "sagemaker_container_log_level": "20",
        },
        "EnableManagedSpotTraining": is_spot,
        "Tags": [{"Key": "conformance-run", "Value": run.id}],
    }
    if is_spot:
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = max_runtime_seconds
    return request


def request_for(run: Run, plan: JobPlan) -> dict[str, Any]:
    target = run.target
    runtime = plan.runtime_seconds(target.speed)
    request = base_request(run, plan.name, is_spot=plan.is_spot, max_runtime_seconds=runtime)
    if plan.is_spot:
        wait = plan.max_wait_seconds or runtime + round(_WAIT_SECONDS * max(1.0, target.speed))
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = wait
    if plan.is_scarce and target.control:
        request["ResourceConfig"]["InstanceType"] = SCARCE_TYPE
    request["HyperParameters"] |= {
        "probe": plan.probe,
        "e": "0.1",
        "pace": f"{target.real(5, least=0.3):g}",
        "patience": f"{target.real(90, least=5):g}",
        "hold": f"{target.real(MAX_RUNTIME_SECONDS, least=90):g}",
    }
    request["Environment"] = {"CONFORMANCE_COLOUR": "green"}
    request["InputDataConfig"] = [_channel("train", f"{run.s3_uri}/data/train")]
    request["AlgorithmSpecification"] |= {
        "MetricDefinitions": [{"Name": "conformance:loss", "Regex": "conformance: loss=(.*?);"}]
    }
    if plan.has_entrypoint:
        request["AlgorithmSpecification"]["ContainerEntrypoint"] = _ENTRYPOINT
        request["InputDataConfig"].append(_channel("code", f"{run.s3_uri}/code/"))
    if plan.has_checkpoints:
        prefix = f"s3://{target.bucket}/{checkpoint_key(run, plan)}"
        request["CheckpointConfig"] = {"S3Uri": prefix}
    return request


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "ContentType": "text/csv", "DataSource": {"S3DataSource": source}}
