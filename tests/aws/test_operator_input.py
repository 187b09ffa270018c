"""Whatever people put into the operator and the sensor: a clear error, no job, no traceback of ours."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spot_training.aws.state import MemoryStore
from spot_training.domain.errors import AlgorithmFailed, SpotTrainingError
from spot_training.hooks import AwsAccess
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor

from .conftest import Cloud
from .test_driver import _config

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

hostile = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**18, 10**30),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(
        [
            "",
            "None",
            "$(reboot)",
            "'; DROP TABLE",
            "../../x",
            "arn:aws:iam::1:role/x",
            "ml.m5.xlarge",
            "x" * 5000,
        ]
    ),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.binary(max_size=5),
)


_runs = itertools.count()


def _context() -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="fuzz",
        run_id=f"run {next(_runs)}",
        task_id="task",
        map_index=-1,
        try_number=1,
        max_tries=0,
        xcom_push=lambda **_kwargs: None,
    )
    now = datetime.now(UTC)
    dag_run = SimpleNamespace(start_date=now, run_after=now)
    return {"ti": ti, "dag_run": dag_run, "task_state_store": MemoryStore()}


@pytest.fixture
def waiting_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A cloud where jobs wait; operators reach it without an Airflow connection."""
    cloud.set_capacity(available=False)
    jobs = cloud.jobs()
    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: jobs)
    logging.getLogger("airflow").setLevel(logging.CRITICAL)
    return cloud


def _attempt(cloud: Cloud, make: Any) -> None:
    """Run a task; it may work, or fail with a sentence that names what was wrong, having created nothing."""
    before = _names(cloud)
    try:
        make().execute(_context())
    except TaskDeferred:
        return
    except AirflowFailException as refused:
        assert isinstance(refused.__cause__, SpotTrainingError)  # noqa: PT017 - it may also succeed
        assert len(str(refused)) > 20  # noqa: PT017
        assert _names(cloud) == before


def _names(cloud: Cloud) -> set[str]:
    pages = cloud.client("sagemaker").get_paginator("list_training_jobs").paginate()
    return {summary["TrainingJobName"] for page in pages for summary in page["TrainingJobSummaries"]}


FIELDS = (
    "RoleArn",
    "AlgorithmSpecification",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "CheckpointConfig",
    "HyperParameters",
    "InputDataConfig",
    "TrainingJobName",
    "Tags",
    "Environment",
    "Nonsense",
)


@FUZZ
@given(field=st.sampled_from(FIELDS), value=hostile)
def test_whatever_is_in_the_config(waiting_cloud: Cloud, field: str, value: Any) -> None:
    config = _config(**{field: value})
    _attempt(
        waiting_cloud, lambda: SpotTrainingOperator(task_id="t", config=config, wait_for_completion=False)
    )


ARGUMENTS = (
    "policy",
    "wait_for_completion",
    "check_interval",
    "deferrable",
    "print_log",
    "stop_job_on_kill",
    "training_timeout",
    "retry_failed_script",
    "keep_checkpoints",
)
DEADLINE_ARGUMENTS = ("deadline", "expected_runtime", "deadline_reserve", "on_missed_deadline", "policy")


@FUZZ
@given(name=st.sampled_from(ARGUMENTS), value=hostile)
def test_whatever_is_in_the_operators_arguments(waiting_cloud: Cloud, name: str, value: Any) -> None:
    arguments = {"wait_for_completion": False, name: value}
    if name == "wait_for_completion":
        arguments["deferrable"] = True
    _attempt(waiting_cloud, lambda: SpotTrainingOperator(task_id="t", config=_config(), **arguments))


@FUZZ
@given(name=st.sampled_from(DEADLINE_ARGUMENTS), value=hostile)
def test_whatever_is_said_of_a_deadline(waiting_cloud: Cloud, name: str, value: Any) -> None:
    arguments = {
        "deadline": "2d",
        "expected_runtime": "1h",
        "on_missed_deadline": "late",
        "deferrable": True,
        name: value,
    }
    _attempt(waiting_cloud, lambda: SpotTrainingOperator(task_id="t", config=_config(), **arguments))


@pytest.mark.parametrize("waits", [False, "False", "no"])
def test_a_deadline_that_nobody_would_guard_is_refused(waiting_cloud: Cloud, waits: Any) -> None:
    task = SpotTrainingOperator(
        task_id="t", config=_config(), deadline="2d", expected_runtime="1h", wait_for_completion=waits
    )
    before = _names(waiting_cloud)
    with pytest.raises(AirflowFailException, match=r"wait_for_completion is .*nobody would hold .* \(2d\)"):
        task.execute(_context())
    assert _names(waiting_cloud) == before


@pytest.mark.parametrize(("retries_it", "error"), [(False, AirflowFailException), ("True", AlgorithmFailed)])
def test_a_failed_script_is_left_to_airflows_retries_only_by_choice(
    waiting_cloud: Cloud, retries_it: Any, error: type[Exception]
) -> None:
    waiting_cloud.set_capacity(available=True)
    environment = {"LOCAL_TRAINING_SECONDS": "60", "LOCAL_TRAINING_FAILURE": "no label column"}
    task = SpotTrainingOperator(
        task_id="t", config=_config(Environment=environment), retry_failed_script=retries_it, check_interval=1
    )
    with pytest.raises(error, match="no label column"):
        task.execute(_context())


@FUZZ
@given(
    name=st.sampled_from(["training_job_name", "policy", "deferrable", "check_interval", "print_log"]),
    value=hostile,
)
def test_whatever_is_in_the_sensors_arguments(waiting_cloud: Cloud, name: str, value: Any) -> None:
    arguments = {"training_job_name": "nowhere", "deferrable": True, name: value}
    _attempt(
        waiting_cloud, lambda: SpotTrainingSensor(task_id="t", timeout=1, poke_interval=0.1, **arguments)
    )


@FUZZ
@given(
    caps=st.dictionaries(
        st.sampled_from(["instance_types", "instance_count", "max_runtime", "max_wait", "x"]),
        hostile,
        max_size=2,
    )
)
def test_whatever_is_in_the_caps(waiting_cloud: Cloud, caps: dict[str, Any]) -> None:
    _attempt(
        waiting_cloud,
        lambda: SpotTrainingOperator(task_id="t", config=_config(), caps=caps, wait_for_completion=False),
    )
