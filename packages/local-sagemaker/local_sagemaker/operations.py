"""One handler per SageMaker operation this server knows itself; `HANDLERS` is the dispatch table.

A handler takes the request's members (valid in form) and returns the response's, with datetimes; the protocol
does the rest.
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from . import rules
from .engine import Engine
from .search import search_jobs
from .validation import ValidationError

if TYPE_CHECKING:
    from .lifecycle import Transition
    from .store import Store, TrainingJob

Params: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[Engine, Params], dict[str, Any]]

DEFAULT_PAGE = 10


def create_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    rules.check_create(params)
    tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags") or ()}
    request = {sys.intern(key): _shared(value) for key, value in params.items() if value is not None}
    return {"TrainingJobArn": engine.create(request, tags).arn}


def _shared(value: Any) -> Any:
    """The same with each text held once, however many jobs have it: half the memory of a job."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(key): _shared(item) for key, item in value.items()}
    return [_shared(item) for item in value] if isinstance(value, list) else value


def describe_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    with engine as now:
        job = engine.store.get(params["TrainingJobName"])
    if job is None:
        raise ValidationError(rules.NOT_FOUND)
    return description_of(job, now)


def list_training_jobs(engine: Engine, params: Params) -> dict[str, Any]:
    """`StatusEquals` applies after a page was taken, as on AWS: an empty page can have a NextToken."""
    size = params.get("MaxResults") or DEFAULT_PAGE
    filters = _filters(params)
    with engine:
        jobs = (job for job in _in_order(engine.store, params) if all(fits(job) for fits in filters))
        page = list(itertools.islice(jobs, size + 1))
    status = params.get("StatusEquals")
    response: dict[str, Any] = {
        "TrainingJobSummaries": [
            summary_of(job) for job in page[:size] if status is None or job.status == status
        ]
    }
    if len(page) > size:
        # It names the last job seen, so new jobs do not shift the pages.
        last = page[size - 1]
        response["NextToken"] = _token({"after": [_sort_key(params)(last), last.name]})
    return response


def stop_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    engine.stop(params["TrainingJobName"])
    return {}


def delete_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    engine.delete(params["TrainingJobName"])
    return {}


def update_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    """Accepts what AWS lets change in flight and keeps nothing of it: there is no profiler, no warm pool."""
    with engine:
        job = engine.store.get(params["TrainingJobName"])
        if job is None:
            raise ValidationError(rules.NOT_FOUND)
        if job.is_over and not params.get("ResourceConfig"):
            raise ValidationError(
                f"The request was rejected because the training job is in status {job.status}."
            )
        return {"TrainingJobArn": job.arn}


def search(engine: Engine, params: Params) -> dict[str, Any]:
    with engine as now:
        records = [
            description_of(job, now)
            | {"Tags": _tag_list(engine.store.tags(job.arn)), "CreationTime": job.created_at}
            for job in engine.store.jobs()
        ]
    found = search_jobs(records, params)
    start = _offset(params)
    size = params.get("MaxResults") or 100
    response: dict[str, Any] = {
        "Results": [{"TrainingJob": record} for record in found[start : start + size]]
    }
    response["TotalHits"] = {"Value": len(found), "Relation": "EqualTo"}
    if start + size < len(found):
        response["NextToken"] = _token({"offset": start + size})
    return response


def add_tags(engine: Engine, params: Params) -> dict[str, Any]:
    with engine:
        tags = _tags_of(engine, params)
        tags.update({tag["Key"]: tag["Value"] for tag in params["Tags"]})
        if len(tags) > 50:
            for tag in params["Tags"]:
                tags.pop(tag["Key"], None)
            raise ValidationError("A resource can have 50 tags at most.")
        return {"Tags": _tag_list(tags)}


def list_tags(engine: Engine, params: Params) -> dict[str, Any]:
    with engine:
        tags = _tag_list(_tags_of(engine, params))
    start = _offset(params)
    size = params.get("MaxResults") or 50
    response: dict[str, Any] = {"Tags": tags[start : start + size]}
    if start + size < len(tags):
        response["NextToken"] = _token({"offset": start + size})
    return response


def delete_tags(engine: Engine, params: Params) -> dict[str, Any]:
    with engine:
        tags = _tags_of(engine, params)
        for key in params["TagKeys"]:
            tags.pop(key, None)
    return {}


HANDLERS: dict[str, Handler] = {
    "CreateTrainingJob": create_training_job,
    "DescribeTrainingJob": describe_training_job,
    "ListTrainingJobs": list_training_jobs,
    "StopTrainingJob": stop_training_job,
    "DeleteTrainingJob": delete_training_job,
    "UpdateTrainingJob": update_training_job,
    "Search": search,
    "AddTags": add_tags,
    "ListTags": list_tags,
    "DeleteTags": delete_tags,
}


def is_ours(operation: str, params: object) -> bool:
    """Whether a call concerns training jobs. Tags and searches of other resources are moto's."""
    if operation not in HANDLERS:
        return False
    if not isinstance(params, dict):
        return True
    if operation == "Search":
        resource = params.get("Resource")
        return (
            not isinstance(resource, str)
            or resource in ("TrainingJob", "")
            or resource not in _OTHER_RESOURCES
        )
    if operation in ("AddTags", "ListTags", "DeleteTags"):
        arn = params.get("ResourceArn")
        return not isinstance(arn, str) or ":training-job/" in arn or not arn.startswith("arn:")
    return True


_OTHER_RESOURCES = frozenset(
    {"Experiment", "ExperimentTrial", "ExperimentTrialComponent", "Endpoint", "Model", "ModelPackage",
     "ModelPackageGroup", "Pipeline", "PipelineExecution", "FeatureGroup", "FeatureMetadata", "Image",
     "ImageVersion", "Project", "HyperParameterTuningJob", "ModelCard"}
)  # fmt: skip


# --- what a job looks like ---

#: Members of the request that the description repeats as they came.
_ECHOED = (
    "HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig",
    "ResourceConfig", "VpcConfig", "CheckpointConfig", "DebugHookConfig", "ExperimentConfig",
    "DebugRuleConfigurations", "TensorBoardOutputConfig", "ProfilerConfig", "ProfilerRuleConfigurations",
    "Environment", "RetryStrategy", "RemoteDebugConfig", "InfraCheckConfig",
)  # fmt: skip


def description_of(job: TrainingJob, now: datetime) -> dict[str, Any]:
    """DescribeTrainingJob's response. Which member is there when is said in the docs; None is left out."""
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
    metrics = dict(job.final_metrics)  # a copy: the job's log may just be read
    return [{"MetricName": name, "Value": m.value, "Timestamp": m.at} for name, m in metrics.items()]


def _transition(transition: Transition) -> dict[str, Any]:
    entry: dict[str, Any] = {"Status": str(transition.status), "StartTime": transition.started_at}
    if transition.ended_at is not None:
        entry["EndTime"] = transition.ended_at
    return entry | {"StatusMessage": transition.message}


# --- lists ---

_SORT_KEYS: dict[str, Callable[[TrainingJob], Any]] = {
    "Name": lambda job: job.name,
    "CreationTime": lambda job: job.created_at.timestamp(),
    "Status": lambda job: str(job.status),
}


def _sort_key(params: Params) -> Callable[[TrainingJob], Any]:
    return _SORT_KEYS[params.get("SortBy") or "CreationTime"]


def _in_order(store: Store, params: Params) -> Iterator[TrainingJob]:
    """Jobs in the order asked for, behind those of the pages before. The default order costs no sorting."""
    is_descending = params.get("SortOrder") == "Descending"
    after = _position(params["NextToken"]) if params.get("NextToken") else None
    if params.get("SortBy") in (None, "CreationTime"):
        if after is not None and not isinstance(after[0], int | float):
            raise ValidationError(_NO_SUCH_PAGE)
        return store.jobs_by_creation(after=after, is_descending=is_descending)
    sort_key = _sort_key(params)
    if after is not None and not isinstance(after[0], str):
        raise ValidationError(_NO_SUCH_PAGE)
    keyed = sorted(((sort_key(job), job.name) for job in store.jobs()), reverse=is_descending)
    names = (
        name
        for key, name in keyed
        if after is None or ((key, name) < after if is_descending else (key, name) > after)
    )
    return (job for job in map(store.get, names) if job is not None)


def _position(token: str) -> tuple[Any, str]:
    match _read_token(token, "after"):
        case [key, str(name)]:
            return key, name
        case _:
            raise ValidationError(_NO_SUCH_PAGE)


def _filters(params: Params) -> list[Callable[[TrainingJob], bool]]:
    """What a job must fit to be listed."""
    filters: list[Callable[[TrainingJob], bool]] = []
    wanted = (params.get("NameContains") or "").lower()
    if wanted:
        filters.append(lambda job: wanted in job.name.lower())
    if params.get("WarmPoolStatusEquals") or params.get("TrainingPlanArnEquals"):
        filters.append(lambda _: False)
    limits = _time_limits(params)
    if created_after := limits.get("CreationTimeAfter"):
        filters.append(lambda job: job.created_at >= created_after)
    if created_before := limits.get("CreationTimeBefore"):
        filters.append(lambda job: job.created_at <= created_before)
    if modified_after := limits.get("LastModifiedTimeAfter"):
        filters.append(lambda job: job.last_modified_at >= modified_after)
    if modified_before := limits.get("LastModifiedTimeBefore"):
        filters.append(lambda job: job.last_modified_at <= modified_before)
    return filters


def _time_limits(params: Params) -> dict[str, datetime]:
    names = ("CreationTimeAfter", "CreationTimeBefore", "LastModifiedTimeAfter", "LastModifiedTimeBefore")
    return {name: _instant(params[name]) for name in names if params.get(name) is not None}


def _instant(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as exc:
        raise ValidationError(f"Invalid timestamp: {seconds}") from exc


def _offset(params: Params) -> int:
    return int(_read_token(params["NextToken"], "offset")) if params.get("NextToken") else 0


_NO_SUCH_PAGE = "Invalid NextToken."


def _token(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _read_token(token: str, key: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(token))[key]
    except (ValueError, KeyError, TypeError) as exc:
        raise ValidationError(_NO_SUCH_PAGE) from exc


# --- tags ---


def _tags_of(engine: Engine, params: Params) -> dict[str, str]:
    job = engine.store.find_by_arn(params["ResourceArn"])
    if job is None:
        raise ValidationError(rules.NOT_FOUND)
    return engine.store.tags(job.arn)


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
