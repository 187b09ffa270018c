"""One handler for each SageMaker operation of this server; `HANDLERS` is the dispatch table.

A handler takes the members of a request that is valid in form, and returns those of the response, with
datetimes. The protocol does the rest.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from local_sagemaker.jobs import rules
from local_sagemaker.jobs.description import description_of, summary_of
from local_sagemaker.jobs.engine import Engine
from local_sagemaker.jobs.errors import ValidationError

from .listing import Params, filters, in_order, make_token, sort_key, take_page
from .search import search_jobs

Handler: TypeAlias = Callable[[Engine, Params], dict[str, Any]]

DEFAULT_PAGE = 10


def create_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    rules.check_create(params)
    tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags") or ()}
    request = {sys.intern(key): _shared(value) for key, value in params.items() if value is not None}
    return {"TrainingJobArn": engine.create(request, tags).arn}


def _shared(value: Any) -> Any:
    """The same value with each text held once, however many jobs have it. This halves the memory of a job."""
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
    """`StatusEquals` applies after a page is taken, as on AWS: an empty page can have a NextToken."""
    size = params.get("MaxResults") or DEFAULT_PAGE
    conditions = filters(params)
    with engine:
        jobs = (job for job in in_order(engine.store, params) if all(fits(job) for fits in conditions))
        page = list(itertools.islice(jobs, size + 1))
    status = params.get("StatusEquals")
    response: dict[str, Any] = {
        "TrainingJobSummaries": [
            summary_of(job) for job in page[:size] if status is None or job.status == status
        ]
    }
    if len(page) > size:
        # The token names the last job of the page, so new jobs do not shift the pages.
        last = page[size - 1]
        response["NextToken"] = make_token({"after": [sort_key(params)(last), last.name]})
    return response


def stop_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    engine.stop(params["TrainingJobName"])
    return {}


def delete_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    engine.delete(params["TrainingJobName"])
    return {}


def update_training_job(engine: Engine, params: Params) -> dict[str, Any]:
    """Accept what AWS accepts, and change nothing: there is no profiler and no warm pool."""
    rules.check_profiler(params)
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
    page, next_token = take_page(found, params, size=100)
    return {
        "Results": [{"TrainingJob": record} for record in page],
        "TotalHits": {"Value": len(found), "Relation": "EqualTo"},
        **next_token,
    }


def add_tags(engine: Engine, params: Params) -> dict[str, Any]:
    rules.check_tags(params["Tags"])
    with engine:
        tags = _tags_of(engine, params)
        tags.update({tag["Key"]: tag["Value"] for tag in params["Tags"]})
        if len(tags) > 50:
            for tag in params["Tags"]:
                tags.pop(tag["Key"], None)
            raise ValidationError("A resource can have at most 50 tags.")
        return {"Tags": _tag_list(tags)}


def list_tags(engine: Engine, params: Params) -> dict[str, Any]:
    with engine:
        tags = _tag_list(_tags_of(engine, params))
    page, next_token = take_page(tags, params, size=50)
    return {"Tags": page, **next_token}


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
    """Whether a call is about training jobs. moto answers for tags and searches of other resources."""
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


def _tags_of(engine: Engine, params: Params) -> dict[str, str]:
    job = engine.store.find_by_arn(params["ResourceArn"])
    if job is None:
        raise ValidationError(rules.NOT_FOUND)
    return engine.store.tags(job.arn)


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
