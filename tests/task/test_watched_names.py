"""The sensor finds its job by name, by ARN, and by what the operator that started it returned."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from spot_training.domain.errors import EmptyValue, InvalidInput
from spot_training.sagemaker.naming import NamedJob
from spot_training.sensors import SpotTrainingSensor
from tests.cloud import Cloud, make_config

from .support import Run, make_operator

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/my-job"


def _named(value: Any) -> NamedJob:
    return NamedJob.of(value, field="training_job_name")


@pytest.mark.parametrize(
    ("value", "name", "region"),
    [
        ("My-Job", "My-Job", None),
        (" my-job\n", "my-job", None),
        (ARN, "my-job", "eu-west-1"),
        (ARN.replace("arn:aws:", "arn:aws-us-gov:"), "my-job", "eu-west-1"),
        ({"Training": {"TrainingJobName": "My-Job", "TrainingJobArn": ARN}}, "My-Job", "eu-west-1"),
        ({"TrainingJobName": "My-Job", "TrainingJobArn": ARN}, "My-Job", "eu-west-1"),
        ({"Training": {"TrainingJobName": "My-Job"}, "attempts": []}, "My-Job", None),
        (
            json.dumps({"Training": {"TrainingJobName": "My-Job", "TrainingJobArn": ARN}}),
            "My-Job",
            "eu-west-1",
        ),
    ],
)
def test_a_job_is_named_in_several_ways(value: Any, name: str, region: str | None) -> None:
    job = _named(value)
    assert (job.name, job.region) == (name, region)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, EmptyValue),
        ("", EmptyValue),
        ("None", EmptyValue),
        ("two words", InvalidInput),
        ("x" * 64, InvalidInput),
        ("arn:aws:sagemaker:eu-west-1:123456789012:processing-job/x", InvalidInput),
        ("arn:aws:sagemaker:eu-west-1:123456789012:training-job/", InvalidInput),
        ("{'Training': {'TrainingJobName': 'job'}}", InvalidInput),
        ({}, InvalidInput),
        ({"Training": None}, InvalidInput),
        ({"Training": {"TrainingJobName": 7}}, InvalidInput),
        (["job"], InvalidInput),
        (7, InvalidInput),
    ],
)
def test_what_names_no_job_is_refused_with_the_ways_to_name_one(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^training_job_name is ") as refused:
        _named(value)
    assert type(refused.value) is error
    if error is InvalidInput:
        assert "train.output" in str(refused.value)


def _start(cloud: Cloud, name: str) -> str:
    request = {**make_config(), "TrainingJobName": name, "EnableManagedSpotTraining": True}
    return str(cloud.client("sagemaker").create_training_job(**request)["TrainingJobArn"])


def _wait(value: Any, **arguments: Any) -> dict[str, Any]:
    sensor = SpotTrainingSensor(
        task_id="wait", training_job_name=value, poke_interval=0.1, timeout=60, deferrable=False, **arguments
    )
    return dict(sensor.execute(Run().context()))


@pytest.fixture
def capacity(cloud: Cloud, drought: Cloud) -> Cloud:
    cloud.set_capacity(available=True)
    return cloud


@pytest.mark.parametrize("name", ["plain", "With-Capitals"])
def test_a_sensor_waits_for_the_job_of_an_arn(capacity: Cloud, name: str) -> None:
    """SageMaker has names in lower case in ARNs."""
    arn = _start(capacity, name)
    assert arn.endswith(name.lower())
    done = _wait(arn)
    assert done["Training"]["TrainingJobName"] == name
    assert done["attempts"][0]["job_name"] == name


def test_a_sensor_waits_behind_the_providers_operator(
    capacity: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {
        "AWS_ENDPOINT_URL": capacity.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(key, value)
    start = SageMakerTrainingOperator(
        task_id="start",
        config={**make_config(), "TrainingJobName": "Theirs", "EnableManagedSpotTraining": True},
        wait_for_completion=False,
        print_log=False,
        aws_conn_id=None,
    )
    pushed = json.loads(json.dumps(start.execute({})))
    done = _wait(pushed)
    assert done["Training"]["TrainingJobName"] == "Theirs"
    assert done["Training"]["TrainingJobStatus"] == "Completed"


def test_a_sensor_waits_behind_our_own_operator(capacity: Cloud) -> None:
    pushed = make_operator(wait_for_completion=False, config=make_config()).execute(Run().context())
    assert _wait(pushed)["Training"]["TrainingJobArn"] == pushed["Training"]["TrainingJobArn"]


def test_the_region_of_an_arn_is_the_tasks_unless_another_is_given(drought: Cloud) -> None:
    sensor = SpotTrainingSensor(task_id="wait", training_job_name=_start(drought, "job"), deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(Run().context())
    assert deferred.value.trigger.serialize()[1]["region_name"] == "us-east-1"
    with pytest.raises(AirflowFailException, match=r"region_name is 'eu-west-1': the job .* is in us-east-1"):
        _wait(_start(drought, "other"), region_name="eu-west-1")
