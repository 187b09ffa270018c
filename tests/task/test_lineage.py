"""OpenLineage gets the same datasets as from the Amazon provider's operator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator

from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from tests.cloud import Cloud, make_config

from .support import Run, make_operator

pytest.importorskip("airflow.providers.openlineage.extractors")


def _channel(name: str, **source: Any) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": source}


def _on_s3(name: str, uri: str) -> dict[str, Any]:
    return _channel(name, S3DataSource={"S3DataType": "S3Prefix", "S3Uri": uri})


DESCRIPTION = {
    "InputDataConfig": [_on_s3("train", "s3://data/flights/train"), _on_s3("test", "s3://data/flights/test")],
    "ModelArtifacts": {"S3ModelArtifacts": "s3://models/flights/model.tar.gz"},
}


def _of_provider(description: dict[str, Any]) -> Any:
    theirs = SageMakerTrainingOperator(task_id="theirs", config={})
    theirs.serialized_training_data = description
    return theirs.get_openlineage_facets_on_complete(None)


def _of_ours(description: dict[str, Any] | None) -> Any:
    ours = make_operator()
    ours.serialized_training_data = description
    return ours.get_openlineage_facets_on_complete(None)


@pytest.mark.parametrize(
    "description",
    [
        DESCRIPTION,
        {"InputDataConfig": DESCRIPTION["InputDataConfig"]},
        {"ModelArtifacts": DESCRIPTION["ModelArtifacts"]},
        {"InputDataConfig": [_on_s3("all", "s3://bucket")], "ModelArtifacts": DESCRIPTION["ModelArtifacts"]},
        {},
    ],
)
def test_the_datasets_are_those_of_the_provider(description: dict[str, Any]) -> None:
    assert _of_ours(description) == _of_provider(description)


def test_a_channel_that_is_not_on_s3_does_not_hide_the_others() -> None:
    file_system = _channel("shared", FileSystemDataSource={"FileSystemId": "fs-1"})
    lineage = _of_ours({**DESCRIPTION, "InputDataConfig": [file_system, *DESCRIPTION["InputDataConfig"]]})
    assert lineage == _of_provider(DESCRIPTION)


def test_a_task_that_has_returned_nothing_has_no_datasets() -> None:
    lineage = _of_ours(None)
    assert (lineage.inputs, lineage.outputs) == ([], [])


def _extracted(task: Any) -> Any:
    """What OpenLineage's listener gets from the task after its success."""
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    return DefaultExtractor(task).extract_on_complete(SimpleNamespace(task=task))


@pytest.fixture
def data(cloud: Cloud, drought: Cloud) -> dict[str, Any]:
    """A channel with an object in it, on a cloud with capacity."""
    cloud.set_capacity(available=True)
    cloud.client("s3").put_object(Bucket="bucket", Key="flights/train/1.csv", Body=b"1")
    return _on_s3("train", "s3://bucket/flights/train")


@pytest.mark.parametrize("waits", [True, False])
def test_a_training_reports_what_it_read_and_wrote(data: dict[str, Any], *, waits: bool) -> None:
    task: SpotTrainingOperator = make_operator(
        config=make_config(InputDataConfig=[data]), wait_for_completion=waits
    )
    done = task.execute(Run().context())
    lineage = _extracted(task)
    assert [(each.namespace, each.name) for each in lineage.inputs] == [("s3://bucket", "flights/train")]
    if waits:
        model = done["Training"]["ModelArtifacts"]["S3ModelArtifacts"]
        assert [f"{each.namespace}/{each.name}" for each in lineage.outputs] == [model]


def test_a_sensor_reports_the_job_it_waited_for(data: dict[str, Any], cloud: Cloud) -> None:
    request = {**make_config(InputDataConfig=[data]), "TrainingJobName": "elsewhere"}
    cloud.client("sagemaker").create_training_job(**request, EnableManagedSpotTraining=True)
    task = SpotTrainingSensor(task_id="t", training_job_name="elsewhere", poke_interval=0.1, timeout=60)
    task.execute(Run().context())
    lineage = _extracted(task)
    assert [each.name for each in lineage.inputs] == ["flights/train"]
    assert len(lineage.outputs) == 1
