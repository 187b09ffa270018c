"""What SageMaker refuses although the form is right: spot and max wait, names, sources, limits.

The texts are AWS's, if known. Those marked "ours" are not.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

from .errors import ResourceInUseError, ResourceLimitExceededError, ValidationError
from .stopping import (
    DEFAULT_MAX_RUNTIME_SECONDS,
    MAX_RUNTIME_SECONDS,
    MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS,
    is_capped_algorithm,
)
from .work import LOCAL_CHECKPOINT_SECONDS, LOCAL_TRAINING_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from local_sagemaker.market import TypeRule

    from .job import TrainingJob


_SECONDS = re.compile(r"\d{1,9}(\.\d{1,6})?")

#: Types with NVMe disks of the instance: a `d` after the generation (r5d, g4dn), and the newer accelerated
#: ones. The SageMaker SDK 2.257 has the same rule (`volume_size_supported`).
_LOCAL_STORAGE = re.compile(r"ml\.([a-z]+\d+[a-z]*d[a-z]*|(g[5-9]|p[5-9]|trn)[a-z0-9-]*)\.\w+")
_PROFILING_INTERVALS = (100, 200, 500, 1000, 5000, 60000)

NOT_FOUND = "Requested resource not found."


def check_create(request: Mapping[str, Any]) -> None:
    """Raise `ValidationError` if SageMaker refuses the request."""
    for rule in (
        _check_algorithm,
        _check_resources,
        _check_instance_counts,
        _check_volume_key,
        _check_channels,
        _check_checkpoint_path,
        _check_runtime,
        _check_wait,
        _check_spot_exclusions,
        _check_simulation,
    ):
        rule(request)
    check_profiler(request)
    check_tags(request.get("Tags") or ())


def _check_algorithm(request: Mapping[str, Any]) -> None:
    if request.get("ServerlessJobConfig"):
        raise ValidationError("Serverless training jobs are not part of the local SageMaker.")  # ours
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None:
        raise ValidationError("AlgorithmSpecification is required for this training job.")  # ours
    if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
        raise ValidationError("You must specify either TrainingImage or AlgorithmName, and not both.")  # ours


def _check_resources(request: Mapping[str, Any]) -> None:
    resources = request.get("ResourceConfig")
    if resources is None:
        raise ValidationError("ResourceConfig is required for this training job.")  # ours
    if not any(resources.get(key) for key in ("InstanceType", "InstanceGroups", "InstancePreferences")):
        raise ValidationError(
            "ResourceConfig needs InstanceType, InstanceGroups or InstancePreferences."
        )  # ours
    if resources.get("InstancePreferences"):
        for other in ("InstanceType", "InstanceGroups", "InstancePlacementConfig"):
            if resources.get(other):
                raise ValidationError(f"InstancePreferences is mutually exclusive with {other}.")  # ours
    if resources.get("InstanceGroups"):
        for other in ("InstanceType", "InstanceCount"):
            if resources.get(other):
                raise ValidationError(f"InstanceGroups is mutually exclusive with {other}.")  # ours
    if "SelectedInstanceType" in resources or "SelectedInstanceCount" in resources:
        raise ValidationError("SelectedInstanceType and SelectedInstanceCount are read-only.")  # ours


def _check_instance_counts(request: Mapping[str, Any]) -> None:
    """The model allows zero instances, and the service does not."""
    resources = request["ResourceConfig"]
    has_others = resources.get("InstanceGroups") or resources.get("InstancePreferences")
    counts = {} if has_others else {"resourceConfig": resources.get("InstanceCount")}
    for member in ("InstanceGroups", "InstancePreferences"):
        for position, each in enumerate(resources.get(member) or (), start=1):
            path = f"resourceConfig.{member[:1].lower()}{member[1:]}.{position}.member"
            counts[path] = each.get("InstanceCount")
    zeros = [path for path, count in counts.items() if count == 0]
    if zeros:
        raise ValidationError(
            f"{len(zeros)} validation error{'s' if len(zeros) > 1 else ''} detected: "
            + "; ".join(
                f"Value '0' at '{path}.instanceCount' failed to satisfy constraint: Member must have value "
                "greater than or equal to 1"
                for path in zeros
            )
        )


def has_local_storage(instance_type: str) -> bool:
    """Whether the disks are part of the instance. Then VolumeSizeInGB has no effect."""
    return _LOCAL_STORAGE.fullmatch(instance_type) is not None


def _check_volume_key(request: Mapping[str, Any]) -> None:
    """The disks of these types are part of the instance: there is no volume to encrypt with a key."""
    resources = request["ResourceConfig"]
    if not resources.get("VolumeKmsKeyId"):
        return
    others = (*(resources.get("InstanceGroups") or ()), *(resources.get("InstancePreferences") or ()))
    for instance_type in (resources.get("InstanceType"), *(each["InstanceType"] for each in others)):
        if instance_type and has_local_storage(instance_type):
            raise ValidationError(  # ours
                f"You can't request a VolumeKmsKeyId when using an instance type with local storage: "
                f"{instance_type}."
            )


def _check_checkpoint_path(request: Mapping[str, Any]) -> None:
    path = (request.get("CheckpointConfig") or {}).get("LocalPath")
    if path and posixpath.normpath(path) == "/opt/ml/model":
        raise ValidationError(  # ours
            f"Invalid CheckpointConfig.LocalPath {path}. It is reserved for the model artifacts."
        )


def check_profiler(request: Mapping[str, Any]) -> None:
    """For CreateTrainingJob and UpdateTrainingJob."""
    interval = (request.get("ProfilerConfig") or {}).get("ProfilingIntervalInMilliseconds")
    if interval is not None and interval not in _PROFILING_INTERVALS:
        allowed = ", ".join(str(each) for each in _PROFILING_INTERVALS)
        raise ValidationError(  # ours
            f"Invalid ProfilingIntervalInMilliseconds {interval}. Available values are {allowed}."
        )


def check_tags(tags: Iterable[Mapping[str, Any]]) -> None:
    """For CreateTrainingJob and AddTags."""
    seen: set[str] = set()
    for tag in tags:
        key = tag["Key"]
        if key.lower().startswith("aws:"):
            raise ValidationError(  # ours
                f"Invalid tag key {key}. Keys that start with aws: are reserved for system use."
            )
        if key in seen:
            raise ValidationError(f"Duplicate tag key {key}. Tag keys must be unique.")  # ours
        seen.add(key)


def _check_channels(request: Mapping[str, Any]) -> None:
    """Channel names are unique, and channels name only instance groups that exist."""
    groups = (request.get("ResourceConfig") or {}).get("InstanceGroups") or ()
    known = [group["InstanceGroupName"] for group in groups]
    seen: set[str] = set()
    for channel in request.get("InputDataConfig") or ():
        name = channel["ChannelName"]
        if name in seen:
            raise ValidationError(f"The ChannelName {name} occurs twice in InputDataConfig.")  # ours
        seen.add(name)
        for group in (channel["DataSource"].get("S3DataSource") or {}).get("InstanceGroupNames") or ():
            if group not in known:
                raise ValidationError(  # ours
                    f"The channel {name} is for the instance group {group}, which is not in ResourceConfig."
                )


def _check_runtime(request: Mapping[str, Any]) -> None:
    runtime = (request.get("StoppingCondition") or {}).get(
        "MaxRuntimeInSeconds"
    ) or DEFAULT_MAX_RUNTIME_SECONDS
    if runtime > MAX_RUNTIME_SECONDS:
        raise ValidationError(  # ours
            f"Invalid MaxRuntimeInSeconds. It must be less than or equal to {MAX_RUNTIME_SECONDS}"
        )


def _check_wait(request: Mapping[str, Any]) -> None:
    condition = request.get("StoppingCondition") or {}
    wait = condition.get("MaxWaitTimeInSeconds")
    is_spot = request.get("EnableManagedSpotTraining")
    if not is_spot and wait is None:
        return
    if not is_spot and not request.get("RetryStrategy"):
        raise ValidationError(
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
        )
    runtime = condition.get("MaxRuntimeInSeconds") or DEFAULT_MAX_RUNTIME_SECONDS
    if wait is None or wait < runtime:
        raise ValidationError(
            "Invalid MaxWaitTimeInSeconds. "
            "It must be present and be greater than or equal to MaxRuntimeInSeconds"
        )
    algorithm = request.get("AlgorithmSpecification") or {}
    capped = is_capped_algorithm(algorithm.get("TrainingImage"), algorithm.get("AlgorithmName"))
    if is_spot and capped and wait > MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS:
        raise ValidationError("MaxWaitTimeInSeconds above 3600 is not supported for the given algorithm")


def _check_spot_exclusions(request: Mapping[str, Any]) -> None:
    if not request.get("EnableManagedSpotTraining"):
        return
    resources = request.get("ResourceConfig") or {}
    if resources.get("KeepAlivePeriodInSeconds"):
        raise ValidationError("Warm pools cannot be used with managed spot training.")  # ours
    if resources.get("InstancePreferences"):
        raise ValidationError(
            "InstancePreferences is mutually exclusive with EnableManagedSpotTraining."
        )  # ours
    if resources.get("TrainingPlanArn"):
        raise ValidationError("Training plans cannot be used with managed spot training.")  # ours


def _check_simulation(request: Mapping[str, Any]) -> None:
    environment = request.get("Environment") or {}
    text = environment.get(LOCAL_TRAINING_SECONDS)
    if text is not None and not _SECONDS.fullmatch(text):
        raise ValidationError(  # ours
            f"Environment {LOCAL_TRAINING_SECONDS} is {text!r}: give the simulated job's work in seconds."
        )
    every = environment.get(LOCAL_CHECKPOINT_SECONDS)
    if every is not None and not (_SECONDS.fullmatch(every) and float(every) >= 1):
        raise ValidationError(  # ours
            f"Environment {LOCAL_CHECKPOINT_SECONDS} is {every!r}: give the seconds between two checkpoints "
            "of the simulated job, at least 1."
        )


def check_name_is_free(existing: TrainingJob | None) -> None:
    if existing is not None:
        raise ResourceInUseError(
            "Training job names must be unique within an AWS account and region, and a training job with "
            f"this name already exists ({existing.arn})"
        )


def check_quota(
    job: TrainingJob, rule_of: Callable[[str], TypeRule], count_in_use: Callable[[str], int]
) -> None:
    """Refuse a job above the quota of the market file. AWS queues no jobs."""
    for instance_type, wanted in job.instances.items():
        rule = rule_of(instance_type)
        quota = rule.spot_quota if job.is_spot else rule.on_demand_quota
        if quota is None:
            continue
        in_use = count_in_use(instance_type)
        if in_use + wanted <= quota:
            continue
        usage = "spot training job usage" if job.is_spot else "training job usage"
        raise ResourceLimitExceededError(
            f"The account-level service limit '{instance_type} for {usage}' is {quota} Instances, with "
            f"current utilization of {in_use} Instances and a request delta of {wanted} "
            "Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS Service "
            "Quotas is not available, contact AWS support to request an increase for this quota."
        )


def check_stoppable(job: TrainingJob | None) -> TrainingJob:
    if job is None:
        raise ValidationError(NOT_FOUND)
    if job.is_over:
        raise ValidationError(f"The request was rejected because the training job is in status {job.status}.")
    return job


def check_deletable(job: TrainingJob | None) -> TrainingJob:
    if job is None:
        raise ValidationError(NOT_FOUND)
    if not job.is_over:
        raise ResourceInUseError(  # ours
            f"The training job is in status {job.status}. Only a job in a terminal status can be deleted."
        )
    return job
