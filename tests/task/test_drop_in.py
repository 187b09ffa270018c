"""Changing the import of the Amazon provider's operator: it takes their arguments and says what differs."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerBaseOperator,
    SageMakerTrainingOperator,
)
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from spot_training.operators import SpotTrainingOperator
from tests.cloud import ROOT, Cloud, live_jobs, make_config

from .support import PATIENT, Run, make_operator


def _signature(cls: type) -> dict[str, inspect.Parameter]:
    """The arguments of a class and of the bases that are not Airflow's own; a subclass overrides its base."""
    arguments: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("airflow.sdk"):
            break
        if "__init__" in vars(base):
            own = inspect.signature(inspect.unwrap(vars(base)["__init__"])).parameters
            arguments = {**own, **arguments}
    return {name: arguments[name] for name in arguments.keys() - {"self", "args", "kwargs"}}


def _differences(theirs: type) -> dict[str, str]:
    """Each argument of theirs that ours does not take in the same way, and what is different."""
    ours = _signature(SpotTrainingOperator)
    different: dict[str, str] = {}
    for name, argument in _signature(theirs).items():
        if name not in ours:
            different[name] = "missing"
        elif ours[name].kind is not argument.kind:
            different[name] = f"{argument.kind.description}"
        elif ours[name].default != argument.default:
            different[name] = f"default {argument.default!r}, here {ours[name].default!r}"
    return different


def _say_at_start(cloud: Cloud, capsys: pytest.CaptureFixture[str], **arguments: Any) -> str:
    """The task log of a task that starts a training and defers."""
    with pytest.raises(TaskDeferred):
        make_operator(deferrable=True, **arguments).execute(Run().context())
    assert len(live_jobs(cloud)) == 1
    return capsys.readouterr().out


@pytest.mark.parametrize("theirs", [SageMakerTrainingOperator, SageMakerBaseOperator])
def test_every_argument_of_the_providers_operator_is_taken_in_the_same_way(theirs: type) -> None:
    assert {"aws_conn_id", "region_name", "config"} <= _signature(theirs).keys()
    different = _differences(theirs)
    # Their way of not giving it: the argument exists there for `partial` only.
    assert different.pop("region") == "default NOTSET, here None"
    assert different == {}


def test_what_a_later_provider_adds_or_changes_is_noticed() -> None:
    class Later(SageMakerTrainingOperator):
        def __init__(self, *, stop_on_kill: bool = True, check_interval: int = 60, **kwargs: Any) -> None:
            super().__init__(check_interval=check_interval, **kwargs)
            self.stop_on_kill = stop_on_kill

    different = _differences(Later)
    assert different["stop_on_kill"] == "missing"
    assert different["check_interval"] == "default 60, here 30"


def test_every_templated_field_of_the_providers_operator_is_templated_here() -> None:
    assert set(SageMakerTrainingOperator.template_fields) <= set(SpotTrainingOperator.template_fields)
    theirs = SageMakerTrainingOperator.template_fields_renderers
    assert theirs.items() <= SpotTrainingOperator.template_fields_renderers.items()


def test_their_values_by_default_make_a_task() -> None:
    given = {
        name: argument.default
        for name, argument in _signature(SageMakerTrainingOperator).items()
        if argument.default is not inspect.Parameter.empty and name != "region"
    }
    assert make_operator(**given).max_attempts is None


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


@pytest.mark.parametrize(
    ("arguments", "purchase", "conflict"),
    [
        ({}, "on-demand", None),
        ({"policy": "widen"}, "spot", "policy"),
        ({"policy": "on_demand"}, "on-demand", None),
        ({"deadline": "20d", "expected_runtime": "1h"}, "spot", "deadline"),
        ({"deadline": ""}, "on-demand", None),
    ],
)
@pytest.mark.parametrize("flag", [False, "False"])
def test_false_means_on_demand_unless_a_policy_or_a_deadline_decides(
    drought: Cloud,
    capsys: pytest.CaptureFixture[str],
    arguments: dict[str, Any],
    purchase: str,
    conflict: str | None,
    flag: object,
) -> None:
    config = make_config(StoppingCondition=PATIENT, EnableManagedSpotTraining=flag)
    with pytest.raises(TaskDeferred):
        make_operator(deferrable=True, config=config, **arguments).execute(Run().context())
    client = drought.client("sagemaker")
    (created,) = client.list_training_jobs()["TrainingJobSummaries"]  # on-demand may be over already
    job = client.describe_training_job(TrainingJobName=created["TrainingJobName"])
    assert job["EnableManagedSpotTraining"] is (purchase == "spot")
    said = capsys.readouterr().out
    warned = "\n".join(line for line in said.splitlines() if "[warning" in line)
    assert warned.count("EnableManagedSpotTraining: False") == (conflict is not None)
    if conflict:
        assert f"the task has a {conflict}, which decides whether spot is used" in said


def test_a_missing_flag_means_spot(drought: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert "EnableManagedSpotTraining" not in _say_at_start(drought, capsys)
    (name,) = live_jobs(drought)
    job = drought.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert job["EnableManagedSpotTraining"] is True


def test_the_migration_page_has_each_argument_of_the_provider_and_says_first_what_a_missing_flag_means() -> (
    None
):
    page = (ROOT / "docs" / "migration.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \|", page.split("## Argument by argument")[1].split("\n## ")[0], re.MULTILINE
    )
    assert set(rows) == _signature(SageMakerTrainingOperator).keys()
    first = page.split("```")[2].strip()
    assert first.startswith("**A config without `EnableManagedSpotTraining` trains on spot.**")


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
    task = make_operator(action_if_job_exists="{{ params.action }}")
    task.render_template_fields({"params": {"action": "overwrite"}})
    with pytest.raises(AirflowFailException, match=r"action_if_job_exists.*give \"timestamp\" or \"fail\""):
        task.execute(Run().context())
    assert live_jobs(drought) == []


def test_a_task_with_the_providers_arguments_trains(cloud: Cloud, drought: Cloud) -> None:
    cloud.set_capacity(available=True)
    done = make_operator(
        max_ingestion_time="7d",
        max_attempts=480,
        check_if_job_exists=True,
        action_if_job_exists="fail",
        config=make_config(StoppingCondition=PATIENT),
    ).execute(Run().context())
    assert done["Training"]["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize("part", ["config", "HyperParameters", "Tags"])
def test_what_a_template_renders_as_json_text_is_trained(cloud: Cloud, drought: Cloud, part: str) -> None:
    cloud.set_capacity(available=True)
    parts = {"HyperParameters": {"num_round": 120}, "Tags": [{"Key": "team", "Value": "air"}]}
    config: Any = make_config(**parts)
    if part == "config":
        config, pushed = "{{ pushed | tojson }}", config
    else:
        config, pushed = {**config, part: "{{ pushed | tojson }}"}, config[part]
    task = make_operator(config=config)
    task.render_template_fields({"pushed": pushed})  # type: ignore[typeddict-unknown-key]
    description = task.execute(Run().context())["Training"]
    assert description["HyperParameters"] == {"num_round": "120"}
    tags = cloud.client("sagemaker").list_tags(ResourceArn=description["TrainingJobArn"])["Tags"]
    assert {"Key": "team", "Value": "air"} in tags


def test_a_config_that_nobody_pushed_creates_no_job_and_says_so(drought: Cloud) -> None:
    task = make_operator(config="{{ pushed }}")
    task.render_template_fields({"pushed": None})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(AirflowFailException, match="not the text 'None': the upstream task pushed nothing"):
        task.execute(Run().context())
    assert live_jobs(drought) == []
