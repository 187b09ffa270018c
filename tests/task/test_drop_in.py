"""Changing the import of the Amazon provider's operator: it takes their arguments and says what differs."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from spot_training.operators import SpotTrainingOperator
from tests.cloud import Cloud, live_jobs

from .support import PATIENT, Run, make_operator


def _arguments(cls: type) -> set[str]:
    """The keyword arguments of a class and of the bases that are not Airflow's own."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.startswith("airflow.sdk"):
            break
        if "__init__" in vars(base):
            names |= set(inspect.signature(inspect.unwrap(vars(base)["__init__"])).parameters)
    return names - {"self", "args", "kwargs"}


def _say_at_start(cloud: Cloud, capsys: pytest.CaptureFixture[str], **arguments: Any) -> str:
    """The task log of a task that starts a training and defers."""
    with pytest.raises(TaskDeferred):
        make_operator(deferrable=True, **arguments).execute(Run().context())
    assert len(live_jobs(cloud)) == 1
    return capsys.readouterr().out


def test_every_argument_of_the_providers_operator_is_taken() -> None:
    theirs = _arguments(SageMakerTrainingOperator)
    assert {"max_attempts", "max_ingestion_time", "aws_conn_id", "config"} <= theirs
    assert theirs - _arguments(SpotTrainingOperator) == set()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"max_ingestion_time": 86400}, "max_ingestion_time=86400 is used as training_timeout"),
        (
            {"max_ingestion_time": 60, "training_timeout": "2d"},
            "max_ingestion_time=60 is not used: training_timeout=2d is.",
        ),
        ({"region": "eu-west-1"}, "region=eu-west-1 is an older name of region_name, which is eu-west-1."),
        ({"max_attempts": 480}, "max_attempts=480 is not used: the task waits until the training is over."),
        ({"check_if_job_exists": False}, "check_if_job_exists=False and action_if_job_exists='timestamp'"),
        (
            {"action_if_job_exists": "fail"},
            "check_if_job_exists=True and action_if_job_exists='fail'",
        ),
    ],
)
def test_what_means_something_else_here_is_said_once(
    drought: Cloud, capsys: pytest.CaptureFixture[str], arguments: dict[str, Any], line: str
) -> None:
    assert _say_at_start(drought, capsys, **arguments).count(line) == 1


def test_nothing_is_said_of_what_is_as_the_provider_has_it_by_default(
    drought: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _say_at_start(drought, capsys, check_if_job_exists=True, action_if_job_exists="timestamp")
    assert "action_if_job_exists" not in said
    assert "max_" not in said.replace("max wait", "")


def test_it_is_not_said_again_when_the_task_resumes(
    drought: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run()
    task = run.deferred(lambda: make_operator(deferrable=True, max_attempts=5))
    with pytest.raises(TaskDeferred):
        task.resume(run.context())
    assert capsys.readouterr().out.count("max_attempts=5 is not used") == 1


def test_the_job_is_stopped_when_max_ingestion_time_has_passed(drought: Cloud) -> None:
    with pytest.raises(AirflowFailException, match="time limit of 1 s passed"):
        make_operator(max_ingestion_time=1).execute(Run().context())
    assert live_jobs(drought) == []


def test_another_action_than_the_providers_is_refused_before_there_is_a_job(drought: Cloud) -> None:
    with pytest.raises(AirflowFailException, match=r"action_if_job_exists.*give \"timestamp\" or \"fail\""):
        make_operator(action_if_job_exists="overwrite").execute(Run().context())
    assert live_jobs(drought) == []


def test_a_task_with_the_providers_arguments_trains(cloud: Cloud, drought: Cloud) -> None:
    cloud.set_capacity(available=True)
    done = make_operator(
        max_ingestion_time="7d",
        max_attempts=480,
        check_if_job_exists=True,
        action_if_job_exists="fail",
        config={**make_operator().config, "StoppingCondition": PATIENT},
    ).execute(Run().context())
    assert done["Training"]["TrainingJobStatus"] == "Completed"
