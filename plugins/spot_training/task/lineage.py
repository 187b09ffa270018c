"""What a training read and wrote, for OpenLineage, as the Amazon provider's operator reports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


def lineage_of(description: Mapping[str, Any] | None) -> OperatorLineage:
    """The inputs and outputs in a DescribeTrainingJob answer. Empty lists without one.

    Channels that are not on S3 are left out. Needs the extra `openlineage`, which whoever asks has installed.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    def dataset(uri: str) -> Dataset:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return Dataset(namespace=f"s3://{bucket}", name=key, facets={})

    job = description or {}
    model = (job.get("ModelArtifacts") or {}).get("S3ModelArtifacts")
    return OperatorLineage(
        inputs=[dataset(uri) for uri in _input_uris(job)], outputs=[dataset(model)] if model else []
    )


def _input_uris(job: Mapping[str, Any]) -> Iterator[str]:
    for channel in job.get("InputDataConfig") or ():
        source = (channel.get("DataSource") or {}).get("S3DataSource") or {}
        if uri := source.get("S3Uri"):
            yield str(uri)
