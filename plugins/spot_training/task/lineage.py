"""What a training read and wrote, for OpenLineage, as the Amazon provider's operator reports it; its facets.

    spotTraining_attempts   attempts: the list of the XCom `attempts`
    spotTraining_savings    savings: the XCom `savings`

Needs the extra `openlineage`. Only OpenLineage's listener calls this, which is part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define
from openlineage.client.facet_v2 import RunFacet

from spot_training.domain.json_text import from_json_text

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from .training import TrainingTask


@define
class SpotTrainingAttemptsRunFacet(RunFacet):  # type: ignore[misc,unused-ignore]
    """The attempts of a training: jobs, purchase options, endings, seconds."""

    attempts: list[dict[str, Any]]


@define
class SpotTrainingSavingsRunFacet(RunFacet):  # type: ignore[misc,unused-ignore]
    """What all attempts of a training came to."""

    savings: dict[str, Any]


def lineage_of(job: Mapping[str, Any] | None, *, training: TrainingTask | None = None) -> OperatorLineage:
    """The inputs and outputs in a DescribeTrainingJob answer or a request. Empty lists without one.

    Channels that are not on S3 are left out. `training` has run in this process: its facets.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    def dataset(uri: str) -> Dataset:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return Dataset(namespace=f"s3://{bucket}", name=key, facets={})

    job = job or {}
    model = (job.get("ModelArtifacts") or {}).get("S3ModelArtifacts")
    return OperatorLineage(
        inputs=[dataset(uri) for uri in _input_uris(job)],
        outputs=[dataset(model)] if model else [],
        run_facets=_facets_of(training) if training is not None else {},
    )


def request_of(config: object) -> Mapping[str, Any]:
    """The request of a rendered `config`, as far as it can be read: the task refuses what it cannot."""
    request = from_json_text(config)
    if not isinstance(request, Mapping):
        return {}
    channels = from_json_text(request.get("InputDataConfig"))
    if not isinstance(channels, list | tuple) or not all(isinstance(each, Mapping) for each in channels):
        return {}
    return {"InputDataConfig": channels}


def _facets_of(training: TrainingTask) -> dict[str, RunFacet]:
    outcome = training.outcome_so_far
    if not outcome["attempts"]:
        return {}
    return {
        "spotTraining_attempts": SpotTrainingAttemptsRunFacet(attempts=outcome["attempts"]),
        "spotTraining_savings": SpotTrainingSavingsRunFacet(savings=outcome["savings"]),
    }


def _input_uris(job: Mapping[str, Any]) -> Iterator[str]:
    for channel in job.get("InputDataConfig") or ():
        source = (channel.get("DataSource") or {}).get("S3DataSource") or {}
        if uri := source.get("S3Uri"):
            yield str(uri)
