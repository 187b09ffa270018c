"""OpenLineage gets the same datasets as from the Amazon provider's operator."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.openlineage.extractors.base import DefaultExtractor
from airflow.providers.openlineage.utils.utils import OpenLineageRedactor
from airflow.sdk.exceptions import AirflowFailException
from openlineage.client.event_v2 import Job, RunEvent, RunState
from openlineage.client.event_v2 import Run as RunFacts
from openlineage.client.serde import Serde

from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from tests.cloud import Cloud, make_config

from .support import Run, make_operator

FACETS = {"spotTraining_attempts", "spotTraining_savings"}


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
    assert set(lineage.run_facets) == (FACETS if waits else set())
    if waits:
        assert lineage.run_facets["spotTraining_attempts"].attempts == done["attempts"]
        assert lineage.run_facets["spotTraining_savings"].savings == done["savings"]
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
    assert set(lineage.run_facets) == FACETS


def test_a_training_that_fails_reports_its_attempts_and_what_it_was_to_read(
    data: dict[str, Any], drought: Cloud
) -> None:
    drought.set_capacity(available=False)
    task = make_operator(
        config=make_config(InputDataConfig=[data]), policy=[{"spot": "ml.m5.xlarge", "max_wait": "1h"}]
    )
    with pytest.raises(AirflowFailException):
        task.execute(Run().context())
    lineage = DefaultExtractor(task).extract_on_failure(SimpleNamespace(task=task))
    assert lineage is not None
    assert [each.name for each in lineage.inputs] == ["flights/train"]
    assert lineage.outputs == []
    (attempt,) = lineage.run_facets["spotTraining_attempts"].attempts
    assert attempt["ending"] == "never got capacity"


@pytest.mark.parametrize("as_text", [False, True])
def test_at_its_start_a_task_reports_what_it_is_to_read(*, as_text: bool) -> None:
    channels = DESCRIPTION["InputDataConfig"]
    config = make_config(InputDataConfig=json.dumps(channels) if as_text else channels)
    lineage = DefaultExtractor(make_operator(config=config)).extract()
    assert lineage is not None
    assert lineage.inputs == _of_provider({"InputDataConfig": channels}).inputs
    assert (lineage.outputs, lineage.run_facets) == ([], {})
    sensor = DefaultExtractor(SpotTrainingSensor(task_id="t", training_job_name="job")).extract()
    assert sensor is not None
    assert sensor.inputs == []


def test_an_event_with_the_facets_is_what_openlineage_sends(data: dict[str, Any]) -> None:
    task = make_operator(config=make_config(InputDataConfig=[data]))
    done = task.execute(Run().context())
    lineage = _extracted(task)
    event = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime="2026-03-02T06:00:00+00:00",
        run=RunFacts(
            runId="01234567-89ab-7def-8123-456789abcdef",
            facets=OpenLineageRedactor().redact(lineage.run_facets),
        ),
        job=Job(namespace="default", name="retrain.train"),
        inputs=lineage.inputs,
        outputs=lineage.outputs,
    )
    sent = json.loads(Serde.to_json(event))["run"]["facets"]
    assert set(sent) == FACETS
    assert sent["spotTraining_attempts"]["attempts"] == done["attempts"]
    known = {name: value for name, value in done["savings"].items() if value is not None}
    assert sent["spotTraining_savings"]["savings"] == known, "OpenLineage leaves out what is null"
    assert all(facet["_schemaURL"].startswith("https://openlineage.io/") for facet in sent.values())
