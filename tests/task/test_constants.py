"""Constant arguments that cannot work fail when the Dag is parsed, unless they hold a template."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, XComArg
from airflow.sdk.bases.operator import BaseOperator
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.errors import InvalidInput
from spot_training.domain.ladder import on_demand_only
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from spot_training.task.constants import is_constant
from tests.cloud import make_config

BOTH: list[tuple[str, Any, str]] = [
    ("policy", "widenn", r"one of deadline, ladder, on_demand, spot_only, widen\. Did you mean widen\?"),
    ("policy", {"name": "widen", "firstwait": "2h"}, r"policy\.firstwait"),
    ("policy", {"name": "widen", "first_wait": "two hours"}, r"policy\.first_wait is 'two hours'"),
    ("policy", [{"spot": "m5.xlarge"}], r"policy\.steps\[0\]\.spot"),
    ("policy", "deadline", "give `deadline`"),
    ("policy", '{"name": "widen", "factor": 0}', r"policy\.factor"),
    ("caps", {"instance_type": ["ml.m5.*"]}, r"caps\.instance_type"),
    ("caps", {"max_runtime": "1 day"}, r"caps\.max_runtime"),
    ("check_interval", "often", "check_interval"),
    ("check_interval", 0, "check_interval"),
    ("deferrable", "maybe", "deferrable"),
    ("print_log", "liv", "print_log"),
    ("region_name", "Ireland", "region_name"),
]
OPERATOR: list[tuple[str, Any, str]] = [
    ("training_timeout", "2 hours", "training_timeout"),
    ("max_ingestion_time", "a day", "max_ingestion_time"),
    ("deadline", "tomorrow", "deadline"),
    ("deadline", "2026-11-23T06:00:00", "add a time zone"),
    ("deadline_reserve", "some", "deadline_reserve"),
    ("expected_runtime", {"mean": "3h", "hihg": "4h"}, r"expected_runtime\.hihg"),
    ("on_missed_deadline", "give up", "on_missed_deadline"),
    ("action_if_job_exists", "overwrite", 'give "timestamp" or "fail"'),
    ("budget", "plenty", "budget"),
    ("wait_for_completion", "perhaps", "wait_for_completion"),
]


def _operator(**arguments: Any) -> SpotTrainingOperator:
    return SpotTrainingOperator(**{"task_id": "t", "config": make_config(), **arguments})


def _sensor(**arguments: Any) -> SpotTrainingSensor:
    return SpotTrainingSensor(**{"task_id": "t", "training_job_name": "job", **arguments})


@pytest.mark.parametrize(("argument", "value", "says"), [*BOTH, *OPERATOR])
def test_the_operator_refuses_a_constant_when_the_dag_is_parsed(argument: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        _operator(**{argument: value})


@pytest.mark.parametrize(
    ("argument", "value", "says"), [*BOTH, ("training_job_name", "no name", "training_job_name")]
)
def test_the_sensor_refuses_a_constant_when_the_dag_is_parsed(argument: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        _sensor(**{argument: value})


@pytest.mark.parametrize(
    "argument", [argument for argument, _, _ in [*BOTH, *OPERATOR] if argument != "caps"]
)
@pytest.mark.parametrize("value", ["{{ params.x }}", "{% if x %}1{% endif %}", {"name": "{{ params.x }}"}])
def test_a_template_is_left_to_the_task(argument: str, value: Any) -> None:
    _operator(**{argument: value})


def test_what_a_task_upstream_returns_is_left_to_the_task() -> None:
    with DAG("d", schedule=None):
        upstream = BaseOperator(task_id="prep")
        output = XComArg(upstream)
        task = _operator(config=output, policy=output, deadline=output, budget=output)
        sensor = _sensor(task_id="s", training_job_name=output, policy={"name": "widen", "cap": output})
    assert task.upstream_task_ids == sensor.upstream_task_ids == {"prep"}


def test_a_mapped_task_is_left_to_its_tries() -> None:
    """Airflow makes it with rendered values, where an error would be retried."""
    with DAG("d", schedule=None):
        mapped = SpotTrainingOperator.partial(task_id="t", config={}).expand(policy=["widenn"])
    task = mapped.unmap({"policy": "widenn"})
    assert vars(task)["policy"] == "widenn"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"policy": on_demand_only()},
        {"policy": "deadline", "deadline": "{{ params.deadline }}"},
        {"policy": "planner", "deadline": "12h"},
        {"check_interval": timedelta(seconds=5)},
        {"policy": [{"spot": "ml.m5.xlarge"}, "on_demand"]},
        {"deadline": "2026-11-23T06:00:00 Europe/Berlin", "expected_runtime": "4h", "deadline_reserve": ""},
        {"budget": "unlimited", "training_timeout": "", "max_ingestion_time": None},
        {"print_log": "live", "region_name": None},
    ],
)
def test_what_works_is_not_refused(arguments: dict[str, Any]) -> None:
    _operator(**arguments)


def test_a_policy_of_the_policy_file_is_known_and_a_missing_file_is_left_to_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policies.yaml"
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__POLICY_FILE", str(path))
    _operator(policy="patient")
    path.write_text("patient: {name: widen, first_wait: 8h}")
    _operator(policy="patient")
    with pytest.raises(InvalidInput, match=r"Did you mean patient\?"):
        _operator(policy="patent")


@given(st.text(), st.sampled_from(["{{", "{%", "{#"]))
def test_text_is_constant_unless_it_begins_a_template(text: str, start: str) -> None:
    assert is_constant(text) is not any(each in text for each in ("{{", "{%", "{#"))
    assert not is_constant({"a": [f"{text}{start}"]})
